"""A camera that keeps going: a thread reads it, the newest picture wins, and what fails, stalls or hangs is opened again."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from device.cameras import CameraError, EndOfFrames, Frame, Source
from device.cameras.settings import CameraBase, Region
from device.vision.inference.preprocess import Pixels

log = logging.getLogger(__name__)

WHOLE = Region()
STEADY_S = 10.0
LOOK_S = 0.5
MOST_GIVEN_UP = 2
DAMAGE_TOLD_EVERY_S = 3600.0
"""how often the log says that damaged pictures are dropped"""
LOST_S = 60.0
"""A driver that still holds a thread after so long, while no other opening brings a picture, holds the camera too: only the end of the process
makes it let go."""


@dataclass(eq=False)
class _Reader:
    """One thread with its source. calling_since_s is when it last went into the driver, None while it is not in there."""

    calling_since_s: float | None = None
    thread: threading.Thread | None = None


class CameraThread:
    """Reads a source in a thread of its own and holds its newest picture, turned and cut to the region.

    open_source: opens the camera and raises CameraError when it cannot. It is called again after each failure, with a pause that
    doubles from the first to the second of `pause_s` and starts over once pictures have come for ten seconds.
    stale_s: how long a source may wait for one picture.
    hang_s: how long it may be in any call. Then its thread is left to the driver that holds it, and another one opens the camera.

    Picture numbers rise strictly, also across this. Pictures that nobody asked for in time are gone.

    Any thread may call any method.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        *,
        rotate_deg: int = 0,
        region: Region = WHOLE,
        stale_s: float = 2.0,
        hang_s: float = 12.0,
        pause_s: tuple[float, float] = (0.5, 10.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_source = open_source
        self._rotate_deg = rotate_deg
        self._region = region
        self._stale_s = stale_s
        self._hang_s = hang_s
        self._first_pause_s, self._longest_pause_s = pause_s
        self._pause_s = self._first_pause_s
        self._clock = clock
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._last_error: CameraError | None = None
        self._ended: EndOfFrames | None = None
        self._bug: Exception | None = None
        self._opened = 0
        self._damaged = 0
        self._damage_told_s = -math.inf
        self._given_up = 0
        self._given_up_s = math.inf
        self._reader: _Reader | None = None
        with self._changed:
            self._start_reader()

    def latest(self, after_number: int = 0, wait_s: float = 0.0) -> Frame | None:
        """The newest picture if its number is above `after_number`, waiting for one at most `wait_s` seconds; else None, and `last_error`
        says why.

        Raises EndOfFrames when a replay is over, and whatever else than CameraError the source raised, for that is a bug.
        """
        deadline_s = self._clock() + wait_s
        with self._changed:
            while True:
                if self._bug is not None:
                    raise self._bug
                if self._newest is not None and self._newest.number > after_number:
                    return self._newest
                if self._ended is not None:
                    raise EndOfFrames(str(self._ended))
                now_s = self._clock()
                self._give_up_if_hung(now_s)
                if now_s >= deadline_s or self._reader is None:
                    return None
                self._changed.wait(min(deadline_s - now_s, LOOK_S))

    def age_s(self, now_s: float) -> float:
        """Seconds since the newest picture was taken; infinite while there is none."""
        newest = self._newest
        return math.inf if newest is None else max(0.0, now_s - newest.taken_s)

    @property
    def last_error(self) -> CameraError | None:
        """Why there are no pictures; None while they come."""
        return self._last_error

    @property
    def reopened(self) -> int:
        """How often the camera was opened again."""
        return max(0, self._opened - 1)

    @property
    def damaged(self) -> int:
        """How many pictures arrived damaged and were dropped."""
        return self._damaged

    @property
    def stuck(self) -> bool:
        """Whether calls hang in the driver, so many or for so long that only a restart of the process can help."""
        with self._changed:
            if self._given_up == 0 or self._reader is None:
                return False
            now_s = self._clock()
            return (self._given_up >= MOST_GIVEN_UP and self._hangs(self._reader, now_s)) or now_s - self._given_up_s > LOST_S

    def close(self, wait_s: float = 1.0) -> None:
        """Stop reading and close the source, waiting for that at most `wait_s` seconds. Any number of calls; never raises."""
        with self._changed:
            reader, self._reader = self._reader, None
            self._changed.notify_all()
        if reader is not None and reader.thread is not None:
            reader.thread.join(wait_s)
            if reader.thread.is_alive():
                log.warning("camera: its driver did not return within %g s, left behind", wait_s)

    def __enter__(self) -> "CameraThread":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _start_reader(self) -> None:
        reader = _Reader()
        # A daemon thread: one that hangs in a driver must not keep the process from ending.
        reader.thread = threading.Thread(target=self._run, args=(reader,), name="camera", daemon=True)
        self._reader = reader
        reader.thread.start()

    def _hangs(self, reader: _Reader, now_s: float) -> bool:
        return reader.calling_since_s is not None and now_s - reader.calling_since_s > self._hang_s

    def _give_up_if_hung(self, now_s: float) -> None:
        if self._reader is None or not self._hangs(self._reader, now_s):
            return
        self._last_error = CameraError(f"camera: its driver has not answered for {self._hang_s:g} s; unplug the camera and plug it in again")
        if self._given_up < MOST_GIVEN_UP:
            log.warning("%s", self._last_error)
            self._given_up += 1
            self._given_up_s = min(self._given_up_s, now_s)
            self._start_reader()

    def _run(self, reader: _Reader) -> None:
        try:
            while self._reader is reader:
                try:
                    self._follow_source(reader)
                except CameraError as error:
                    self._rest(reader, error)
        except EndOfFrames as end:
            with self._changed:
                if self._reader is reader:
                    self._ended = end
                    self._changed.notify_all()
        except Exception as error:  # handed on to the thread that asks for pictures, which would wait for ever otherwise
            with self._changed:
                if self._reader is reader:
                    self._bug = error
                    self._changed.notify_all()
        finally:
            with self._changed:
                if self._reader is not reader and self._reader is not None:
                    self._given_up -= 1
                    self._given_up_s = self._given_up_s if self._given_up else math.inf

    def _follow_source(self, reader: _Reader) -> None:
        reader.calling_since_s = self._clock()
        source = self._open_source()
        damaged = 0
        try:
            opened_s = self._clock()
            with self._changed:
                if self._reader is reader:
                    self._opened += 1
            while self._reader is reader:
                reader.calling_since_s = self._clock()
                frame = source.read(self._stale_s)
                reader.calling_since_s = None
                self._publish(reader, frame)
                damaged = self._count_damaged(source, damaged)
                if self._clock() - opened_s >= STEADY_S:
                    self._pause_s = self._first_pause_s
        finally:
            self._count_damaged(source, damaged)
            reader.calling_since_s = self._clock()
            source.close()
            reader.calling_since_s = None

    def _count_damaged(self, source: Source, counted: int) -> int:
        """Add the source's count beyond what was counted of it already, and return that count."""
        with self._changed:
            self._damaged += source.damaged - counted
            now_s = self._clock()
            if source.damaged > counted and now_s - self._damage_told_s >= DAMAGE_TOLD_EVERY_S:
                self._damage_told_s = now_s
                log.warning("camera: pictures arrive damaged and are dropped, %d so far; another USB port or a shorter cable may help", self._damaged)
        return source.damaged

    def _publish(self, reader: _Reader, frame: Frame) -> None:
        pixels = rotate_and_crop(frame.pixels, self._rotate_deg, self._region)
        with self._changed:
            if self._reader is reader:
                number = 1 if self._newest is None else self._newest.number + 1
                self._newest = Frame(pixels, number, frame.taken_s)
                self._given_up_s = math.inf
                self._last_error = None
                self._changed.notify_all()

    def _rest(self, reader: _Reader, error: CameraError) -> None:
        with self._changed:
            reader.calling_since_s = None
            if self._reader is not reader:
                return
            if str(error) != str(self._last_error):
                log.warning("%s", error)
            self._last_error = error
            pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, self._longest_pause_s)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._reader is not reader, pause_s)


def rotate_and_crop(pixels: Pixels, rotate_deg: int, region: Region) -> Pixels:
    """Turn H x W x 3 pixels clockwise by a multiple of 90 degrees, then cut the region out. Returns C-contiguous pixels, at least 1 x 1."""
    turned = np.rot90(pixels, -(rotate_deg // 90)) if rotate_deg else pixels
    height, width = turned.shape[:2]
    left, top = min(round(region.x * width), width - 1), min(round(region.y * height), height - 1)
    right, bottom = round((region.x + region.w) * width), round((region.y + region.h) * height)
    return np.ascontiguousarray(turned[top : max(bottom, top + 1), left : max(right, left + 1)])


def open_camera(settings: CameraBase) -> CameraThread:
    """Open the camera in a thread of its own. Returns at once; while the camera cannot be opened, `last_error` says why."""
    return CameraThread(
        settings.opener(),
        rotate_deg=settings.rotate_deg,
        region=settings.region,
        stale_s=settings.stale_s,
        hang_s=settings.hang_s,
    )
