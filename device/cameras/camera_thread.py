"""A thread that reads a camera, keeps the newest frame, and opens the camera again after it failed, stalled or hung."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from device.cameras import AdjustableSource, CameraError, EndOfFrames, Frame, Source
from device.cameras.settings import CameraBase, Region
from device.vision.inference.preprocess import Pixels

log = logging.getLogger(__name__)

DEFAULTS = CameraBase()
STEADY_S = 10.0
"""frames for so long end the growth of the pause between attempts"""
CHECK_S = 0.5
"""longest wait for a frame before a hung driver is looked for"""
MOST_ABANDONED = 2
DAMAGE_LOG_EVERY_S = 3600.0
"""how often the log says that damaged frames are dropped"""
EXPOSED_S = 2.0
"""longest time for which another exposure may be asked: should nobody set it back, the camera's thread does"""
SET_BACK_S = 2.0
"""how long a camera may take back to its usual exposure, until it is opened again, which sets it anew"""
LOST_S = 60.0
"""If the driver still holds an abandoned thread after so long, and no other opening brings a frame, it holds the camera too: only the end of the
process makes it let go."""


@dataclass(eq=False)
class _ReaderThread:
    """One thread with its source. calling_since_s: when its call into the driver began, None outside of calls."""

    calling_since_s: float | None = None
    thread: threading.Thread | None = None
    exposure: float = 1.0
    """multiple of the usual exposure that its source was asked for"""
    exposed_frames: int = 0
    """frames that were read since then"""
    other_exposure_since_s: float | None = None
    """since when frames have come at another exposure although the usual one was asked for"""


class CameraThread:
    """Reads a source in a thread of its own and holds its newest frame, rotated and cropped as the settings say.

    open_source: opens the camera and raises CameraError when it cannot. It is called again after each failure, with a pause that
    doubles from the first to the second of `pause_s` and starts over once frames have come for STEADY_S.
    settings: `stale_s` is how long the source may wait for one frame; a call that takes longer than `hang_s` hangs: its thread is abandoned to the
    driver, and another one opens the camera.

    Frame numbers rise strictly, also across reopenings. Frames that nobody asked for in time are gone. Any thread may call any method.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        settings: CameraBase = DEFAULTS,
        *,
        pause_s: tuple[float, float] = (0.5, 10.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_source, self._settings = open_source, settings
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
        self._damage_logged_s = -math.inf
        self._exposure, self._exposed_frames, self._exposed_until_s = 1.0, 0, -math.inf
        self._exposure_range: tuple[float, float] | None = None
        self._abandoned = 0
        self._abandoned_since_s = math.inf
        self._reader: _ReaderThread | None = None
        with self._changed:
            self._start_reader()

    def latest(self, after_number: int = 0, wait_s: float = 0.0) -> Frame | None:
        """The newest frame if its number is above `after_number`. Waits for one at most `wait_s` seconds; then None, and `last_error` says why.

        Raises EndOfFrames when a replay is over. An exception of the source other than CameraError is a bug and is raised here.
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
                self._abandon_if_hung(now_s)
                if now_s >= deadline_s or self._reader is None:
                    return None
                self._changed.wait(min(deadline_s - now_s, CHECK_S))

    def ask_exposure(self, exposure: float, frames: int) -> float:
        """Ask for frames at this multiple of the usual exposure; 1.0 for usual ones. Returns at once what the camera is asked for, which is 1.0 where
        it cannot be asked. It sets itself back after EXPOSED_S, when it is closed, and when it is opened again.

        frames: so many, after which a camera that tells the exposure of each sets itself back, without a wait for the first. Others have to be asked.
        Frames say at which exposure they were taken; the first ones at another come some frames later, and so do the usual ones afterwards.
        """
        with self._changed:
            least, most = self._exposure_range or (1.0, 1.0)
            self._exposure, self._exposed_frames = min(max(exposure, least), most), frames
            self._exposed_until_s = self._clock() + EXPOSED_S
            return self._exposure

    @property
    def exposure_range(self) -> tuple[float, float] | None:
        """The multiples of its usual exposure that the camera can be asked for; None where it cannot, and until it is open."""
        return self._exposure_range

    def age_s(self, now_s: float) -> float:
        """Seconds since the newest frame was taken; infinite while there is none."""
        newest = self._newest
        return math.inf if newest is None else max(0.0, now_s - newest.taken_s)

    @property
    def last_error(self) -> CameraError | None:
        """Why there are no frames; None while they come."""
        return self._last_error

    @property
    def reopened(self) -> int:
        """How often the camera was opened again."""
        return max(0, self._opened - 1)

    @property
    def damaged(self) -> int:
        """How many frames arrived damaged and were dropped."""
        return self._damaged

    @property
    def stuck(self) -> bool:
        """Whether so many calls hang in the driver, or for so long, that only a restart of the process can help."""
        with self._changed:
            if self._abandoned == 0 or self._reader is None:
                return False
            now_s = self._clock()
            return (self._abandoned >= MOST_ABANDONED and self._hangs(self._reader, now_s)) or now_s - self._abandoned_since_s > LOST_S

    def close(self, wait_s: float = 1.0) -> None:
        """Stop reading and close the source, waiting for that at most `wait_s` seconds. Any number of calls; never raises."""
        with self._changed:
            reader, self._reader = self._reader, None
            self._changed.notify_all()
        if reader is not None and reader.thread is not None:
            reader.thread.join(wait_s)
            if reader.thread.is_alive():
                log.warning("camera: its driver did not return within %g s and is abandoned", wait_s)

    def __enter__(self) -> "CameraThread":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _start_reader(self) -> None:
        reader = _ReaderThread()
        # A daemon thread, so that one that hangs in a driver does not keep the process from ending.
        reader.thread = threading.Thread(target=self._run, args=(reader,), name="camera", daemon=True)
        self._reader = reader
        reader.thread.start()

    def _hangs(self, reader: _ReaderThread, now_s: float) -> bool:
        return reader.calling_since_s is not None and now_s - reader.calling_since_s > self._settings.hang_s

    def _abandon_if_hung(self, now_s: float) -> None:
        if self._reader is None or not self._hangs(self._reader, now_s):
            return
        self._last_error = CameraError(f"camera: its driver has not answered for {self._settings.hang_s:g} s; unplug the camera and plug it in again")
        if self._abandoned < MOST_ABANDONED:
            log.warning("%s", self._last_error)
            self._abandoned += 1
            self._abandoned_since_s = min(self._abandoned_since_s, now_s)
            self._start_reader()

    def _run(self, reader: _ReaderThread) -> None:
        try:
            while self._reader is reader:
                try:
                    self._read_source(reader)
                except CameraError as error:
                    self._pause_after(reader, error)
        except EndOfFrames as end:
            with self._changed:
                if self._reader is reader:
                    self._ended = end
                    self._changed.notify_all()
        except Exception as error:  # raised in the thread that asks for frames, which would wait for ever otherwise
            with self._changed:
                if self._reader is reader:
                    self._bug = error
                    self._changed.notify_all()
        finally:
            with self._changed:
                if self._reader is not reader and self._reader is not None:
                    self._abandoned -= 1
                    self._abandoned_since_s = self._abandoned_since_s if self._abandoned else math.inf

    def _read_source(self, reader: _ReaderThread) -> None:
        reader.calling_since_s = self._clock()
        source = self._open_source()
        damaged = 0
        try:
            opened_s = self._clock()
            with self._changed:
                if self._reader is reader:
                    self._opened += 1
                    self._exposure, self._exposure_range = 1.0, source.exposure_range if isinstance(source, AdjustableSource) else None
            reader.exposure, reader.other_exposure_since_s = 1.0, None
            while self._reader is reader:
                reader.calling_since_s = self._clock()
                self._adjust(reader, source)
                frame = source.read(self._settings.stale_s)
                reader.calling_since_s = None
                self._publish(reader, frame)
                self._check_set_back(reader, frame)
                damaged = self._count_damaged(source, damaged)
                if self._clock() - opened_s >= STEADY_S:
                    self._pause_s = self._first_pause_s
        finally:
            with self._changed:
                if self._reader is reader:
                    self._exposure_range = None
            self._count_damaged(source, damaged)
            reader.calling_since_s = self._clock()
            source.close()
            reader.calling_since_s = None

    def _adjust(self, reader: _ReaderThread, source: Source) -> None:
        """Pass on the exposure that was asked for, or the usual one when its time is over."""
        if not isinstance(source, AdjustableSource):
            return
        with self._changed:
            enough = source.tells_exposure and reader.exposure == self._exposure and reader.exposed_frames >= self._exposed_frames
            if enough or self._clock() >= self._exposed_until_s:
                self._exposure = 1.0
            wanted = self._exposure
        if wanted != reader.exposure:
            reader.exposure, reader.exposed_frames = wanted, 0
            source.set_exposure(wanted)
        reader.exposed_frames += 1

    def _check_set_back(self, reader: _ReaderThread, frame: Frame) -> None:
        """Raise CameraError where the camera does not go back to its usual exposure: nothing else could be judged any more."""
        if reader.exposure != 1.0 or frame.exposure == 1.0:
            reader.other_exposure_since_s = None
            return
        now_s = self._clock()
        reader.other_exposure_since_s = now_s if reader.other_exposure_since_s is None else reader.other_exposure_since_s
        if now_s - reader.other_exposure_since_s > SET_BACK_S:
            raise CameraError("camera: does not go back to its usual exposure and is opened again; camera.expose_for_item = false leaves it alone")

    def _count_damaged(self, source: Source, counted: int) -> int:
        """Add the damaged frames of the source that were not counted yet. Returns its count."""
        with self._changed:
            self._damaged += source.damaged - counted
            now_s = self._clock()
            if source.damaged > counted and now_s - self._damage_logged_s >= DAMAGE_LOG_EVERY_S:
                self._damage_logged_s = now_s
                log.warning("camera: frames arrive damaged and are dropped, %d so far; another USB port or a shorter cable may help", self._damaged)
        return source.damaged

    def _publish(self, reader: _ReaderThread, frame: Frame) -> None:
        pixels = rotate_and_crop(frame.pixels, self._settings.rotate_deg, self._settings.region)
        with self._changed:
            if self._reader is reader:
                number = 1 if self._newest is None else self._newest.number + 1
                self._newest = Frame(pixels, number, frame.taken_s, frame.exposure)
                self._abandoned_since_s = math.inf
                self._last_error = None
                self._changed.notify_all()

    def _pause_after(self, reader: _ReaderThread, error: CameraError) -> None:
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
    """Rotate H x W x 3 pixels clockwise by a multiple of 90 degrees, then crop to the region. Returns C-contiguous pixels, at least 1 x 1."""
    rotated = np.rot90(pixels, -(rotate_deg // 90)) if rotate_deg else pixels
    height, width = rotated.shape[:2]
    left, top = min(round(region.x * width), width - 1), min(round(region.y * height), height - 1)
    right, bottom = round((region.x + region.w) * width), round((region.y + region.h) * height)
    return np.ascontiguousarray(rotated[top : max(bottom, top + 1), left : max(right, left + 1)])


def open_camera(settings: CameraBase) -> CameraThread:
    """Open the camera in a thread of its own. Returns at once; while the camera cannot be opened, `last_error` says why."""
    return CameraThread(settings.opener(), settings)
