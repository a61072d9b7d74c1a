"""The Pi's camera, with a fake picamera2 that behaves as version 0.3.20 and later: jobs, buffers that must be released, time stamps."""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from device.cameras import CameraError
from device.cameras.picamera import Picamera2Settings, Picamera2Source
from device.vision.inference.preprocess import Pixels

BUFFERS, LAG_FRAMES = 3, 4


class Request:
    """A completed request. Its buffer belongs to the camera and is used again once released."""

    def __init__(self, camera: "Camera", pixels: Pixels, stamp_ns: int) -> None:
        self.camera, self.buffer, self.stamp_ns = camera, pixels.copy(), stamp_ns
        self.held = 1
        self.taken_with = camera.exposure()

    def make_array(self, name: str) -> Pixels:
        assert name == "main"
        assert self.held == 1
        # In memory BGR888 is R, G, B; RGB888 would be B, G, R.
        order = {"BGR888": slice(None), "RGB888": slice(None, None, -1)}[self.camera.configuration["main"]["format"]]
        return self.buffer[:, :, order].copy()

    def get_metadata(self) -> dict[str, Any]:
        assert self.held == 1
        said = {"SensorTimestamp": self.stamp_ns, "ColourGains": (1.5, 1.8), "Lux": 300.0}
        return said | self.taken_with | self.camera.lens()

    def release(self) -> None:
        self.held -= 1
        assert self.held == 0, "released twice"
        self.buffer[:] = 0
        self.camera.held -= 1


class Camera:
    """Picamera2: a picture every 1/fps s of the test's clock, no more pictures than buffers, one program at a time."""

    def __init__(self, bench: "Bench", camera_num: int = 0) -> None:
        if bench.in_use:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        bench.in_use = True
        self.bench, self.camera_num, self.held = bench, camera_num, 0
        self.configuration: dict[str, Any] = {}
        self.controls: dict[str, Any] = {}
        self.started = self.flushed = False
        self.waiting_jobs = self.scanned = 0
        self.exposures: list[dict[str, Any]] = []
        bench.cameras.append(self)

    def create_video_configuration(
        self,
        main: Any = {},  # noqa: B006
        lores: Any = None,
        raw: Any = {},  # noqa: B006
        transform: Any = None,
        colour_space: Any = None,
        buffer_count: int = 6,
        controls: Any = {},  # noqa: B006
        display: str = "main",
        encode: str = "main",
        queue: bool = True,
    ) -> dict[str, Any]:
        assert set(raw) <= {"format", "size"}, "picamera2 takes no other key of a stream"
        return {"main": dict(main), "raw": dict(raw), "buffer_count": buffer_count, "controls": dict(controls), "queue": queue}

    @property
    def sensor_modes(self) -> list[dict[str, Any]]:
        assert not self.started, "reading them configures the camera"
        return self.bench.sensor_modes

    @property
    def camera_controls(self) -> dict[str, Any]:
        lens = {"AfMode": (0, 2, 0), "LensPosition": (0.0, 32.0, 1.0)} if self.bench.has_lens else {}
        return {"ExposureTime": (14, 11_000_000, None), "AnalogueGain": (1.0, 16.0, None)} | lens

    def exposure(self) -> dict[str, Any]:
        """What the next frame is taken with: the controls of some frames before, in whole lines of the sensor."""
        wanted = self.controls if self.bench.follows else {}
        line_us, gain = 29.6, wanted.get("AnalogueGain", 2.0)
        time_us = int(max(1, wanted.get("ExposureTime", 8000) // line_us) * line_us)
        self.exposures.append({"ExposureTime": time_us, "AnalogueGain": gain})
        del self.exposures[: -1 - LAG_FRAMES]
        return self.exposures[0] if self.bench.tells_exposure else {}

    def lens(self) -> dict[str, Any]:
        """The lens state that libcamera reports with each frame: idle, scanning for some frames, then the result."""
        if not self.bench.has_lens:
            return {}
        if self.controls.get("AfMode") != 1:
            return {"AfState": 0, "LensPosition": self.controls.get("LensPosition", 1.0)}
        self.scanned += 1
        if self.scanned <= self.bench.scans_for:
            return {"AfState": int(self.scanned > 2), "LensPosition": 5.0}
        return {"AfState": 2 if self.bench.finds_focus else 3, "LensPosition": 3.4}

    def configure(self, camera_config: Any = None) -> None:
        if self.bench.refuses:
            raise RuntimeError(self.bench.refuses)
        self.configuration = camera_config

    def start(self, config: Any = None, show_preview: bool = False) -> None:
        assert self.configuration
        self.started = True

    def set_controls(self, controls: dict[str, Any]) -> None:
        if self.bench.refuses_controls:
            raise RuntimeError(f"Control {next(iter(controls))} is not advertised by libcamera")
        self.controls |= controls

    def capture_request(self, wait: Any = None, signal_function: Any = None, flush: Any = None) -> Request:
        assert self.started
        assert isinstance(wait, float), "an unbounded wait"
        shortest_us, _ = self.configuration["controls"]["FrameDurationLimits"]
        due_s = shortest_us / 1e6
        if self.bench.silent or due_s > wait or self.held >= self.configuration["buffer_count"]:
            self.bench.clock.now_s += wait
            self.waiting_jobs += 1
            raise TimeoutError
        self.bench.clock.now_s += due_s
        self.held += 1
        boot_s = self.bench.clock() + self.bench.suspended_s
        return Request(self, self.bench.shows(), round((boot_s - self.bench.age_s) * 1e9))

    def cancel_all_and_flush(self) -> None:
        self.waiting_jobs = 0
        self.flushed = True

    def close(self) -> None:
        assert self.waiting_jobs == 0, "the stop waits behind a job that never ends"
        self.started = False
        self.bench.in_use = False
        if self.bench.fails_to_close:
            raise RuntimeError("Failed to stop")


class Bench:
    """What the test sets: the clock, the sensor's view, and faults."""

    def __init__(self, clock: Any, picture: Callable[..., Pixels]) -> None:
        self.clock, self.picture = clock, picture
        self.cameras: list[Camera] = []
        self.seen = 0
        self.in_use = self.silent = self.fails_to_close = False
        self.refuses = ""
        self.age_s = 0.01
        self.suspended_s = 0.0
        self.found = 1
        self.frozen = self.has_lens = False
        self.follows = self.tells_exposure = True
        self.refuses_controls = False
        self.finds_focus = True
        self.scans_for = 8
        self.sensor_modes: list[dict[str, Any]] = []

    def shows(self) -> Pixels:
        self.seen += not self.frozen
        return self.picture(self.seen)

    def open(self, **keys: Any) -> Picamera2Source:
        return Picamera2Source(Picamera2Settings(**keys), clock=self.clock, boot_clock=lambda: self.clock() + self.suspended_s)


@pytest.fixture
def bench(clock: Any, picture: Callable[..., Pixels], monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(clock, picture)

    class Picamera2(Camera):
        def __init__(self, camera_num: int = 0) -> None:
            super().__init__(bench, camera_num)

        @staticmethod
        def global_camera_info() -> list[dict[str, Any]]:
            return [{"Model": "imx708", "Num": number} for number in range(bench.found)]

    monkeypatch.setitem(sys.modules, "picamera2", SimpleNamespace(Picamera2=Picamera2))
    return bench


def test_settings_are_passed_to_picamera2(bench: Bench) -> None:
    bench.found = 2
    bench.open(index=1, width=800, height=600, fps=5)
    camera = bench.cameras[0]
    assert camera.camera_num == 1
    assert camera.configuration["main"]["size"] == (800, 600)
    assert camera.configuration["controls"] == {"FrameDurationLimits": (200_000, 200_000)}
    assert camera.configuration["queue"] is False, "a queued frame is older than the request"


def modes(*rows: tuple[tuple[int, int], tuple[int, int, int, int], float]) -> list[dict[str, Any]]:
    return [{"size": size, "crop_limits": crop, "fps": fps, "format": "SRGGB10_CSI2P", "bit_depth": 10} for size, crop, fps in rows]


MODULE_1 = modes(
    ((640, 480), (16, 0, 2560, 1920), 58.9),
    ((1296, 972), (0, 0, 2592, 1944), 43.3),
    ((1920, 1080), (348, 434, 1928, 1080), 30.6),
    ((2592, 1944), (0, 0, 2592, 1944), 15.6),
)
MODULE_2 = modes(
    ((640, 480), (1000, 752, 1280, 960), 103.3),
    ((1640, 1232), (0, 0, 3280, 2464), 41.9),
    ((1920, 1080), (680, 692, 1920, 1080), 47.6),
    ((3280, 2464), (0, 0, 3280, 2464), 21.2),
)
MODULE_3 = modes(
    ((1536, 864), (768, 432, 3072, 1728), 120.1),
    ((2304, 1296), (0, 0, 4608, 2592), 56.0),
    ((4608, 2592), (0, 0, 4608, 2592), 14.4),
)


@pytest.mark.parametrize(
    ("sensor_modes", "keys", "chosen"),
    [
        (MODULE_1, {}, (1296, 972)),
        (MODULE_2, {}, (1640, 1232)),
        (MODULE_3, {}, (2304, 1296)),
        (MODULE_2, {"width": 1920, "height": 1080}, (3280, 2464)),
        (MODULE_2, {"width": 1920, "height": 1080, "fps": 30}, (1640, 1232)),
        (MODULE_3, {"width": 8000, "height": 6000}, (2304, 1296)),
        ([*MODULE_2, *MODULE_2], {}, (1640, 1232)),
    ],
)
def test_the_smallest_sensor_mode_with_the_whole_view_is_chosen(
    bench: Bench, sensor_modes: list[dict[str, Any]], keys: dict[str, Any], chosen: tuple[int, int]
) -> None:
    bench.sensor_modes = sensor_modes
    bench.open(**keys)
    assert bench.cameras[0].configuration["raw"] == {"size": chosen}


def test_without_crop_limits_libcamera_chooses_the_mode(bench: Bench) -> None:
    bench.sensor_modes = [{"format": "MJPEG"}, {"format": "YUYV"}]
    bench.open()
    assert bench.cameras[0].configuration["raw"] == {}


def test_auto_focus_runs_once_and_is_kept(bench: Bench, clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    bench.has_lens = True
    source = bench.open(warm_up_s=2.0)
    assert bench.cameras[0].controls["AfMode"] == 0
    assert bench.cameras[0].controls["LensPosition"] == 3.4
    assert clock() == pytest.approx(1003.0, abs=0.3), "as long as it scanned, and no longer"
    assert source.read(1.0).number == 1
    assert caplog.messages == []


@pytest.mark.parametrize("broken", [{"finds_focus": False}, {"scans_for": 10_000}])
def test_a_failed_focus_search_is_bounded_and_logged(bench: Bench, clock: Any, broken: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    bench.has_lens = True
    vars(bench).update(broken)
    bench.open(warm_up_s=2.0)
    assert clock() < 1005.3
    assert bench.cameras[0].controls["AfMode"] == 0
    (told,) = caplog.messages
    assert told == "camera 0: found nothing to focus on; set camera.focus to 100 divided by the distance of the tray in cm"


def test_focus_is_set_to_the_given_value(bench: Bench, clock: Any) -> None:
    bench.has_lens = True
    bench.open(focus=2.5, warm_up_s=0)
    assert bench.cameras[0].controls["AfMode"] == 0
    assert bench.cameras[0].controls["LensPosition"] == 2.5
    assert bench.cameras[0].scanned == 0


def test_a_focus_for_a_fixed_lens_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.open(focus=2.5)
    assert caplog.messages == ["camera 0: its lens cannot be moved, camera.focus has no effect"]
    assert "LensPosition" not in bench.cameras[0].controls


def test_frames_are_rgb_copies_and_their_buffers_released(bench: Bench, picture: Callable[..., Pixels]) -> None:
    source = bench.open(warm_up_s=0)
    frames = [source.read(1.0) for _ in range(2 * BUFFERS)]
    assert [frame.number for frame in frames] == list(range(1, 2 * BUFFERS + 1))
    assert np.array_equal(frames[0].pixels, picture(2))
    assert np.array_equal(frames[-1].pixels, picture(1 + 2 * BUFFERS))
    assert bench.cameras[0].held == 0


def test_taken_s_is_the_sensor_time_on_the_monotonic_clock(bench: Bench, clock: Any) -> None:
    bench.suspended_s = 3600.0
    bench.age_s = 0.25
    frame = bench.open(warm_up_s=0).read(1.0)
    assert frame.taken_s == pytest.approx(clock() - 0.25)


def test_exposure_settles_and_is_then_locked(bench: Bench, clock: Any) -> None:
    bench.open(warm_up_s=2.0)
    assert clock() == pytest.approx(1002.0, abs=0.11)
    assert bench.cameras[0].controls == {
        "AeEnable": False,
        "AwbEnable": False,
        "ExposureTime": 7992,
        "AnalogueGain": 2.0,
        "ColourGains": (1.5, 1.8),
    }


def test_without_lock_exposure_it_stays_automatic(bench: Bench) -> None:
    bench.open(lock_exposure=False)
    assert bench.cameras[0].controls == {}


def exposures(source: Picamera2Source, number: int) -> list[float | None]:
    return [source.read(1.0).exposure for _ in range(number)]


def test_another_exposure_is_told_by_each_frame_and_set_back(bench: Bench) -> None:
    source = bench.open(fps=20)
    settled = dict(bench.cameras[0].controls)
    assert exposures(source, 3) == [1.0] * 3
    source.set_exposure(4.0)
    assert exposures(source, 8) == pytest.approx([1.0] * LAG_FRAMES + [4.0] * 4, rel=0.01)
    assert bench.cameras[0].controls["ExposureTime"] == pytest.approx(32_000, rel=0.01) and bench.cameras[0].controls[
        "AnalogueGain"
    ] == pytest.approx(2)
    source.set_exposure(1.0)
    assert exposures(source, 8) == pytest.approx([4.0] * LAG_FRAMES + [1.0] * 4, rel=0.01)
    assert bench.cameras[0].controls == settled


def test_an_exposure_that_is_set_back_at_once_is_still_told(bench: Bench) -> None:
    source = bench.open(fps=20)
    source.set_exposure(4.0)
    seen = exposures(source, 2)
    source.set_exposure(1.0)
    assert seen + exposures(source, 6) == pytest.approx([1.0] * LAG_FRAMES + [4.0] * 2 + [1.0] * 2, rel=0.01)


@pytest.mark.parametrize(("asked", "time_us", "gain"), [(12.0, 50_000, 3.84), (1 / 8, 1000, 2.0), (1 / 1000, 14, 1.14)])
def test_no_exposure_time_is_longer_than_a_frame(bench: Bench, asked: float, time_us: float, gain: float) -> None:
    source = bench.open(fps=20)
    source.set_exposure(asked)
    set_ = bench.cameras[0].controls
    assert (set_["ExposureTime"], set_["AnalogueGain"]) == (pytest.approx(time_us, rel=0.01), pytest.approx(gain, rel=0.01))


def test_the_exposure_range_is_what_time_and_gain_can_do(bench: Bench) -> None:
    least, most = bench.open(fps=20).exposure_range or (0.0, 0.0)
    assert least == pytest.approx(14 / 15984) and most == pytest.approx(50_000 * 16 / 15984)


@pytest.mark.parametrize("keys", [{"lock_exposure": False}, {"expose_for_item": False}])
def test_without_a_locked_exposure_no_other_is_set(bench: Bench, keys: dict[str, Any]) -> None:
    source = bench.open(**keys)
    assert source.exposure_range is None
    before = dict(bench.cameras[0].controls)
    source.set_exposure(4.0)
    assert bench.cameras[0].controls == before and exposures(source, 3) == [1.0] * 3


def test_a_camera_without_metadata_of_its_exposure_is_never_asked(bench: Bench) -> None:
    bench.tells_exposure = False
    source = bench.open()
    assert source.exposure_range is None and exposures(source, 3) == [1.0] * 3


def test_a_camera_that_ignores_controls_has_only_usual_frames(bench: Bench) -> None:
    source = bench.open()
    bench.follows = False
    source.set_exposure(4.0)
    assert exposures(source, 12) == [1.0] * 12


def test_a_camera_that_refuses_an_exposure_is_an_error(bench: Bench) -> None:
    source = bench.open()
    bench.refuses_controls = True
    with pytest.raises(CameraError, match="camera 0: cannot set its exposure: Control ExposureTime is not advertised"):
        source.set_exposure(4.0)


def test_a_silent_camera_is_an_error_after_wait_s(bench: Bench, clock: Any) -> None:
    source = bench.open()
    bench.silent = True
    before_s = clock()
    with pytest.raises(CameraError, match="camera 0: no picture for 2 s; check the ribbon cable"):
        source.read(2.0)
    assert clock() - before_s == pytest.approx(2.0)


def test_after_a_timeout_it_can_be_reopened(bench: Bench) -> None:
    source = bench.open()
    bench.silent = True
    with pytest.raises(CameraError):
        source.read(2.0)
    source.close()
    assert not bench.in_use
    bench.silent = False
    assert bench.open().read(1.0).number == 1


def test_a_camera_that_is_silent_at_the_start_is_closed(bench: Bench) -> None:
    bench.silent = True
    with pytest.raises(CameraError, match="no picture for 3 s"):
        bench.open()
    assert not bench.in_use


def test_an_old_frame_is_an_error(bench: Bench) -> None:
    source = bench.open(stale_s=2.0)
    bench.age_s = 4.0
    with pytest.raises(CameraError, match=r"gave a picture that is 4.0 s old"):
        source.read(1.0)
    assert bench.cameras[0].held == 0


def test_a_frozen_picture_is_an_error(bench: Bench) -> None:
    source = bench.open(frozen_s=3)
    bench.frozen = True
    with pytest.raises(CameraError, match="camera 0: the same picture to the last bit for 3 s"):
        for _ in range(100):
            source.read(1.0)


def test_a_failure_to_close_is_logged_not_raised(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    source = bench.open()
    bench.fails_to_close = True
    source.close()
    assert "camera 0: closing it failed: Failed to stop" in caplog.text


def test_a_missing_picamera2_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(CameraError, match="sudo apt install python3-picamera2") as caught:
        Picamera2Source(Picamera2Settings())
    assert "\n" not in str(caught.value)


def test_a_picamera2_without_bounded_waits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", SimpleNamespace(Picamera2=type("Picamera2", (), {})))
    with pytest.raises(CameraError, match=r"older than 0\.3\.20"):
        Picamera2Source(Picamera2Settings())


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ({"found": 0}, "camera 0: only 0 found"),
        ({"in_use": True}, "cannot be opened .*; another program may be using it"),
        ({"refuses": "width and height should be even"}, "cannot be started at 640 x 480: width and height should be even"),
    ],
)
def test_an_unopenable_camera_names_the_cause(bench: Bench, broken: dict[str, Any], complaint: str) -> None:
    vars(bench).update(broken)
    with pytest.raises(CameraError, match=complaint):
        bench.open()
