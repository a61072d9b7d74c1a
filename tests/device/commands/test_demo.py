"""`sortbin demo` in a process of its own with a real broker, stopped and killed at bad moments."""

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.ledger.reader import read_events
from device.simulation.items import shipped_items
from device.simulation.tray_renderer import Pose, TrayRenderer
from device.vision.inference.bundle import Bundle
from device.vision.inference.preprocess import Pixels

pytestmark = pytest.mark.slow

LABELS = ("glass", "paper", "metal", "plastic")


@pytest.fixture
def pictures(tmp_path: Path, painted: Callable[..., Pixels]) -> Path:
    """A folder per label with one plain photo in each."""
    for label in LABELS:
        (tmp_path / "photos" / label).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "photos" / label / f"{label}.png"), cv2.cvtColor(painted(label, 48, 64), cv2.COLOR_RGB2BGR))
    return tmp_path / "photos"


class Demo:
    """A running demo, and what it has printed so far."""

    def __init__(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "device.cli", "demo", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for_items(self, count: int, wait_s: float = 60.0) -> None:
        """Wait until `count` items are printed."""
        with self._news:
            seen = self._news.wait_for(lambda: sum(bool(re.match(r" +\d+  ", line)) for line in self.lines) >= count, wait_s)
        assert seen, "".join(self.lines)

    def end(self, wait_s: float = 60.0) -> tuple[int, str, str]:
        """Wait for its end. Returns exit status, output, errors."""
        status = self.process.wait(wait_s)
        self._reader.join(5.0)
        assert self.process.stderr is not None
        return status, "".join(self.lines), self.process.stderr.read()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()


@pytest.fixture
def demo(tiny_bundle: Bundle) -> Iterator[Callable[..., Demo]]:
    """`demo("--items", "3")` starts one with the tiny bundle; what still runs at the end is killed."""
    started: list[Demo] = []

    def start(*arguments: str | Path) -> Demo:
        started.append(Demo("--bundle", tiny_bundle.folder, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait(10)
        assert each.process.stdout is not None and each.process.stderr is not None
        each.process.stdout.close()
        each.process.stderr.close()


def kept(state: Path) -> list[dict[str, object]]:
    return [json.loads(payload) for _, payload in read_events(state)]


def test_the_demo_prints_each_item_and_a_summary_and_ends(demo: Callable[..., Demo], pictures: Path) -> None:
    status, said, errors = demo("--items", "3", "--images", pictures).end()
    assert status == 0, errors
    assert "Traceback" not in errors
    assert len(re.findall(r"^ +\d+  \w+ \(\w+\) .*right", said, re.MULTILINE)) == 3
    assert "in the right bin: 3 of 3" in said
    assert re.search(r"contamination", said)


def test_a_replayed_folder_is_sorted_once_and_ends_the_demo(demo: Callable[..., Demo], tmp_path: Path) -> None:
    (tmp_path / "replayed").mkdir()
    tray, can = TrayRenderer(np.random.default_rng(0)), next(thing for thing in shipped_items() if thing.name == "drinks-can")
    tray.lay(can)
    for name, pose in (("0-empty", None), ("1-can", Pose(0.5, 0.5, 20.0))):
        cv2.imwrite(str(tmp_path / "replayed" / f"{name}.png"), cv2.cvtColor(tray.picture(pose, 0.0, 1.0), cv2.COLOR_RGB2BGR))
    status, said, errors = demo("--replay", tmp_path / "replayed", "--state", tmp_path / "state").end()
    assert status == 0, errors
    assert "1 item in" in said
    (item,) = (event for event in kept(tmp_path / "state") if "item" in event)
    assert item["type"] in ("item_sorted", "item_rejected") and item["isolated"]


def test_unreadable_photos_are_left_out_and_named_once(demo: Callable[..., Demo], pictures: Path) -> None:
    (pictures / "glass" / "cut-off.jpg").write_bytes(b"\xff\xd8\xff")
    (pictures / "paper" / "empty.png").touch()
    status, said, errors = demo("--items", "6", "--images", pictures).end()
    assert status == 0, errors
    assert "6 items in" in said
    left_out = [line for line in errors.splitlines() if "left out" in line]
    assert sorted(Path(line.split(":")[0].split()[-1]).name for line in left_out) == ["cut-off.jpg", "empty.png"]


def test_a_folder_without_readable_photos_is_refused(demo: Callable[..., Demo], tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    status, _, errors = demo("--images", tmp_path).end()
    assert status == 2
    assert f"sortbin demo: {tmp_path}: expected photos, found none that can be decoded" in errors
    assert "Traceback" not in errors


def test_without_the_broker_package_the_demo_still_sorts(
    demo: Callable[..., Demo], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed bin has no amqtt, which only a demo needs."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/amqtt.py").write_text("raise ImportError('not installed')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    status, said, errors = demo("--items", "1", "--images", pictures).end()
    assert status == 0, errors
    assert "nothing is published: for a built-in broker" in said and "-m pip install amqtt" in said
    assert "1 item in" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_demo_with_a_clean_stop(demo: Callable[..., Demo], pictures: Path, tmp_path: Path, number: signal.Signals) -> None:
    running = demo("--images", pictures, "--state", tmp_path / "state")
    running.wait_for_items(1)
    running.process.send_signal(number)
    status, said, errors = running.end(10.0)
    assert status == 0, errors
    assert re.search(r"\d items? in \d", said)
    again = demo("--images", pictures, "--state", tmp_path / "state", "--items", "1")
    assert again.end()[0] == 0
    started = [event for event in kept(tmp_path / "state") if event["type"] == "started"]
    assert [event["restarts"] for event in started] == [0, 0]


def test_a_killed_demo_loses_and_doubles_no_event(demo: Callable[..., Demo], pictures: Path, tmp_path: Path) -> None:
    for kills in range(2):
        running = demo("--images", pictures, "--state", tmp_path / "state")
        running.wait_for_items(kills + 1)
        running.process.kill()
        running.end()
    last = demo("--images", pictures, "--state", tmp_path / "state", "--items", "1")
    assert last.end()[0] == 0
    events = kept(tmp_path / "state")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    items = [event["item"] for event in events if "item" in event]
    assert len(items) == len(set(items))
    assert sum(event["type"] == "item_sorted" for event in events) >= 4
    assert [event["restarts"] for event in events if event["type"] == "started"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--images", "nowhere"], "nowhere: expected a folder of photos"),
        (["--replay", "nowhere"], "nowhere: expected a picture or a folder of pictures"),
        (["--broker", "http://example.invalid"], "--broker http://example.invalid: expected mqtt://"),
        (["--broker", "mqtt://h:abc"], "--broker mqtt://h:abc: expected mqtt://"),
        (["--broker", "mqtt://h:99999"], "--broker mqtt://h:99999: expected mqtt://"),
        (["--broker", "mqtt://[::1"], "--broker mqtt://[::1: expected mqtt://"),
        (["--broker", "mqtt://my broker"], "--broker mqtt://my broker: expected mqtt://"),
        (["--broker", "mqtt://:pw@h"], "--broker mqtt://:pw@h: expected mqtt://"),
        (["--seed", "-5"], "argument --seed: expected a whole number of at least 0, found -5"),
        (["--seconds", "nan"], "argument --seconds: expected a number of seconds from 0 to 1e+07, found nan"),
        (["--seconds=-3"], "argument --seconds: expected a number of seconds from 0 to 1e+07, found -3"),
        (["--seconds", "inf"], "argument --seconds: expected a number of seconds from 0 to 1e+07, found inf"),
        (["--camera", "-1"], "argument --camera: expected a whole number from 0 to 255, found -1"),
        (["--items", "few"], "argument --items: expected a whole number of at least 1, found few"),
        (["--rules", "nothing"], "nothing: expected the file of a rule pack"),
    ],
)
def test_a_mistake_is_one_line(demo: Callable[..., Demo], arguments: list[str], said: str) -> None:
    status, _, errors = demo(*arguments).end()
    assert status == 2
    assert said in errors
    assert "Traceback" not in errors


def test_items_are_sorted_while_the_broker_refuses(demo: Callable[..., Demo], pictures: Path, tmp_path: Path) -> None:
    running = demo("--items", "2", "--images", pictures, "--broker", "mqtt://127.0.0.1:1", "--state", tmp_path / "state")
    status, _, errors = running.end()
    assert status == 0
    assert "nothing listens there" in errors
    assert sum(event["type"] == "item_sorted" for event in kept(tmp_path / "state")) == 2
