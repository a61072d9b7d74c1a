"""What version 0.1.0 left on a disk or at a broker is read by this one. The files in `written_by_0_1/` were written by its own commands."""

import contextlib
import io
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from device.cli import main as sortbin
from device.common.clock import Clock, kernel_boot_id
from device.events import ItemInterrupted, decode
from device.gates.claimed_outputs import read_claim
from device.ledger.ledger import Ledger
from device.mqtt import payloads
from device.samples.store import read_samples
from device.settings import read_settings

WRITTEN = Path(__file__).parent / "written_by_0_1"
RESERVED = int((WRITTEN / "state" / "ledger.seq").read_text())
PAYLOADS: dict[str, type[msgspec.Struct]] = {"info": payloads.Info, "state": payloads.State, "health": payloads.Health, "bin": payloads.BinState}


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def printed_by_sortbin(*arguments: object) -> list[dict[str, Any]]:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert sortbin([str(argument) for argument in arguments]) == 0
    return objects(output.getvalue())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state folder of a bin that lost power with an item on its way: its kernel was another one."""
    copy = shutil.copytree(WRITTEN / "state", tmp_path / "state")
    with contextlib.closing(sqlite3.connect(copy / "ledger.sqlite3", isolation_level=None)) as database:
        database.execute("UPDATE note SET value = 'another' WHERE name = 'kernel'")
    return copy


def test_every_event_of_an_old_ledger_is_listed_unchanged(state: Path) -> None:
    wanted = objects((WRITTEN / "events.jsonl").read_text(encoding="utf-8"))
    assert len(wanted) == 19
    listed = printed_by_sortbin("events", "--state", state, "--json")
    assert [{key: event.get(key) for key in old} for event, old in zip(listed, wanted, strict=True)] == wanted


def test_an_old_ledger_goes_on_where_it_stopped(state: Path) -> None:
    ledger = Ledger(state, "demo", Clock())
    try:
        assert [event for event in ledger.interrupted if isinstance(event, ItemInterrupted) and event.item == "old-7" and event.bin == "plastic"]
        assert ledger.newest_seq == RESERVED + 1, "numbers that may have been lost with the power are not given out again"
        totals = ledger.totals()
        assert (totals["glass"].sorted, totals["paper"].jams, totals["trash"].rejected, totals["plastic"].interrupted) == (2, 1, 2, 1)
        waiting = [decode(payload) for _, payload in ledger.outbox(0, 100)]
        assert [event.seq for event in waiting] == [*range(13, 20), RESERVED + 1]
    finally:
        ledger.close(10.0)


def test_old_mqtt_messages_decode_as_todays_payloads() -> None:
    messages = objects((WRITTEN / "mqtt.jsonl").read_text(encoding="utf-8"))
    decoded = set()
    for message in messages:
        name = message["topic"].split("/")[2]
        decoded.add(name)
        if name in ("event", "journal"):
            assert decode(message["payload"].encode()).device == "demo"
        elif name == "availability":
            assert message["payload"] in ("online", "offline")
        else:
            msgspec.json.decode(message["payload"], type=PAYLOADS[name], strict=True)
    assert decoded == {*PAYLOADS, "availability", "event", "journal"}


def test_the_settings_file_of_then_is_read_as_it_is() -> None:
    settings = read_settings(WRITTEN / "sortbin.toml")
    assert [gate.bin for gate in settings.gate] == ["paper", "glass", "metal", "plastic", "trash"]


def test_gates_claimed_before_an_update_are_found_after_it(tmp_path: Path) -> None:
    claim = json.loads((WRITTEN / "claimed-gates.json").read_text(encoding="utf-8"))
    (tmp_path / "claimed-gates.json").write_text(json.dumps({**claim, "kernel": kernel_boot_id()}), encoding="utf-8")
    assert [(gate.bin, type(gate).__struct_config__.tag) for gate in read_claim(tmp_path)] == [
        ("paper", "servo"),
        ("glass", "line"),
        ("trash", "simulated"),
    ]


def test_frames_kept_for_review_are_read_with_their_notes() -> None:
    kept = read_samples(WRITTEN / "kept")
    assert not kept.problems
    (frame,) = kept.samples
    assert frame.note is not None
    assert (frame.note.label, frame.note.reason, frame.note.mask is not None, len(frame.note.embedding or ())) == ("blue can", "unsure", True, 8)


@pytest.mark.parametrize(("options", "wanted"), [((), "classified.jsonl"), (("--teaching", WRITTEN / "taught.npz"), "classified_taught.jsonl")])
def test_an_old_bundle_and_what_it_was_taught_judge_photos_as_before(options: tuple[object, ...], wanted: str) -> None:
    photos = sorted((WRITTEN / "photos").rglob("*.png"))
    judged = printed_by_sortbin("classify", "--json", "--bundle", WRITTEN / "bundle", *options, *photos)
    expected = objects((WRITTEN / wanted).read_text(encoding="utf-8"))
    assert len(judged) == len(expected) == 2
    for now, then in zip(judged, expected, strict=True):
        assert now["probabilities"] == pytest.approx(then["probabilities"], abs=0.02)
        assert (now["bin"], now["decision"]) == (then["bin"], then["decision"])
        assert now["unknown"] == pytest.approx(then["unknown"], abs=0.05)


def test_an_old_run_is_quantized(tmp_path: Path) -> None:
    from converter.cli import main as converter

    data = tmp_path / "photos"
    for line in [*(WRITTEN / "run" / "train.txt").read_text().splitlines(), *(WRITTEN / "run" / "val.txt").read_text().splitlines()]:
        (data / line).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(WRITTEN / "photos" / "blue can" / "00.png", data / line)
    options = ("--data", data, "--out", tmp_path / "bundle", "--tolerance", "100", "--calibration", "8")
    assert converter([str(option) for option in ("quantize", WRITTEN / "run", *options)]) == 0
    assert (tmp_path / "bundle" / "labels.txt").read_text() == (WRITTEN / "bundle" / "labels.txt").read_text()
