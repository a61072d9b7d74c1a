"""A bin under simulated time with its commands, and a real daemon with a real broker."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from device.cameras import Frame
from device.mqtt.command_payloads import CommandResult
from device.mqtt.inbox import Message
from device.remote.board_led import BoardLed
from device.remote.controls import BinControls
from device.remote.lessons import RemoteLessons
from device.remote.pause_note import PauseNote
from device.remote.remote_control import RemoteControl
from device.vision.inference.bundle import Bundle
from device.vision.inference.preprocess import Pixels
from tests.device.mqtt.conftest import mosquitto as mosquitto
from tests.device.virtual import Bench, BenchSetup, photos


class RemoteBench:
    """A bench whose commands are carried out while its time passes."""

    def __init__(self, bench: Bench, state: Path) -> None:
        self.bench, self.results, self.images = bench, list[CommandResult](), list[bytes]()
        self.restart_asked = False
        self._seen = 0
        self.frame: Frame | None = None
        self.unix_s: float | None = None
        self.leds = state / "leds"
        self.controls = BinControls(
            sorter=bench.sorter,
            newest_frame=lambda: self.frame,
            rules=bench.rules,
            levels=bench.levels,
            lessons=RemoteLessons(bench.judge, state, ""),
            pause_note=PauseNote(state),
            publish_image=self.images.append,
            ask_restart=self._ask_restart,
            led=BoardLed(self.leds),
        )
        self.control = RemoteControl(self.controls, bench.ledger, self.results.append, now_unix_s=lambda: self.unix_s, now_s=lambda: bench.now_s)

    def _ask_restart(self) -> None:
        self.restart_asked = True

    def send(self, name: str, args: dict[str, Any] | None = None, id_: str = "a", **more: Any) -> None:
        payload = msgspec.json.encode({"id": id_, "args": args or {}, **more})
        self.control.receive(Message(f"sortbin/bench/cmd/{name}", payload, False))

    def live(self, most_s: float, until: Callable[[], bool] = lambda: False) -> bool:
        def after_each_step() -> bool:
            while self._seen < len(self.bench.offered):
                self.controls.lessons.remember(self.bench.offered[self._seen])
                self._seen += 1
            self.control.update(self.bench.now_s)
            if self.control.busy:
                time.sleep(0.0005)  # threads and disks need real time
            return until()

        return self.bench.live(most_s, after_each_step)

    def answer(self, name: str, args: dict[str, Any] | None = None, id_: str = "a", most_s: float = 90.0, **more: Any) -> CommandResult:
        """Send a command and wait for its answer."""
        before = len(self.results)
        self.send(name, args, id_, **more)
        assert self.live(most_s, lambda: len(self.results) > before), f"no answer to {name}"
        return self.results[-1]


@pytest.fixture
def remote(tiny_bundle: Bundle, tmp_path: Path, painted: Callable[..., Pixels]) -> Iterator[Callable[..., RemoteBench]]:
    """`remote("glass", "paper")`: a bin into which these labels are thrown one after the other. It is ready, and listens."""
    made: list[RemoteBench] = []

    def make(*labels: str, bundle: Bundle = tiny_bundle, **more: Any) -> RemoteBench:
        bench = Bench(bundle, tmp_path / "state", photos(tmp_path, painted, labels), BenchSetup(**more))
        made.append(RemoteBench(bench, tmp_path / "state"))
        bench.throws = False
        assert bench.live(20, until=lambda: bench.sorter.mode in ("ready", "paused"))
        return made[-1]

    yield make
    for each in made:
        each.control.close()
        each.bench.close()
