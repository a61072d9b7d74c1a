"""The thread that reads a camera. Sources are fakes; tests set the time where it matters."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.cameras import CameraError, EndOfFrames, Frame
from device.cameras.camera_thread import CameraThread, rotate_and_crop
from device.cameras.settings import CameraBase, Region
from device.vision.inference.preprocess import Pixels

PATIENCE_S = 20.0
QUICK = (0.001, 0.002)


class Script:
    """A source with a script: each step is the brightness of a frame, an exception to raise, or an event to hang on."""

    def __init__(self, *steps: int | Exception | threading.Event) -> None:
        self.steps = iter(steps)
        self.closed = threading.Event()
        self.reached_end = threading.Event()
        self.hangs = threading.Event()
        self.let_go = threading.Event()
        self.numbers = itertools.count(1)
        self.damaged = 0

    def read(self, wait_s: float) -> Frame:
        for step in self.steps:
            match step:
                case int():
                    return Frame(np.full((4, 6, 3), step, np.uint8), next(self.numbers), float(step))
                case Exception():
                    raise step
                case threading.Event():
                    self.hangs.set()
                    while not step.wait(0.01) and not self.let_go.is_set():
                        pass
        self.reached_end.set()
        self.closed.wait(PATIENCE_S)
        raise CameraError("the test is over")

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def start() -> Iterator[Callable[..., CameraThread]]:
    """`start(source, source...)`: a CameraThread that opens these one after the other; an exception is a failed opening."""
    cameras: list[CameraThread] = []
    sources: list[Script] = []

    def begin(
        *script: Script | Exception, pause_s: tuple[float, float] = QUICK, clock: Callable[[], float] = time.monotonic, **keys: Any
    ) -> CameraThread:
        sources.extend(each for each in script if isinstance(each, Script))
        left = iter(script)

        def open_source() -> Script:
            source = next(left, CameraError("nothing more in the script"))
            if isinstance(source, Exception):
                raise source
            return source

        cameras.append(CameraThread(open_source, CameraBase(**keys), pause_s=pause_s, clock=clock))
        return cameras[-1]

    yield begin
    for camera in cameras:
        camera.close(0)
    for source in sources:
        source.closed.set()
        source.let_go.set()
    for camera in cameras:
        camera.close(PATIENCE_S)


def brightness(frame: Frame | None) -> int:
    assert frame is not None
    return int(frame.pixels[0, 0, 0])


def test_the_newest_frame_wins(start: Callable[..., CameraThread]) -> None:
    source = Script(1, 2, 3)
    camera = start(source)
    assert source.reached_end.wait(PATIENCE_S)
    frame = camera.latest()
    assert brightness(frame) == 3
    assert frame is not None
    assert frame.number == 3
    assert camera.latest(after_number=3) is None


def test_waiting_ends_with_a_newer_frame(start: Callable[..., CameraThread]) -> None:
    gate = threading.Event()
    camera = start(Script(1, gate, 2))
    assert brightness(camera.latest(0, PATIENCE_S)) == 1
    gate.set()
    assert brightness(camera.latest(1, PATIENCE_S)) == 2


def test_age_is_counted_from_the_exposure(start: Callable[..., CameraThread]) -> None:
    camera = start(Script(7))
    assert camera.age_s(0.0) == float("inf") or camera.latest() is not None
    assert camera.latest(0, PATIENCE_S) is not None
    assert camera.age_s(10.0) == 3.0


def test_a_lost_camera_is_reopened_and_numbers_keep_rising(start: Callable[..., CameraThread]) -> None:
    first, second = Script(1, 2, CameraError("unplugged")), Script(3)
    camera = start(first, CameraError("not there yet"), second)
    seen: list[Frame] = []
    while not seen or brightness(seen[-1]) != 3:
        frame = camera.latest(seen[-1].number if seen else 0, PATIENCE_S)
        assert frame is not None
        seen.append(frame)
    numbers = [frame.number for frame in seen]
    assert numbers == sorted(set(numbers))
    assert seen[-1].number == 3
    assert first.closed.is_set()
    assert camera.reopened == 1
    assert camera.last_error is None


def test_damaged_frames_are_counted_across_reopenings_and_logged_once(start: Callable[..., CameraThread], caplog: pytest.LogCaptureFixture) -> None:
    class Damaged(Script):
        """Drops two frames before each one that it returns."""

        def read(self, wait_s: float) -> Frame:
            self.damaged += 2
            return super().read(wait_s)

    first, second = Damaged(1, 2, CameraError("unplugged")), Damaged(3)
    camera = start(first, second)
    assert second.reached_end.wait(PATIENCE_S)
    assert brightness(camera.latest(2, PATIENCE_S)) == 3
    assert camera.damaged == 8, "two each before 1, 2, the failure and 3"
    assert [message for message in caplog.messages if "damaged" in message] == [
        "camera: frames arrive damaged and are dropped, 2 so far; another USB port or a shorter cable may help"
    ]


def test_without_frames_last_error_says_why(start: Callable[..., CameraThread]) -> None:
    camera = start(CameraError("camera 0: no such device"), pause_s=(PATIENCE_S, PATIENCE_S))
    assert camera.latest(0, 0.2) is None
    assert str(camera.last_error) == "camera 0: no such device"
    assert camera.reopened == 0


def test_the_end_of_a_replay_is_raised_after_its_last_frame(start: Callable[..., CameraThread]) -> None:
    camera = start(Script(1, EndOfFrames("all shown")))
    assert brightness(camera.latest(0, PATIENCE_S)) == 1
    with pytest.raises(EndOfFrames, match="all shown"):
        camera.latest(1, PATIENCE_S)


def test_a_bug_in_a_source_is_raised_by_latest(start: Callable[..., CameraThread]) -> None:
    camera = start(Script(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        camera.latest(0, PATIENCE_S)


def test_a_hanging_source_is_abandoned_and_another_opened(start: Callable[..., CameraThread], clock: Any) -> None:
    driver_returns = threading.Event()
    hanging = Script(1, driver_returns, 99)
    camera = start(hanging, Script(2), hang_s=12.0, clock=clock)
    assert hanging.hangs.wait(PATIENCE_S)
    clock.now_s += 11.0
    assert brightness(camera.latest()) == 1
    assert camera.latest(1) is None
    assert camera.last_error is None

    clock.now_s += 2.0
    frame = camera.latest(1, PATIENCE_S)
    assert brightness(frame) == 2
    assert camera.reopened == 1
    assert not camera.stuck

    driver_returns.set()
    assert hanging.closed.wait(PATIENCE_S), "a driver that returns late is closed"
    assert brightness(camera.latest()) == 2, "frames of an abandoned thread are ignored"


def test_when_every_driver_call_hangs_it_reports_stuck(start: Callable[..., CameraThread], clock: Any) -> None:
    hang = threading.Event()
    scripts = [Script(hang, CameraError("late")) for _ in range(3)] + [Script(threading.Event()) for _ in range(2)]
    camera = start(*scripts, hang_s=12.0, clock=clock)
    for script in scripts[:3]:
        assert script.hangs.wait(PATIENCE_S)
        assert not camera.stuck
        clock.now_s += 13.0
        assert camera.latest() is None
    assert camera.stuck
    assert "has not answered for 12 s" in str(camera.last_error)
    assert camera.latest() is None
    assert not scripts[3].hangs.is_set()

    hang.set()
    assert scripts[3].hangs.wait(PATIENCE_S), "once a driver returns, the camera is opened again"
    clock.now_s += 13.0
    while not scripts[4].hangs.wait(0.005):
        camera.latest()


def test_a_hanging_driver_that_keeps_the_camera_is_stuck_after_a_minute(start: Callable[..., CameraThread], clock: Any) -> None:
    hang = threading.Event()
    hanging, busy = Script(1, hang, CameraError("late")), CameraError("another program may be using it")
    camera = start(hanging, busy, busy, hang_s=12.0, clock=clock, pause_s=(0.001, 0.001))
    assert hanging.hangs.wait(PATIENCE_S)
    clock.now_s += 13.0
    assert camera.latest(1, 0.0) is None
    clock.now_s += 59.0
    assert not camera.stuck
    clock.now_s += 2.0
    assert camera.stuck
    hang.set()
    hanging.let_go.set()
    assert hanging.closed.wait(PATIENCE_S)
    while camera.stuck:
        pass


def test_a_hang_that_ended_is_not_stuck(start: Callable[..., CameraThread], clock: Any) -> None:
    hang = threading.Event()
    hanging = Script(1, hang)
    camera = start(hanging, Script(2, CameraError("unplugged")), hang_s=12.0, clock=clock, pause_s=(PATIENCE_S, PATIENCE_S))
    assert hanging.hangs.wait(PATIENCE_S)
    clock.now_s += 13.0
    assert brightness(camera.latest(1, PATIENCE_S)) == 2
    clock.now_s += 1000.0
    assert not camera.stuck


def test_close_is_bounded_when_the_driver_hangs(start: Callable[..., CameraThread]) -> None:
    hang = threading.Event()
    source = Script(1, hang, CameraError("unplugged"))
    camera = start(source)
    assert source.hangs.wait(PATIENCE_S)
    assert brightness(camera.latest()) == 1
    camera.close(wait_s=0.01)
    assert not source.closed.is_set()
    hang.set()
    assert source.closed.wait(PATIENCE_S)
    camera.close()
    assert camera.latest(1) is None


def test_the_source_is_closed_with_the_camera() -> None:
    class Flowing(Script):
        def read(self, wait_s: float) -> Frame:
            self.closed.wait(0.001)
            return Frame(np.zeros((4, 6, 3), np.uint8), next(self.numbers), 0.0)

    source = Flowing()
    camera = CameraThread(lambda: source)
    frame = camera.latest(0, PATIENCE_S)
    assert frame is not None
    camera.close(PATIENCE_S)
    assert source.closed.is_set()
    last = camera.latest()
    assert last is not None
    assert camera.latest(last.number, PATIENCE_S) is None


def test_frames_are_rotated_and_cropped(start: Callable[..., CameraThread]) -> None:
    camera = start(Script(1), rotate_deg=90, region=Region(x=0.5, w=0.5))
    frame = camera.latest(0, PATIENCE_S)
    assert frame is not None
    assert frame.pixels.shape == (6, 2, 3)


def test_rotation_is_clockwise_and_comes_before_the_crop() -> None:
    pixels: Pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 0] = 1  # upper left, which a quarter turn clockwise brings to the upper right
    assert rotate_and_crop(pixels, 90, Region())[0, 1, 0] == 1
    assert rotate_and_crop(pixels, 180, Region())[1, 2, 0] == 1
    assert rotate_and_crop(pixels, 270, Region())[2, 0, 0] == 1
    assert rotate_and_crop(pixels, 90, Region(x=0.5, w=0.5, h=0.34)).tolist() == [[[1, 1, 1]]]


@settings(max_examples=60)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    turn=st.sampled_from([0, 90, 180, 270]),
    x=st.floats(0, 0.99),
    y=st.floats(0, 0.99),
    share=st.floats(0.01, 1),
)
def test_any_region_leaves_at_least_a_pixel(height: int, width: int, turn: int, x: float, y: float, share: float) -> None:
    pixels = np.arange(height * width * 3, dtype=np.uint32).astype(np.uint8).reshape(height, width, 3)
    region = Region(x=x, y=y, w=min(share, 1 - x), h=min(share, 1 - y))
    cut = rotate_and_crop(pixels, turn, region)
    upright = pixels.shape[:2] if turn in (0, 180) else pixels.shape[1::-1]
    assert cut.flags.c_contiguous
    assert all(1 <= side <= whole for side, whole in zip(cut.shape[:2], upright, strict=True))
    assert abs(cut.shape[1] - region.w * upright[1]) <= 1
