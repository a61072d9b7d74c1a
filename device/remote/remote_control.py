"""Takes commands from the link, carries each out once on the control thread, and answers it once.

A command that the codec accepts is first stored in the ledger, as an event and by its id. Only then is it carried out. Its answer is stored too, so
an id that comes again gets the answer that it got, over restarts, and nothing is done twice.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import NamedTuple, Protocol

from device.common.clock import wall_clock_synced
from device.common.token_bucket import TokenBucket
from device.events import CommandAccepted
from device.ledger.accepted_commands import CommandAnswer, interrupted
from device.mqtt.command_payloads import CommandResult
from device.mqtt.inbox import Message
from device.remote import Refused
from device.remote.codec import ReadCommand, id_in, name_in, read
from device.remote.controls import BinControls

log = logging.getLogger("sortbin")

BURST, PER_S = 10, 1.0
"""commands that are accepted at once, and a second"""
LOG_BURST, LOG_PER_S = 5, 0.1
"""lines in the log about refused commands"""
MOST_AT_ONCE = 8
"""commands that wait or are carried out; a further one is refused"""
STORED_S = 10.0
"""longest wait for the ledger"""


class CommandStore(Protocol):
    """What this needs of the ledger."""

    def accept_command(self, event: CommandAccepted) -> "Future[CommandAnswer | None]":
        """See `Ledger.accept_command`."""

    def answer_command(self, answer: CommandAnswer) -> "Future[None]":
        """See `Ledger.answer_command`."""


class _Arrived(NamedTuple):
    name: str
    command: ReadCommand
    expires_s: float
    """monotonic seconds"""


def synced_unix_s() -> float | None:
    """The wall clock; None where it is not synchronised."""
    return time.time() if wall_clock_synced() else None


class RemoteControl:
    """`receive` is called on the link's thread, everything else on the control thread. answer: publishes a result, and returns at once."""

    def __init__(
        self,
        controls: BinControls,
        store: CommandStore,
        answer: Callable[[CommandResult], None],
        *,
        now_unix_s: Callable[[], float | None] = synced_unix_s,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._controls, self._store, self._answer = controls, store, answer
        self._now_unix_s, self._now_s = now_unix_s, now_s
        self._bucket, self._log_bucket = TokenBucket(BURST, PER_S), TokenBucket(LOG_BURST, LOG_PER_S)
        self._arrived: deque[_Arrived] = deque()
        self._running: dict[str, Generator[None, float, None]] = {}

    @property
    def busy(self) -> bool:
        """Whether a command is not answered yet."""
        return bool(self._arrived or self._running)

    def receive(self, message: Message) -> None:
        """Accept a message for the control thread, or refuse it."""
        now_s = self._now_s()
        try:
            if not self._bucket.take(now_s):
                raise Refused("too_many", f"more than {PER_S:g} a second: send it again later")
            if len(self._arrived) + len(self._running) >= MOST_AT_ONCE:
                raise Refused("too_many", f"{MOST_AT_ONCE} commands are being carried out: send it again later")
            command = read(message, self._now_unix_s)
        except Refused as refusal:
            self._refuse(message, refusal, now_s)
            return
        self._arrived.append(_Arrived(command.command.name, command, now_s + command.ttl_s))

    def update(self, now_s: float) -> None:
        """Go one step on with every command. now_s: monotonic seconds."""
        while self._arrived:
            arrived = self._arrived[0]
            if arrived.command.id not in self._running:  # else it came twice, and the first is answered soon
                self._running[arrived.command.id] = steps = self._handle(arrived)
                next(steps)
            self._arrived.popleft()
        for name, steps in list(self._running.items()):
            try:
                steps.send(now_s)
            except StopIteration:
                del self._running[name]

    def close(self) -> None:
        """Give up what is not finished: the bin stops. It is answered as interrupted."""
        for steps in self._running.values():
            steps.close()
        self._running.clear()

    def _refuse(self, message: Message, refusal: Refused, now_s: float) -> None:
        name = name_in(message.topic)
        self._log(now_s, "command %s is refused (%s): %s", name or "?", refusal.code, refusal)
        self._answer(CommandResult(id=id_in(message.payload), command=name, ok=False, code=refusal.code, message=str(refusal)))

    def _log(self, now_s: float, line: str, *values: object) -> None:
        if self._log_bucket.take(now_s):
            log.warning(line, *values)

    def _handle(self, arrived: _Arrived) -> Generator[None, float, None]:
        """One command from its acceptance to its answer."""
        command = arrived.command
        now_s = yield
        if now_s > arrived.expires_s:
            return self._tell(arrived, CommandAnswer(id=command.id, ok=False, code="expired", message="waited too long in the bin"))
        accepted = self._store.accept_command(CommandAccepted(command=arrived.name, id=command.id, args=command.args))
        until_s = now_s + STORED_S
        while not accepted.done() and now_s <= until_s:
            now_s = yield
        if not accepted.done():
            self._store.answer_command(interrupted(command.id))
            return self._tell(arrived, interrupted(command.id))
        if (error := accepted.exception()) is not None:
            return self._tell(arrived, CommandAnswer(id=command.id, ok=False, code="ledger", message=f"the ledger cannot store it: {error}"))
        answer = accepted.result()
        if answer is None:
            answer = yield from self._carry_out(arrived)
            stored = self._store.answer_command(answer)
            until_s = now_s = yield
            while not stored.done() and now_s <= until_s + STORED_S:
                now_s = yield
        if answer.code != "running":
            self._tell(arrived, answer)
        return None

    def _carry_out(self, arrived: _Arrived) -> Generator[None, float, CommandAnswer]:
        name, id_ = arrived.name, arrived.command.id
        until_s: float | None = None
        try:
            steps = arrived.command.command.carry_out(self._controls)
            next(steps)
            while True:
                now_s = yield
                until_s = now_s + arrived.command.command.most_s if until_s is None else until_s
                if now_s > until_s:
                    steps.close()
                    return CommandAnswer(id=id_, ok=False, code="timed_out", message=f"took longer than {arrived.command.command.most_s:g} s")
                steps.send(now_s)
        except StopIteration as finished:
            return CommandAnswer(id=id_, ok=True, code="done", message=str(finished.value))
        except Refused as refusal:
            return CommandAnswer(id=id_, ok=False, code=refusal.code, message=str(refusal))
        except GeneratorExit:
            steps.close()
            self._store.answer_command(interrupted(id_))
            self._tell(arrived, interrupted(id_))
            raise
        except Exception as error:  # of any type: a command must not end the bin
            log.exception("command %s", name)
            return CommandAnswer(id=id_, ok=False, code="failed", message=f"{type(error).__name__}: {error}")

    def _tell(self, arrived: _Arrived, answer: CommandAnswer) -> None:
        said = "done" if answer.ok else answer.code
        log.info("command %s (%s): %s: %s", arrived.name, answer.id, said, answer.message)
        self._answer(CommandResult(id=answer.id, command=arrived.name, ok=answer.ok, code=answer.code, message=answer.message))
