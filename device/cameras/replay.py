"""Pictures or a video from a file in place of a camera: to try a bin without one, and to replay a recorded fault."""

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta

from device.cameras import CameraError, EndOfFrames, Frame, Source
from device.cameras.settings import CameraBase
from device.vision.inference.images import SUFFIXES, PictureError, read_pixels
from device.vision.inference.preprocess import Pixels

log = logging.getLogger(__name__)


class ReplaySettings(CameraBase, frozen=True, kw_only=True, tag="replay"):
    """Pictures or a video from a file in place of a camera."""

    path: Annotated[str, Meta(min_length=1)]
    """a video file, a picture, or a folder: all pictures in it and below it, in the order of their paths"""
    fps: Annotated[float, Meta(ge=0, le=120)] = 10.0
    """frames a second, also for a video, whatever its own rate; 0: as fast as they are read, which a bin refuses"""
    hold_s: Annotated[float, Meta(ge=0, le=3600)] = 2.0
    """how long each picture of a folder stays in view"""
    loop: bool = True
    """start again at the end; else stop, and a folder shows its first picture once more before that, which is the empty view"""

    def opener(self) -> Callable[[], Source]:
        return lambda: ReplaySource(self)

    def files_read(self) -> Mapping[str, str]:
        return {"camera.path": self.path}

    def warning(self, learn_s: float) -> str:
        if not Path(self.path).is_dir() or self.hold_s >= learn_s:
            return ""
        return (
            f"camera.hold_s: each picture stays for {self.hold_s:g} s, and the empty tray is learned in {learn_s:g} s: expected at least that, "
            "unless the pictures were taken one right after the other"
        )


class ReplaySource:
    """Shows each picture for `hold_s`, or each frame of a video once, at `fps`, never stretched.

    All frames have the size of the first, fitted into the width and height of the settings. A picture of another shape gets black bars.

    A picture that cannot be decoded is skipped, counted in `skipped` and logged once. After the last one: with `loop` it starts again; else a folder
    of several shows its first picture once more, so that the last item leaves the view, and EndOfFrames is raised.
    Raises CameraError when the path does not exist or has nothing that can be shown.
    """

    def __init__(self, settings: ReplaySettings, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self.skipped = self.damaged = 0
        self._path = Path(settings.path)
        self._most = (settings.width, settings.height)
        self._size: tuple[int, int] | None = None
        self._loop = settings.loop
        self._period_s = 1 / settings.fps if settings.fps else 0.0
        self._repeats = max(1, round(settings.hold_s * settings.fps))
        self._clock = clock
        self._sleep = sleep
        self._due_s = clock()
        self._number = 0
        self._broken: set[Path] = set()
        self._pictures = self._find_pictures()
        self._frames = self._all_frames()

    def read(self, wait_s: float) -> Frame:
        """The next frame, at its time. Raises EndOfFrames after the last, CameraError when it is not due within `wait_s`."""
        early_s = self._due_s - self._clock()
        if early_s > wait_s:
            self._sleep(wait_s)
            raise CameraError(f"{self._path}: no picture is due within {wait_s:g} s; raise fps")
        if early_s > 0:
            self._sleep(early_s)
        pixels = next(self._frames, None)
        if pixels is None:
            raise EndOfFrames(f"{self._path}: all has been shown")
        now_s = self._clock()
        self._due_s = max(self._due_s, now_s - self._period_s) + self._period_s
        self._number += 1
        return Frame(pixels, self._number, now_s)

    def close(self) -> None:
        self._frames.close()

    def _find_pictures(self) -> list[Path]:
        try:
            is_folder, is_file = self._path.is_dir(), self._path.is_file()
        except OSError as error:
            raise CameraError(f"{self._path}: {error.strerror}; camera.path names what to replay") from error
        if is_folder:
            found = sorted(path for path in self._path.rglob("*") if path.suffix.lower() in SUFFIXES)
            if not found:
                raise CameraError(f"{self._path}: expected pictures ({', '.join(sorted(SUFFIXES))}) in this folder, found none")
            return found
        if not is_file:
            raise CameraError(f"{self._path}: no such file or folder; camera.path names what to replay")
        return [self._path] if self._path.suffix.lower() in SUFFIXES else []

    def _all_frames(self) -> Generator[Pixels, None, None]:
        while True:
            shown = 0
            for pixels in self._decode_pictures(self._pictures) if self._pictures else self._decode_video():
                shown += 1
                yield pixels
            if not shown:
                raise CameraError(f"{self._path}: nothing in it can be decoded as a picture or video")
            if not self._loop:
                if len(self._pictures) > 1:
                    yield from self._decode_pictures(self._pictures[:1])
                return

    def _decode_pictures(self, paths: list[Path]) -> Iterator[Pixels]:
        for path in paths:
            if path not in self._broken:
                yield from self._repeat_picture(path)

    def _repeat_picture(self, path: Path) -> Iterator[Pixels]:
        try:
            pixels = read_pixels(path)
        except PictureError:
            self._broken.add(path)
            self.skipped += 1
            log.warning("%s: not a picture that can be decoded, left out", path)
            return
        scaled = self._scale(pixels)
        scaled.flags.writeable = False  # the same pixels in each repeat
        for _ in range(self._repeats):
            yield scaled

    def _decode_video(self) -> Iterator[Pixels]:
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        try:
            while True:
                found, picture = capture.read()
                if not found:
                    return
                yield self._scale(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8))
        finally:
            capture.release()

    def _scale(self, pixels: Pixels) -> Pixels:
        if self._size is None:
            self._size = _fitted(pixels, self._most)
        width, height = _fitted(pixels, self._size)
        if pixels.shape[:2] != (height, width):
            shrinks = pixels.shape[1] >= width and pixels.shape[0] >= height
            pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8)
        spare_x, spare_y = self._size[0] - width, self._size[1] - height
        if not (spare_x or spare_y):
            return pixels
        bars = (spare_y // 2, spare_y - spare_y // 2, spare_x // 2, spare_x - spare_x // 2)
        return np.asarray(cv2.copyMakeBorder(pixels, *bars, cv2.BORDER_CONSTANT, value=(0, 0, 0)), np.uint8)


def _fitted(pixels: Pixels, most: tuple[int, int]) -> tuple[int, int]:
    """The largest width and height with the shape of the picture that fit into `most`."""
    height, width = pixels.shape[:2]
    scale = min(most[0] / width, most[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))
