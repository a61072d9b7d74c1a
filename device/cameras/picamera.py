"""The camera on a Raspberry Pi's ribbon cable, through picamera2, which is imported only when this camera is chosen.

The format is `BGR888`: picamera2 names formats as libcamera does, from the highest byte down, so the bytes in memory are R, G, B.
"""

import importlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from device.cameras import CameraError, Frame, Source
from device.cameras.frozen_picture import FrozenPicture
from device.cameras.settings import CameraBase, FrozenLimit

log = logging.getLogger(__name__)

FIRST_PICTURE_S = 3.0
FOCUS_S = 3.0
"""longest time for the search for focus"""
LOCKABLE = ("ExposureTime", "AnalogueGain", "ColourGains")
ADJUSTED_FRAMES = 20
"""usual frames after the last change of exposure until no other one can come any more: twice what a sensor and its queue take"""
SAME_EXPOSURE = 0.05
"""the sensor rounds exposure times to whole lines: within this share two exposures are the same"""
SAME_VIEW = 0.99
"""share of the widest view, by area, from which a sensor mode counts as showing all of it"""

AF_MANUAL, AF_AUTO, AF_START = 0, 1, 0
AF_IDLE, AF_SCANNING, AF_FOCUSED = 0, 1, 2
"""libcamera's numbers of AfMode, AfTrigger and AfState"""

Metadata = dict[str, Any]


class Picamera2Settings(CameraBase, frozen=True, kw_only=True, tag="picamera2"):
    """A Raspberry Pi camera on the ribbon cable."""

    index: Annotated[int, Meta(ge=0, le=7)] = 0
    """which camera, in the order of `rpicam-hello --list-cameras`"""
    warm_up_s: Annotated[float, Meta(ge=0, le=5)] = 2.0
    """time for exposure and white balance to settle before the first frame is used"""
    lock_exposure: bool = True
    """lock exposure and white balance after the warm-up, so that an item does not change the light of the whole frame"""
    expose_for_item: bool = True
    """take a frame at an exposure of its own of an item that is black or white all over; needs lock_exposure"""
    focus: Literal["auto"] | Annotated[float, Meta(ge=0, le=32)] = "auto"
    """of a lens that can be moved: auto focuses once, after the warm-up, and keeps that; or 100 divided by the distance in cm, 0 for far away"""
    frozen_s: FrozenLimit = 10.0
    """a picture that is the same to the last bit for so long means a dead sensor, since a live one has noise; 0: no check"""

    @property
    def name(self) -> str:
        """The camera in messages."""
        return f"camera {self.index}"

    def opener(self) -> Callable[[], Source]:
        frozen = FrozenPicture(self.name, self.frozen_s)
        return lambda: Picamera2Source(self, frozen)


class Picamera2Source:
    """Frames of a camera on the ribbon cable. Each is copied once, and its buffer is released before `read` returns.

    The constructor takes `warm_up_s` and a little more. Closing a camera that does not answer any more may hang inside libcamera: use it
    through CameraThread, which abandons a thread that hangs. frozen: the check shared by all openings of this camera; None: a new one.
    """

    tells_exposure = True

    def __init__(
        self,
        settings: Picamera2Settings,
        frozen: FrozenPicture | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        boot_clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._name = settings.name
        self._stale_s = settings.stale_s
        self._clock = clock
        self._boot_clock = boot_clock
        self._frozen = frozen or FrozenPicture(settings.name, settings.frozen_s)
        self._number = 0
        self.damaged = 0
        self.exposure_range: tuple[float, float] | None = None
        self._settled: Metadata = {}
        self._adjusted_frames = 0
        self._longest_us = 1e6 / settings.fps
        self._camera = self._open(settings)
        try:
            self._start(settings)
        except CameraError:
            self.close()
            raise

    def read(self, wait_s: float) -> Frame:
        """The next frame. taken_s is when the sensor began to read it out.

        Raises CameraError when none came within `wait_s`, it was older than `stale_s`, or it has been the same for longer than `frozen_s`.
        """
        request = self._request(wait_s)
        try:
            pixels = np.asarray(request.make_array("main"), np.uint8)
            metadata = request.get_metadata()
        finally:
            request.release()
        now_s = self._clock()
        # libcamera documents SensorTimestamp as nanoseconds of CLOCK_BOOTTIME, which unlike the monotonic clock runs on in suspend.
        age_s = self._boot_clock() - metadata["SensorTimestamp"] / 1e9 if "SensorTimestamp" in metadata else 0.0
        if age_s > self._stale_s:
            raise CameraError(f"{self._name}: gave a picture that is {age_s:.1f} s old; the system may be overloaded")
        self._frozen.check(pixels, now_s)
        self._number += 1
        return Frame(pixels, self._number, now_s - max(0.0, age_s), self._exposure_of(metadata))

    def set_exposure(self, exposure: float) -> None:
        """See AdjustableSource. The exposure time changes first; what it cannot do within a frame's time, the gain does."""
        if self.exposure_range is None:
            return
        self._adjusted_frames = ADJUSTED_FRAMES
        settled_us, settled_gain = self._settled["ExposureTime"], self._settled["AnalogueGain"]
        if exposure == 1.0:
            wanted = {"ExposureTime": settled_us, "AnalogueGain": settled_gain}
        else:
            (shortest_us, longest_us), _ = self._exposure_limits()
            time_us = round(min(max(exposure * settled_us, shortest_us), longest_us))
            wanted = {"ExposureTime": time_us, "AnalogueGain": exposure * settled_us * settled_gain / time_us}
        try:
            self._camera.set_controls(wanted)
        except (RuntimeError, OSError) as error:
            raise CameraError(f"{self._name}: cannot set its exposure: {error}") from error

    def close(self) -> None:
        try:
            # A request that timed out is still queued before the stop, which would wait behind it for ever.
            self._camera.cancel_all_and_flush()
            self._camera.close()
        except Exception as error:  # picamera2 and libcamera may raise anything, and closing must not fail
            log.warning("%s: closing it failed: %s", self._name, error)

    def _open(self, settings: Picamera2Settings) -> Any:
        try:
            picamera2 = importlib.import_module("picamera2")
        except ImportError as error:
            raise CameraError(
                f"{self._name}: picamera2 cannot be imported ({error}); install it with `sudo apt install python3-picamera2` and "
                "make the virtual environment with `--system-site-packages`"
            ) from error
        except Exception as error:  # a package that was built for another NumPy may raise anything
            raise CameraError(
                f"{self._name}: picamera2 cannot be loaded ({error}); does NumPy {np.__version__} fit what apt installed? "
                "`sudo systemd/install` puts one back that does"
            ) from error
        if not hasattr(picamera2.Picamera2, "cancel_all_and_flush"):
            raise CameraError(f"{self._name}: picamera2 is older than 0.3.20 and cannot bound its waits; `sudo apt full-upgrade`")
        found = len(picamera2.Picamera2.global_camera_info())
        if settings.index >= found:
            raise CameraError(f"{self._name}: only {found} found (`rpicam-hello --list-cameras`); check the ribbon cable at both ends")
        try:
            return picamera2.Picamera2(settings.index)
        except (RuntimeError, OSError, LookupError) as error:
            raise CameraError(f"{self._name}: cannot be opened ({error}); another program may be using it") from error

    def _start(self, settings: Picamera2Settings) -> None:
        period_us = round(1e6 / settings.fps)
        try:
            size = settings.width, settings.height
            mode = whole_view(self._camera.sensor_modes, size, settings.fps)
            configuration = self._camera.create_video_configuration(
                main={"format": "BGR888", "size": size},
                raw={} if mode is None else {"size": mode},
                buffer_count=3,
                queue=False,
                controls={"FrameDurationLimits": (period_us, period_us)},
            )
            self._camera.configure(configuration)
            self._camera.start()
        except (RuntimeError, OSError, ValueError, LookupError) as error:
            raise CameraError(f"{self._name}: cannot be started at {settings.width} x {settings.height}: {error}") from error
        self._warm_up(settings)

    def _warm_up(self, settings: Picamera2Settings) -> None:
        """Let exposure and white balance settle, then lock them: an item must not change the light of the whole frame."""
        warm_s = self._clock() + settings.warm_up_s
        metadata = self._metadata()
        while self._clock() < warm_s:
            metadata = self._metadata()
        if settings.lock_exposure:
            settled = {name: metadata[name] for name in LOCKABLE if name in metadata}
            self._camera.set_controls({"AeEnable": False, "AwbEnable": False} | settled)
            if settings.expose_for_item:
                self._settled = settled
                self.exposure_range = self._find_exposure_range()
        self._focus(settings.focus)

    def _find_exposure_range(self) -> tuple[float, float] | None:
        """The multiples of the settled exposure that the sensor can do; None where the camera does not tell."""
        if not self._settled.get("ExposureTime") or not self._settled.get("AnalogueGain"):
            return None
        time_us, gain = self._exposure_limits()
        settled = self._settled["ExposureTime"] * self._settled["AnalogueGain"]
        return min(1.0, time_us[0] * gain[0] / settled), max(1.0, time_us[1] * gain[1] / settled)

    def _exposure_limits(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The least and greatest exposure time, microseconds, and gain. No time is longer than a frame's, so that frames come as fast as before."""
        time_us, gain = self._settled["ExposureTime"], self._settled["AnalogueGain"]
        shortest_us, longest_us, *_ = self._camera.camera_controls.get("ExposureTime", (time_us, time_us))
        least_gain, most_gain, *_ = self._camera.camera_controls.get("AnalogueGain", (gain, gain))
        return (max(1, min(shortest_us, time_us)), max(time_us, min(longest_us, self._longest_us))), (min(least_gain, gain), max(most_gain, gain))

    def _exposure_of(self, metadata: Metadata) -> float | None:
        """The exposure of the frame with this metadata, as a multiple of the usual one; None where the camera does not tell.

        It is the usual one unless another was set, until ADJUSTED_FRAMES have had it: a camera that adjusts itself all the same is no concern here.
        """
        if not self._adjusted_frames:
            return 1.0
        if "ExposureTime" not in metadata or "AnalogueGain" not in metadata:
            return None
        exposure = metadata["ExposureTime"] * metadata["AnalogueGain"] / (self._settled["ExposureTime"] * self._settled["AnalogueGain"])
        if abs(exposure - 1) >= SAME_EXPOSURE:
            return float(exposure)
        self._adjusted_frames -= 1
        return 1.0

    def _focus(self, wanted: float | str) -> None:
        """Focus once, if the lens can be moved, and keep that focus: a lens that searches blurs every item."""
        if "AfMode" not in self._camera.camera_controls:
            if wanted != "auto":
                log.warning("%s: its lens cannot be moved, camera.focus has no effect", self._name)
            return
        position = wanted
        if wanted == "auto":
            self._camera.set_controls({"AfMode": AF_AUTO, "AfTrigger": AF_START})
            until_s = self._clock() + FOCUS_S
            metadata = self._metadata()
            while metadata.get("AfState", AF_IDLE) in (AF_IDLE, AF_SCANNING) and self._clock() < until_s:
                metadata = self._metadata()
            if metadata.get("AfState") != AF_FOCUSED:
                log.warning("%s: found nothing to focus on; set camera.focus to 100 divided by the distance of the tray in cm", self._name)
            position = metadata.get("LensPosition", "auto")
        if position != "auto":
            self._camera.set_controls({"AfMode": AF_MANUAL, "LensPosition": float(position)})

    def _metadata(self) -> Metadata:
        """The metadata of the next frame."""
        request = self._request(FIRST_PICTURE_S)
        try:
            metadata: Metadata = request.get_metadata()
        finally:
            request.release()
        return metadata

    def _request(self, wait_s: float) -> Any:
        try:
            return self._camera.capture_request(wait=wait_s)
        except TimeoutError as error:
            raise CameraError(f"{self._name}: no picture for {wait_s:g} s; check the ribbon cable at both ends") from error
        except (RuntimeError, OSError) as error:
            raise CameraError(f"{self._name}: {error}") from error


def whole_view(modes: Sequence[Mapping[str, Any]], size: tuple[int, int], fps: float) -> tuple[int, int] | None:
    """Width and height of the smallest sensor mode that shows the whole view of the sensor; None if the modes do not list their crop.

    modes: picamera2's `sensor_modes`. size, fps: as wanted; modes that are large and fast enough are preferred. Unless a mode is named, libcamera
    takes one near `size`, and the small modes of most sensors show only the middle.
    """
    known = [mode for mode in modes if {"crop_limits", "size", "fps"} <= mode.keys()]
    if not known:
        return None
    widest = max(math.prod(mode["crop_limits"][2:]) for mode in known)
    whole = [mode for mode in known if math.prod(mode["crop_limits"][2:]) >= SAME_VIEW * widest]
    best = min(whole, key=lambda mode: (mode["fps"] < fps, mode["size"][0] < size[0] or mode["size"][1] < size[1], math.prod(mode["size"])))
    width, height = best["size"]
    return width, height
