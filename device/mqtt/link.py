"""The link to the broker: keeps a connection up for ever, and tells over it what the bin is, does and has done.

One thread connects, publishes and takes acknowledgements in. The control thread and the ledger only hand values over to it.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Mapping

from device.ledger.ledger import Ledger
from device.mqtt import MqttError
from device.mqtt.backoff import Backoff
from device.mqtt.connection import Acknowledgement, Connection, client_id, connected
from device.mqtt.outbox import REFUSED_S, Outbox
from device.mqtt.payloads import BinState, Health, Info, State
from device.mqtt.retained import Retained
from device.mqtt.settings import MqttSettings
from device.mqtt.topics import Topics

log = logging.getLogger(__name__)

OPEN_S = 5.0
"""longest wait for each step of connecting"""
STATE_PACE_S = 1.0
"""least time between two states"""
LIVE = 20
"""most live events that wait or are unacknowledged; the journal has them all the same"""
LEAVE_S = 0.3
"""share of the time for stopping that is kept for saying `offline`"""
IDLE_S = 5.0
SHORT_S, OFTEN = 20.0, 3
"""so many connections in a row, none of which lasted so long, are more than a bad network: brokers end the older of two with one client id"""


class Link:
    """A device's voice. It connects when it is made and reconnects for ever, with growing, jittered pauses.

    Each connection starts over: first every retained value, then `online`, then the journal from the oldest event that no broker has
    acknowledged. All methods but `stop` return at once, whatever the network does.
    """

    def __init__(self, settings: MqttSettings, device: str, ledger: Ledger, *, backoff: Backoff | None = None) -> None:
        """Raises TopicError for a device id or base that topics cannot hold."""
        self.topics = Topics(device, settings.base)
        self._settings, self._ledger, self._backoff = settings, ledger, backoff or Backoff()
        self._client_id, self._device = client_id(device, settings.base), device
        self._retained = Retained()
        self._live: deque[bytes] = deque(maxlen=LIVE)
        self._broker = f"broker {settings.host}:{settings.port}"
        self._connected = False
        self._trouble: str | None = f"{self._broker}: not connected yet"
        self._refused: Mapping[str, str] = {}
        self._online_at_s = -math.inf
        """when `online` is to be said, in this connection; monotonic seconds"""
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._stop_by_s = self._leave_at_s = 0.0
        ledger.listen(self._hear)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    def publish_info(self, info: Info) -> None:
        """What this device is."""
        self._show(self.topics.info, info)

    def publish_state(self, state: State) -> None:
        """What the bin is doing: call it as often as it changes, the newest is sent at most once a second."""
        self._show(self.topics.state, state, STATE_PACE_S)

    def publish_bin(self, name: str, state: BinState) -> None:
        """How full a bin is. Raises TopicError for a name that topics cannot hold."""
        self._show(self.topics.bin(name), state)

    def publish_health(self, health: Health) -> None:
        """How the device itself is."""
        self._show(self.topics.health, health)

    @property
    def connected(self) -> bool:
        """Whether the broker has let us in and the connection has not ended."""
        return self._connected

    @property
    def trouble(self) -> str | None:
        """Why there is no connection, in one line; None while there is one."""
        return self._trouble

    @property
    def refused(self) -> tuple[str, ...]:
        """Names of the topics, below the device's own, that the broker does not let it write to, as far as it says so."""
        return tuple(sorted(self._refused))

    @property
    def alive(self) -> bool:
        """Whether the link's thread runs."""
        return self._thread.is_alive()

    def stop(self, wait_s: float) -> bool:
        """Send what waits, say `offline`, and disconnect, in at most `wait_s` seconds. False when the thread did not end in time."""
        self._stop_by_s = time.monotonic() + wait_s
        self._leave_at_s = self._stop_by_s - LEAVE_S * wait_s
        self._stopping.set()
        self._wake.set()
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _show(self, topic: str, value: Info | State | BinState | Health, pace_s: float = 0.0) -> None:
        self._retained.put(topic, value, pace_s)
        self._wake.set()

    def _hear(self, event: bytes) -> None:
        if self._connected:
            self._live.append(event)
        self._wake.set()

    def _run(self) -> None:
        short = 0
        while not self._stopping.is_set():
            connection: Connection | None = None
            held_s = 0.0
            try:
                will = self.topics.availability
                connection = connected(self._settings, self._client_id, will_topic=will, wake=self._wake.set, wait_s=OPEN_S)
                opened_s = time.monotonic()
                self._note(None, connection.speaks)
                self._serve(connection)
                held_s = time.monotonic() - opened_s
                short = short + 1 if held_s < SHORT_S else 0
                self._note(self._after(connection, short))
            except MqttError as error:
                self._note(str(error))
            except Exception as error:  # whatever it is, the link is tried again: a bin that falls silent for good helps nobody
                log.exception("%s", self._broker)
                self._note(f"{self._broker}: {type(error).__name__}: {error}")
            finally:
                if connection is not None:
                    connection.close()
            self._stopping.wait(self._backoff.next_s(held_s))

    def _after(self, connection: Connection, short: int) -> str:
        """Why there is no connection any more; short: how many in a row did not last."""
        if connection.lost is None:
            return f"{self._broker}: left it, as asked to stop"
        if not connection.taken_over and not (connection.hung_up and short >= OFTEN):
            return connection.lost
        often = f" {short} times in a row" if short >= OFTEN else ""
        return f"{connection.lost}{often}: has another bin the id {self._device}? Without device.id each gets one of its own"

    def _serve(self, connection: Connection) -> None:
        """Use a connection until it is lost or it is time to stop."""
        journal = self.topics.journal
        outbox = Outbox(self._ledger, lambda event: connection.publish(journal, event))
        in_flight: dict[int, str] = {}
        self._retained.start_over()
        self._refused, self._online_at_s = {}, -math.inf
        while connection.lost is None:
            self._wake.clear()
            answers = connection.answers()
            outbox.acknowledged([answer.message for answer in answers if answer.refusal is None])
            outbox.refused([answer.message for answer in answers if answer.refusal is not None])
            stopping, now_s = self._stopping.is_set(), time.monotonic()
            for answer in answers:
                topic = in_flight.pop(answer.message, journal)
                if topic is not journal or answer.refusal is not None or self._refused:
                    self._take_in(answer, topic, now_s)
            for topic, payload in self._retained.due(math.inf if stopping else now_s):
                in_flight[connection.publish(topic, payload, retain=True)] = topic
            if now_s >= self._online_at_s:
                in_flight[connection.publish(self.topics.availability, b"online", retain=True)] = self.topics.availability
                self._online_at_s = math.inf
            while self._live:
                event = self._live.popleft()
                if sum(topic == self.topics.event for topic in in_flight.values()) < LIVE:
                    in_flight[connection.publish(self.topics.event, event)] = self.topics.event
            outbox.feed()
            if stopping and (now_s >= self._leave_at_s or not (in_flight or self._ledger.busy or not (outbox.empty or outbox.resting))):
                return self._leave(connection)
            connection.require_answers(now_s)
            held_back_s = self._retained.wait_s(now_s)
            wait_s = min(IDLE_S if held_back_s is None else held_back_s, IDLE_S, self._settings.keepalive_s)
            self._wake.wait(min(wait_s, self._leave_at_s - now_s) if stopping else wait_s)
        return None

    def _take_in(self, answer: Acknowledgement, topic: str, now_s: float) -> None:
        """What the broker said of a message on one of our topics."""
        if topic == self.topics.availability:
            self._online_at_s = math.inf if answer.refusal is None else now_s + REFUSED_S
        elif topic not in (self.topics.journal, self.topics.event):
            if answer.refusal is None or self._stopping.is_set():
                self._retained.arrived(topic)
            else:
                self._retained.refused(topic, now_s + REFUSED_S)
        name = self.topics.name_of(topic)
        if answer.refusal is not None:
            self._note_refusal(name, str(answer.refusal).lower())
        elif name in self._refused:
            self._refused = {other: reason for other, reason in self._refused.items() if other != name}
            log.info("%s: takes %s again", self._broker, topic)

    def _note_refusal(self, name: str, reason: str) -> None:
        """Know, and log once, what the broker refuses: the journal in any case, of all other topics the first."""
        news = name not in self._refused and (name == "journal" or reason not in self._refused.values())
        self._refused = {**self._refused, name: reason}
        if news:
            kept = "; events stay in the ledger" if name == "journal" else ""
            log.warning("%s: refuses %s (%s): expected an ACL that lets it write to %s%s", self._broker, name, reason, self.topics.all, kept)

    def _leave(self, connection: Connection) -> None:
        offline = connection.publish(self.topics.availability, b"offline", retain=True)
        while connection.lost is None and (left_s := self._stop_by_s - time.monotonic()) > 0:
            self._wake.clear()
            if any(answer.message == offline for answer in connection.answers()):
                return
            self._wake.wait(left_s)

    def _note(self, trouble: str | None, speaks: str = "") -> None:
        """Know, and log once, whether there is a connection and why not."""
        news = trouble != self._trouble
        self._live.clear()
        self._connected, self._trouble = trouble is None, trouble
        if trouble is None:
            log.info("%s: connected in %s", self._broker, speaks)
        elif news:
            log.log(logging.INFO if self._stopping.is_set() else logging.WARNING, "%s", trouble)
