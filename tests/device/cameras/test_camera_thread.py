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
from device.cameras.camera_thread import EXPOSED_S, CameraThread, rotate_and_crop
from device.cameras.settings import CameraBase, Region
from device.vision.inference.preprocess import Pixels

PATIENCE_S = 20.0
QUICK = (0.001, 0.002)
MANY = 10**9


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
    sources: list[Script | Adjustable] = []

    def begin(
        *script: Script | Adjustable | Exception, pause_s: tuple[float, float] = QUICK, clock: Callable[[], float] = time.monotonic, **keys: Any
    ) -> CameraThread:
        sources.extend(each for each in script if not isinstance(each, Exception))
        left = iter(script)

        def open_source() -> Script | Adjustable:
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


class Adjustable:
    """A source of grey frames that says what it was asked for, and follows some frames later. steps: as for Script, at these frames."""

    exposure_range: tuple[float, float] | None = (0.25, 16.0)
    tells_exposure = True

    def __init__(self, *, goes_back: bool = True, fails_at: int = 0, hangs_at: int = 0) -> None:
        self.goes_back, self.fails_at, self.hangs_at = goes_back, fails_at, hangs_at
        self.asked: list[float] = []
        self.damaged = self.number = 0
        self.closed, self.let_go, self.hangs = threading.Event(), threading.Event(), threading.Event()
        self.coming = [1.0, 1.0]

    def set_exposure(self, exposure: float) -> None:
        self.asked.append(exposure)

    def read(self, wait_s: float) -> Frame:
        self.closed.wait(0.001)
        self.number += 1
        wanted = self.asked[-1] if self.asked else 1.0
        self.coming = [*self.coming[-2:], self.coming[-1] if wanted == 1.0 and not self.goes_back else wanted]
        exposed = self.coming[0] != 1.0
        self.fails_at -= exposed
        self.hangs_at -= exposed
        if exposed and self.fails_at == 0:
            raise CameraError("unplugged")
        if exposed and self.hangs_at == 0:
            self.hangs.set()
            self.let_go.wait(PATIENCE_S)
        return Frame(np.full((4, 6, 3), 90, np.uint8), self.number, 0.0, self.coming[0])

    def close(self) -> None:
        self.asked.append(1.0)
        self.closed.set()


def wait_for(camera: CameraThread, until: Callable[[Frame], bool]) -> Frame:
    """The first frame from now on of which that holds."""
    number, ends_s = 0, time.monotonic() + PATIENCE_S
    while time.monotonic() < ends_s:
        frame = camera.latest(number, 0.05)
        if frame is not None and until(frame):
            return frame
        number = number if frame is None else frame.number
    raise AssertionError("no such frame")


def test_another_exposure_is_asked_for_and_set_back(start: Callable[..., CameraThread]) -> None:
    source = Adjustable()
    camera = start(source)
    wait_for(camera, lambda frame: frame.exposure == 1.0)
    assert camera.exposure_range == (0.25, 16.0)
    assert (camera.ask_exposure(100.0, MANY), camera.ask_exposure(0.1, MANY), camera.ask_exposure(4.0, MANY)) == (16.0, 0.25, 4.0)
    assert wait_for(camera, lambda frame: frame.exposure != 1.0).exposure in (16.0, 0.25, 4.0)
    wait_for(camera, lambda frame: frame.exposure == 4.0)
    assert camera.ask_exposure(1.0, MANY) == 1.0
    wait_for(camera, lambda frame: frame.exposure == 1.0)
    assert source.asked[-2:] == [4.0, 1.0]


def test_an_exposure_that_nobody_sets_back_ends_by_itself(start: Callable[..., CameraThread], clock: Any) -> None:
    source = Adjustable()
    camera = start(source, clock=clock)
    wait_for(camera, lambda frame: frame.exposure == 1.0)
    camera.ask_exposure(4.0, MANY)
    wait_for(camera, lambda frame: frame.exposure == 4.0)
    clock.now_s += EXPOSED_S + 0.1
    wait_for(camera, lambda frame: frame.exposure == 1.0)
    assert source.asked == [4.0, 1.0]


@pytest.mark.parametrize(("tells", "asked"), [(True, [4.0, 1.0]), (False, [4.0])])
def test_a_camera_that_tells_is_set_back_after_as_many_frames(start: Callable[..., CameraThread], tells: bool, asked: list[float]) -> None:
    source = Adjustable()
    source.tells_exposure = tells
    camera = start(source)
    before = wait_for(camera, lambda frame: frame.exposure == 1.0).number
    camera.ask_exposure(4.0, 3)
    wait_for(camera, lambda frame: frame.number >= before + 30)
    assert source.asked == asked


def test_a_source_that_cannot_be_adjusted_is_not_asked(start: Callable[..., CameraThread]) -> None:
    camera = start(Script(1, 2, 3))
    assert camera.latest(0, PATIENCE_S) is not None
    assert camera.exposure_range is None and camera.ask_exposure(4.0, MANY) == 1.0


def test_a_camera_that_does_not_go_back_is_opened_again(start: Callable[..., CameraThread], clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    stays, fresh = Adjustable(goes_back=False), Adjustable()
    camera = start(stays, fresh, clock=clock)
    wait_for(camera, lambda frame: frame.exposure == 1.0)
    camera.ask_exposure(4.0, MANY)
    wait_for(camera, lambda frame: frame.exposure == 4.0)
    camera.ask_exposure(1.0, MANY)

    def passes(frame: Frame) -> bool:
        clock.now_s += 0.1
        return frame.exposure == 1.0

    wait_for(camera, passes)
    assert stays.closed.is_set()
    assert fresh.asked == [] and "does not go back to its usual exposure" in caplog.text


def test_a_camera_that_dies_while_exposed_is_closed_and_reopened_as_usual(start: Callable[..., CameraThread]) -> None:
    dies, fresh = Adjustable(fails_at=2), Adjustable()
    camera = start(dies, fresh)
    wait_for(camera, lambda frame: frame.exposure == 1.0)
    camera.ask_exposure(4.0, MANY)
    assert dies.closed.wait(PATIENCE_S)
    wait_for(camera, lambda _: fresh.number > 5)
    assert dies.asked == [4.0, 1.0] and fresh.asked == []


def test_a_thread_that_replaces_a_hanging_one_begins_at_the_usual_exposure(start: Callable[..., CameraThread], clock: Any) -> None:
    hangs, fresh = Adjustable(hangs_at=2), Adjustable()
    camera = start(hangs, fresh, hang_s=12.0, clock=clock)
    wait_for(camera, lambda frame: frame.exposure == 1.0)
    camera.ask_exposure(4.0, MANY)
    assert hangs.hangs.wait(PATIENCE_S)
    clock.now_s += 13.0
    wait_for(camera, lambda _: fresh.number > 5)
    hangs.let_go.set()
    assert hangs.closed.wait(PATIENCE_S)
    assert fresh.asked == [] and hangs.asked == [4.0, 1.0], "the late one sets its device back, and not the new one"


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
