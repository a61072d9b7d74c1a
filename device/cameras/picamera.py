"""The Raspberry Pi's own camera through picamera2, which is imported only here and only when this camera is chosen.

Asked for are `BGR888` pictures: picamera2 names formats as libcamera does, from the highest byte down, so in memory these are R, G, B.
"""

import importlib
import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from device.cameras import CameraError, Frame
from device.cameras.frozen import FrozenPicture
from device.cameras.settings import Picamera2Settings

log = logging.getLogger(__name__)

FIRST_PICTURE_S = 3.0
LOCKABLE = ("ExposureTime", "AnalogueGain", "ColourGains")


class Picamera2Source:
    """Pictures of a camera on the ribbon cable. Each is copied once and its buffer given back before `read` returns.

    The constructor takes `warm_up_s` and a little more. Closing a camera that has stopped answering may hang inside libcamera: use it
    through NewestFrame, which gives up a reader that does not come back. frozen: what sees that the picture stands still; one of its own where None.
    """

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
        self._camera = self._open(settings)
        try:
            self._start(settings)
        except CameraError:
            self.close()
            raise

    def read(self, wait_s: float) -> Frame:
        """The next picture. taken_s is when the sensor began to read it out.

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
        self._frozen.look(pixels, now_s)
        self._number += 1
        return Frame(pixels, self._number, now_s - max(0.0, age_s))

    def close(self) -> None:
        try:
            # A request that timed out still stands in line before the stop, which would wait behind it for ever.
            self._camera.cancel_all_and_flush()
            self._camera.close()
        except Exception as error:  # picamera2 and libcamera raise whatever they please, and closing must not fail
            log.warning("%s: closing it failed: %s", self._name, error)

    def _open(self, settings: Picamera2Settings) -> Any:
        try:
            picamera2 = importlib.import_module("picamera2")
        except ImportError as error:
            raise CameraError(
                f"{self._name}: picamera2 cannot be imported ({error}); install it with `sudo apt install python3-picamera2` and "
                "make the virtual environment with `--system-site-packages`"
            ) from error
        except Exception as error:  # what a package raises that was built for another NumPy
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
            configuration = self._camera.create_video_configuration(
                main={"format": "BGR888", "size": (settings.width, settings.height)},
                buffer_count=3,
                queue=False,
                controls={"FrameDurationLimits": (period_us, period_us)},
            )
            self._camera.configure(configuration)
            self._camera.start()
        except (RuntimeError, OSError, ValueError) as error:
            raise CameraError(f"{self._name}: cannot be started at {settings.width} x {settings.height}: {error}") from error
        self._warm_up(settings)

    def _warm_up(self, settings: Picamera2Settings) -> None:
        """Let exposure and white balance settle, then hold them where they are: an item must not change the light of the whole picture."""
        warm_s = self._clock() + settings.warm_up_s
        while True:
            request = self._request(FIRST_PICTURE_S)
            try:
                metadata = request.get_metadata()
            finally:
                request.release()
            if self._clock() >= warm_s:
                break
        if settings.lock_exposure:
            settled = {name: metadata[name] for name in LOCKABLE if name in metadata}
            self._camera.set_controls({"AeEnable": False, "AwbEnable": False} | settled)

    def _request(self, wait_s: float) -> Any:
        try:
            return self._camera.capture_request(wait=wait_s)
        except TimeoutError as error:
            raise CameraError(f"{self._name}: no picture for {wait_s:g} s; check the ribbon cable at both ends") from error
        except (RuntimeError, OSError) as error:
            raise CameraError(f"{self._name}: {error}") from error
