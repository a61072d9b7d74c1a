"""Each command on a whole bin under simulated time, with the real ledger: what it does, when it is refused, and that it is done once."""

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device.cameras import Frame
from device.common.clock import Clock
from device.events import BinEmptied, CommandAccepted, ItemSorted, decode
from device.gates import Position
from device.ledger.ledger import Ledger
from device.ledger.reader import read_events
from device.mqtt.command_payloads import CommandResult
from device.mqtt.inbox import Message
from device.remote.capture import CapturePicture
from device.remote.controls import BinControls
from device.remote.kinds import COMMANDS
from device.remote.pause import Pause
from device.remote.pause_note import PauseNote
from device.remote.remote_control import RemoteControl
from device.vision.inference.preprocess import Pixels
from tests.device.remote.conftest import RemoteBench

Remote = Callable[..., RemoteBench]

NOBODY = cast(Any, None)
CONTROLS = BinControls(
    sorter=NOBODY,
    newest_frame=lambda: None,
    rules=NOBODY,
    levels=NOBODY,
    lessons=NOBODY,
    pause_note=NOBODY,
    publish_image=None,
    ask_restart=lambda: None,
)
"""controls of a bin whose only command is `restart`"""


def commands_in(folder: Path) -> list[CommandAccepted]:
    events = [decode(payload) for _, payload in read_events(folder)]
    return [event for event in events if isinstance(event, CommandAccepted)]


def test_pause_and_resume_stop_and_start_sorting(remote: Remote, tmp_path: Path) -> None:
    bin_ = remote("glass")
    assert bin_.answer("pause").code == "done"
    assert bin_.bench.live(2.0, lambda: bin_.bench.sorter.mode == "paused")
    assert PauseNote(tmp_path / "state").is_there
    bin_.bench.throws = True
    bin_.live(10)
    assert not bin_.bench.landed
    assert bin_.answer("resume", id_="b").ok
    assert not PauseNote(tmp_path / "state").is_there
    assert bin_.live(30, lambda: bool(bin_.bench.recorded(ItemSorted)))
    assert [(event.command, event.id) for event in commands_in(tmp_path / "state")] == [("pause", "a"), ("resume", "b")]


def test_a_pause_is_answered_when_the_item_on_its_way_has_fallen(remote: Remote) -> None:
    bin_ = remote("glass")
    bin_.bench.throws = True
    assert bin_.live(20, lambda: bin_.bench.sorter.mode == "sorting")
    assert bin_.answer("pause").ok
    assert len(bin_.bench.landed) == 1


def test_a_pause_that_cannot_be_noted_says_so(remote: Remote, tmp_path: Path) -> None:
    bin_ = remote()
    (tmp_path / "state" / "paused").mkdir()
    result = bin_.answer("pause")
    assert result.ok and result.message.startswith("paused, but not over a restart: ")
    assert bin_.answer("resume", id_="b").code == "failed"
    assert bin_.bench.sorter.mode == "paused"


def test_emptied_begins_the_count_anew(remote: Remote) -> None:
    bin_ = remote("glass")
    bin_.bench.throws = True
    assert bin_.live(30, lambda: bool(bin_.bench.recorded(ItemSorted)))
    assert bin_.answer("emptied", {"bin": "glass"}).message == "glass counts from zero"
    assert bin_.live(5, lambda: bool(bin_.bench.recorded(BinEmptied)))
    (emptied,) = bin_.bench.recorded(BinEmptied)
    assert isinstance(emptied, BinEmptied)
    assert (emptied.bin, emptied.by, emptied.items) == ("glass", "command", 1)


@pytest.mark.parametrize("name", ["emptied", "test_gate"])
def test_a_bin_that_is_not_there_is_named_with_those_that_are(remote: Remote, name: str) -> None:
    result = remote().answer(name, {"bin": "gold"})
    assert (result.ok, result.code) == (False, "out_of_range")
    assert result.message == "bin: expected one of paper, glass, metal, plastic, trash"


def test_a_gate_is_tried_once_between_items(remote: Remote) -> None:
    bin_ = remote("glass")
    assert bin_.answer("test_gate", {"bin": "metal"}).ok
    assert bin_.bench.opened == {"metal"}
    bin_.bench.throws = True
    assert bin_.live(20, lambda: bin_.bench.sorter.mode == "sorting")
    assert bin_.answer("test_gate", {"bin": "metal"}, "b").code == "not_now"
    assert bin_.answer("relearn", id_="c").code == "not_now"


def test_relearn_takes_the_tray_as_it_is(remote: Remote) -> None:
    bin_ = remote()
    assert bin_.answer("relearn").message == "the tray as it is counts as empty"
    bin_.bench.sees = lambda pixels: pixels // 40
    bin_.live(0.5)
    assert bin_.answer("relearn", id_="b").code in ("failed", "not_now")


def test_clear_fault_needs_a_persons_look_at_a_jam(remote: Remote) -> None:
    bin_ = remote("glass", sticks=lambda thing: True)
    assert bin_.answer("clear_fault").code == "not_now"
    bin_.bench.throws = True
    assert bin_.live(60, lambda: bin_.bench.sorter.mode == "fault")
    bin_.bench.throws = False
    assert bin_.answer("clear_fault", id_="b").message.startswith("jam: take away what lies on the tray")
    result = bin_.answer("clear_fault", {"tray_is_empty": True}, "c")
    assert (result.ok, result.message) == (True, "jam is over")


def test_clear_fault_tells_that_a_fault_is_still_there(remote: Remote) -> None:
    bin_ = remote()
    bin_.bench.gates["metal"].break_wire()
    assert bin_.answer("test_gate", {"bin": "metal"}).code == "failed"
    assert bin_.live(5, lambda: bin_.bench.sorter.mode == "fault")
    assert bin_.answer("clear_fault", id_="b").message.startswith("the fault is still there: ")
    bin_.bench.gates["metal"].mend()
    assert bin_.answer("clear_fault", id_="c").message == "gate is over"


def test_capture_publishes_the_newest_frame(remote: Remote) -> None:
    bin_ = remote()
    assert bin_.answer("capture").code == "not_now"
    rng = np.random.default_rng(0)
    bin_.frame = Frame(rng.integers(0, 255, (1500, 2000, 3), np.uint8), 1, bin_.bench.now_s)
    result = bin_.answer("capture", id_="b")
    assert result.ok, result
    (jpeg,) = bin_.images
    assert len(jpeg) <= 256 * 1024
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None and max(decoded.shape) == 1280


def test_restart_is_asked_for_once_answered(remote: Remote) -> None:
    bin_ = remote()
    assert bin_.answer("restart").ok and bin_.restart_asked
    assert not bin_.control.busy


def test_identify_blinks_the_lamp_and_gives_it_back(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("device.remote.identify.BLINK_S", 0.05)
    bin_ = remote()
    trigger = bin_.leds / "ACT" / "trigger"
    trigger.parent.mkdir(parents=True)
    trigger.write_text("none timer [mmc0] heartbeat\n")
    assert bin_.answer("identify").message.startswith("the board's green lamp blinked")
    assert trigger.read_text() == "mmc0"
    assert not bin_.bench.opened


def test_identify_without_a_lamp_moves_a_gate_over_an_empty_tray(remote: Remote) -> None:
    bin_ = remote("glass")
    assert bin_.answer("identify").message == "the gate of trash opened and closed"
    assert bin_.bench.opened == {"trash"}
    bin_.bench.sorter.manual.paused = True
    bin_.bench.throws = True
    bin_.live(8)
    assert bin_.answer("identify", id_="b").code == "failed", "an item lies there"
    assert all(gate.position is Position.CLOSED for gate in bin_.bench.gates.values())


def test_an_id_that_comes_again_gets_the_same_answer(remote: Remote, tmp_path: Path) -> None:
    bin_ = remote()
    first = bin_.answer("test_gate", {"bin": "metal"})
    bin_.bench.opened.clear()
    again = bin_.answer("test_gate", {"bin": "metal"})
    refused = [bin_.answer("clear_fault", id_="r") for _ in range(2)]
    assert again == first and not bin_.bench.opened
    assert refused[0] == refused[1] and refused[0].code == "not_now"
    assert [event.id for event in commands_in(tmp_path / "state")] == ["a", "r"]


def test_an_id_twice_at_once_is_done_and_answered_once(remote: Remote) -> None:
    bin_ = remote()
    for _ in range(3):
        bin_.send("test_gate", {"bin": "metal"})
    assert bin_.live(20, lambda: bool(bin_.results))
    bin_.live(2)
    assert len(bin_.results) == 1


def test_a_flood_is_refused_and_leaves_nothing(remote: Remote, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bin_ = remote()
    for number in range(1000):
        bin_.send("pause" if number % 2 else "resume", id_=f"n{number}")
        bin_.control.receive(Message("sortbin/bench/cmd/pause", b"{", False))
    assert bin_.live(20, lambda: not bin_.control.busy)
    codes = [result.code for result in bin_.results]
    assert len(codes) == 2000 and codes.count("too_many") >= 1985
    assert len(commands_in(tmp_path / "state")) <= 10
    assert len([record for record in caplog.records if "is refused" in record.message]) <= 10


def test_a_command_that_waited_too_long_is_expired(remote: Remote, tmp_path: Path) -> None:
    bin_ = remote()
    bin_.send("pause", ttl_s=1)
    bin_.bench.live(3)
    assert bin_.live(2, lambda: bool(bin_.results))
    assert (bin_.results[0].code, bin_.bench.sorter.manual.paused) == ("expired", False)
    assert not commands_in(tmp_path / "state")


def test_a_command_that_takes_too_long_is_given_up(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pause, "most_s", 0.3)
    bin_ = remote("glass")
    bin_.bench.throws = True
    assert bin_.live(20, lambda: bin_.bench.sorter.mode == "sorting")
    assert bin_.answer("pause").code == "timed_out"


def test_what_is_not_finished_at_a_stop_is_answered_as_interrupted(remote: Remote) -> None:
    bin_ = remote()
    bin_.send("test_gate", {"bin": "metal"})
    assert bin_.live(5, lambda: bin_.bench.gates["metal"].position is Position.OPEN)
    bin_.control.close()
    assert [(result.id, result.code) for result in bin_.results] == [("a", "interrupted")]


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 6)), min_size=1, max_size=12))
def test_no_command_is_done_twice_whenever_the_bin_is_killed(tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[str, int]]) -> None:
    """Each id with the number of steps after which the bin is killed; 6 are enough for an answer."""
    folder, done, told = tmp_path_factory.mktemp("state"), list[str](), dict[str, set[str]]()
    ledger = Ledger(folder, "bin1", Clock())
    for id_, steps in sent:
        results: list[CommandResult] = []
        controls = dataclasses.replace(CONTROLS, ask_restart=functools.partial(done.append, id_))
        control = RemoteControl(controls, ledger, results.append, now_s=lambda: 0.0)
        control.receive(Message("sortbin/bin1/cmd/restart", msgspec.json.encode({"id": id_}), False))
        for _ in range(steps):
            control.update(0.0)
            while ledger.busy:
                time.sleep(0.0002)
        for result in results:
            told.setdefault(result.id, set()).add(result.code)
        if steps < 6:
            ledger.close(10.0, "crash")
            ledger = Ledger(folder, "bin1", Clock())
    ledger.close(10.0)
    accepted = [event.id for event in commands_in(folder)]
    assert all(done.count(id_) == 1 for id_ in done) and len(accepted) == len(set(accepted))
    assert set(done) <= set(accepted)
    assert all(len(codes) == 1 for codes in told.values()), "answers to repeats agree"
    assert all(codes == {"done"} for id_, codes in told.items() if id_ in done and "interrupted" not in codes)


def test_each_command_says_what_it_does() -> None:
    assert set(COMMANDS) == {
        *("pause", "resume", "set_paused", "emptied", "clear_fault", "relearn", "test_gate"),
        *("capture", "teach", "forget", "restart", "identify"),
    }
    assert all((kind.__doc__ or "").strip().endswith(".") for kind in COMMANDS.values())


def test_a_picture_is_refused_where_the_settings_do_not_allow_it(remote: Remote, painted: Callable[..., Pixels]) -> None:
    off = dataclasses.replace(remote().controls, publish_image=None)
    with pytest.raises(Exception, match="images = true"):
        next(CapturePicture().carry_out(off))


def test_one_command_pauses_and_resumes_for_switches(remote: Remote) -> None:
    bin_ = remote()
    assert bin_.answer("set_paused", {"paused": True}).code == "done"
    assert bin_.live(10, lambda: bin_.bench.sorter.mode == "paused")
    assert bin_.answer("set_paused", {"paused": False}, id_="b").code == "done"
    assert bin_.live(10, lambda: bin_.bench.sorter.mode == "ready")
    assert bin_.answer("set_paused", {}, id_="c").code == "out_of_range"
