"""A webcam through OpenCV: a video file in place of the device, and a fake driver with the faults of real ones."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from device.cameras import CameraError
from device.cameras.frozen_picture import FrozenPicture
from device.cameras.v4l2 import Capture, V4l2Settings, V4l2Source, open_device
from device.cameras.v4l2_controls import AUTO_WHITE_BALANCE, EXPOSURE_ABSOLUTE, EXPOSURE_AUTO, FOCUS_ABSOLUTE, FOCUS_AUTO, Controls
from device.vision.inference.preprocess import Pixels
from tests.device.cameras.webcam import Webcam

Make = Callable[..., Pixels]


class Driver:
    """A V4L2 device as OpenCV shows it: `grab` takes a buffer off the queue, POS_MSEC is its time stamp. BGR, as OpenCV delivers."""

    def __init__(self, clock: Any, picture: Make, interval_s: float = 0.1) -> None:
        self.clock, self.picture, self.interval_s = clock, picture, interval_s
        self.properties: dict[int, float] = {}
        self.grabbed = self.decoded = 0
        self.released = False
        self.stamp_ms: Callable[[], float] = lambda: self.clock() * 1000
        self.plugged = True
        self.shows: Callable[[], Pixels | None] = lambda: picture(self.grabbed)

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, propId: int, value: float) -> bool:  # noqa: N803
        self.properties[propId] = value
        return True

    def get(self, propId: int) -> float:  # noqa: N803
        return self.stamp_ms() if propId == cv2.CAP_PROP_POS_MSEC else self.properties.get(propId, 0.0)

    def grab(self) -> bool:
        self.clock.now_s += self.interval_s
        self.grabbed += 1
        return self.plugged

    def retrieve(self) -> tuple[bool, Any]:
        self.decoded += 1
        shown = self.shows()
        return shown is not None, shown

    def release(self) -> None:
        self.released = True


@pytest.fixture
def driver(clock: Any, picture: Make) -> Driver:
    return Driver(clock, picture)


def camera(driver: Driver, clock: Any, **keys: Any) -> V4l2Source:
    return V4l2Source(V4l2Settings(**keys), open_capture=lambda path: driver, clock=clock, sleep=clock.sleep)


def test_settings_are_passed_to_the_camera(driver: Driver, clock: Any) -> None:
    camera(driver, clock, width=1280, height=720, fps=15, pixel_format="MJPG")
    assert driver.properties == {
        cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"),
        cv2.CAP_PROP_FRAME_WIDTH: 1280,
        cv2.CAP_PROP_FRAME_HEIGHT: 720,
        cv2.CAP_PROP_FPS: 15,
        cv2.CAP_PROP_BUFFERSIZE: 1,
    }


def fourcc(name: str) -> int:
    return cv2.VideoWriter.fourcc(*name)


@pytest.mark.parametrize("first", ["BGR3", "RGB3"])
def test_padded_formats_are_replaced_by_yuyv(driver: Driver, clock: Any, first: str) -> None:
    driver.properties[cv2.CAP_PROP_FOURCC] = fourcc(first)
    camera(driver, clock)
    assert driver.properties[cv2.CAP_PROP_FOURCC] == fourcc("YUYV")


@pytest.mark.parametrize("code", [fourcc("NV12"), fourcc("Y16 ") | 0x80000000, 0, -1])
def test_other_formats_of_the_driver_are_kept(driver: Driver, clock: Any, code: int) -> None:
    driver.properties[cv2.CAP_PROP_FOURCC] = code
    assert camera(driver, clock).read(1.0).number == 1
    assert driver.properties[cv2.CAP_PROP_FOURCC] == code


def test_a_format_that_the_camera_lacks_is_logged(driver: Driver, clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(Driver):
        def set(self, propId: int, value: float) -> bool:  # noqa: N803
            return propId != cv2.CAP_PROP_FOURCC and super().set(propId, value)

    stubborn = Stubborn(clock, driver.picture)
    stubborn.properties[cv2.CAP_PROP_FOURCC] = fourcc("YUYV")
    camera(stubborn, clock, device=3, pixel_format="MJPG")
    assert caplog.messages == ["camera /dev/video3: sends YUYV instead of MJPG"]


@pytest.fixture
def webcam(driver: Driver) -> Webcam:
    """The driver delivers the frames of this webcam, with noise."""
    webcam = Webcam()
    driver.shows = lambda: (webcam.next_means()[::-1] + np.random.default_rng(driver.grabbed).normal(0, 2, (48, 64, 1))).clip(0, 255).astype(np.uint8)
    return webcam


@pytest.fixture
def locked(driver: Driver, clock: Any, webcam: Webcam, tmp_path: Path) -> Callable[..., V4l2Source]:
    """A source on that webcam, opened with its controls."""
    (tmp_path / "video0").write_bytes(b"")

    def open_it(**keys: Any) -> V4l2Source:
        return V4l2Source(
            V4l2Settings(width=64, height=48, **keys),
            open_capture=lambda _: driver,
            open_controls=lambda _: Controls(str(tmp_path / "video0"), webcam.request),
            clock=clock,
            sleep=clock.sleep,
        )

    return open_it


def test_exposure_and_white_balance_are_locked_after_they_settled(
    locked: Callable[..., V4l2Source], webcam: Webcam, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    source = locked()
    assert 1002.0 < clock() < 1005.0, "the warm-up, and a few pictures more"
    assert (webcam.values[EXPOSURE_AUTO], webcam.values[AUTO_WHITE_BALANCE]) == (1, 0)
    bright = source.read(1.0).pixels.mean()
    webcam.light = 0.5
    assert source.read(1.0).pixels.mean() == pytest.approx(bright / 2, rel=0.05), "locked exposure does not follow the light"
    source.close()
    assert (webcam.values[EXPOSURE_AUTO], webcam.values[AUTO_WHITE_BALANCE]) == (3, 1), "automatic again after closing"
    assert caplog.messages == []


def test_controls_that_cannot_be_locked_are_logged(locked: Callable[..., V4l2Source], webcam: Webcam, caplog: pytest.LogCaptureFixture) -> None:
    webcam.refuses = {EXPOSURE_AUTO}
    locked()
    assert caplog.messages == ["camera /dev/video0: cannot hold its exposure, so an item may change the light of the whole picture"]
    assert webcam.values[AUTO_WHITE_BALANCE] == 0


def test_without_lock_exposure_controls_are_not_touched(locked: Callable[..., V4l2Source], webcam: Webcam, clock: Any) -> None:
    before = dict(webcam.values)
    locked(lock_exposure=False).close()
    assert webcam.values == before
    assert clock() == 1000.0


def read_many(source: V4l2Source, number: int) -> list[tuple[float | None, float]]:
    """The exposure and the mean brightness of frames."""
    frames = [source.read(1.0) for _ in range(number)]
    return [(frame.exposure, float(frame.pixels.mean())) for frame in frames]


@pytest.mark.parametrize("lag_frames", [0, 2])
def test_another_exposure_is_set_and_told_and_set_back(locked: Callable[..., V4l2Source], webcam: Webcam, lag_frames: int) -> None:
    webcam.light = 2.0
    source = locked()
    webcam.lag_frames = lag_frames
    ((exposure, usual),) = read_many(source, 1)
    before = webcam.manual_exposure
    assert exposure == 1.0
    source.set_exposure(0.25)
    during = read_many(source, 6)
    assert {exposure for exposure, _ in during} == {None, during[-1][0]} and during[-1][0] == pytest.approx(0.25, rel=0.02)
    assert [mean for exposure, mean in during if exposure is not None] == pytest.approx([usual / 4] * 4, rel=0.1)
    source.set_exposure(1.0)
    after = read_many(source, 8)
    assert webcam.manual_exposure == before
    assert after[0][0] is None and after[-1][0] == 1.0
    assert [mean for exposure, mean in after if exposure == 1.0] == pytest.approx([usual] * 6, rel=0.05)


def test_the_longest_exposure_is_that_of_a_frame(locked: Callable[..., V4l2Source], webcam: Webcam) -> None:
    webcam.light = 5.0
    exposure_range = np.array(locked(fps=20).exposure_range)
    assert exposure_range * webcam.manual_exposure == pytest.approx([3, 500]), "units of 100 us, in 50 ms"


def test_a_webcam_that_answers_late_shows_no_usual_frame_too_early(locked: Callable[..., V4l2Source], webcam: Webcam) -> None:
    webcam.light = 2.0
    source = locked()
    ((_, usual),) = read_many(source, 1)
    webcam.lag_frames = 7
    source.set_exposure(0.25)
    read_many(source, 12)
    source.set_exposure(1.0)
    after = read_many(source, 12)
    assert [mean for exposure, mean in after if exposure == 1.0] == pytest.approx([usual] * 5, rel=0.05)


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_an_exposure_that_shows_only_after_it_was_set_back_tags_no_frame(locked: Callable[..., V4l2Source], webcam: Webcam, frames: int) -> None:
    webcam.light = 2.0
    source = locked()
    ((_, usual),) = read_many(source, 1)
    webcam.lag_frames = 6
    source.set_exposure(0.25)
    read_many(source, frames)
    source.set_exposure(1.0)
    after = read_many(source, 14)
    assert after[-1][0] == 1.0 and min(mean for _, mean in after) < usual / 2, "the late change was seen"
    assert [mean for exposure, mean in after if exposure == 1.0] == pytest.approx([usual] * sum(exposure == 1.0 for exposure, _ in after), rel=0.05)


def test_a_view_that_stays_changed_is_usual_after_a_second(locked: Callable[..., V4l2Source], webcam: Webcam) -> None:
    source = locked()
    source.set_exposure(0.5)
    read_many(source, 5)
    webcam.light *= 0.4
    source.set_exposure(1.0)
    assert [exposure for exposure, _ in read_many(source, 12)] == [None] * 9 + [1.0] * 3


def test_a_refused_exposure_changes_no_frame(locked: Callable[..., V4l2Source], webcam: Webcam) -> None:
    source = locked()
    webcam.refuses = {EXPOSURE_ABSOLUTE}
    source.set_exposure(0.5)
    assert [exposure for exposure, _ in read_many(source, 6)] == [1.0] * 6


def test_an_ignored_exposure_is_usual_again_once_set_back(locked: Callable[..., V4l2Source], webcam: Webcam) -> None:
    source = locked()
    webcam._effective_exposure, webcam.ignores = webcam.manual_exposure, {EXPOSURE_ABSOLUTE}
    source.set_exposure(0.5)
    during = read_many(source, 6)
    assert during[-1][0] == pytest.approx(0.5, rel=0.02) and during[-1][1] == pytest.approx(during[0][1], rel=0.05), "only the pixels tell"
    source.set_exposure(1.0)
    assert read_many(source, 12)[-1][0] == 1.0


@pytest.mark.parametrize("plugged", [True, False])
def test_closing_sets_the_exposure_back(locked: Callable[..., V4l2Source], driver: Driver, webcam: Webcam, plugged: bool) -> None:
    source = locked()
    before = webcam.manual_exposure
    source.set_exposure(0.5)
    assert webcam.manual_exposure != before
    driver.plugged = plugged
    if not plugged:
        with pytest.raises(CameraError, match="gives no picture"):
            source.read(1.0)
    source.close()
    source.close()
    assert webcam.manual_exposure == before and webcam.values[EXPOSURE_AUTO] == 3


@pytest.mark.parametrize("why", ["the setting", "nothing is locked", "no limits", "cannot be locked"])
def test_without_a_locked_exposure_none_can_be_set(locked: Callable[..., V4l2Source], webcam: Webcam, why: str) -> None:
    webcam.exposure_limits = None if why == "no limits" else webcam.exposure_limits
    webcam.refuses = {EXPOSURE_AUTO} if why == "cannot be locked" else set()
    source = locked(expose_for_item=why != "the setting", lock_exposure=why != "nothing is locked")
    assert source.exposure_range is None
    before = webcam.manual_exposure
    source.set_exposure(0.5)
    assert webcam.manual_exposure == before and source.read(1.0).exposure == 1.0


def test_focus_is_set_to_the_given_value(locked: Callable[..., V4l2Source], webcam: Webcam) -> None:
    locked(lock_exposure=False, focus=75)
    assert (webcam.values[FOCUS_AUTO], webcam.values[FOCUS_ABSOLUTE]) == (0, 75)


def test_a_camera_that_fails_while_it_warms_up_is_closed(locked: Callable[..., V4l2Source], driver: Driver, webcam: Webcam) -> None:
    driver.plugged = False
    with pytest.raises(CameraError, match="gives no picture"):
        locked()
    assert driver.released
    assert webcam.values[EXPOSURE_AUTO] == 3


@pytest.mark.parametrize("fps", [1.0, 2.0, 10.0, 30.0])
def test_opening_takes_less_than_hang_s(locked: Callable[..., V4l2Source], driver: Driver, webcam: Webcam, clock: Any, fps: float) -> None:
    driver.interval_s = 1 / fps
    webcam.tells_exposure, webcam.manual_exposure = False, 2000
    webcam.manual_kelvin, webcam.tells_kelvin = 2800, False
    locked(fps=fps)
    lowest = next(field.type for field in msgspec.structs.fields(V4l2Settings) if field.name == "hang_s").__metadata__[0].ge
    assert clock() - 1000.0 < lowest


def test_a_frame_is_rgb_and_has_number_and_time_stamp(driver: Driver, clock: Any, picture: Make) -> None:
    source = camera(driver, clock)
    driver.stamp_ms = lambda: (clock() - 0.04) * 1000
    frames = [source.read(1.0) for _ in range(3)]
    assert [frame.number for frame in frames] == [1, 2, 3]
    assert frames[0].taken_s == pytest.approx(1000.06)
    assert np.array_equal(frames[0].pixels, picture(1)[:, :, ::-1])


def test_without_time_stamps_the_time_of_arrival_counts(driver: Driver, clock: Any) -> None:
    driver.stamp_ms = lambda: 0.0
    assert camera(driver, clock).read(1.0).taken_s == clock()


def test_frames_beyond_the_frame_rate_are_not_decoded(driver: Driver, clock: Any) -> None:
    driver.interval_s = 1 / 30
    source = camera(driver, clock, fps=10)
    taken_s = [source.read(1.0).taken_s for _ in range(11)]
    assert np.diff(taken_s) == pytest.approx(0.1)
    assert driver.decoded == 11


def test_a_slower_camera_is_not_slowed_further(driver: Driver, clock: Any) -> None:
    driver.interval_s = 0.0995
    source = camera(driver, clock, fps=10)
    for _ in range(20):
        source.read(1.0)
    assert driver.grabbed == 20


def test_an_unplugged_camera_is_an_error(driver: Driver, clock: Any) -> None:
    source = camera(driver, clock, device=3)
    driver.plugged = False
    with pytest.raises(CameraError, match="camera /dev/video3: gives no picture; check that it is plugged in"):
        source.read(1.0)


def test_an_old_buffer_is_no_new_frame(driver: Driver, clock: Any) -> None:
    source = camera(driver, clock)
    last = source.read(1.0)
    driver.interval_s = 0.0
    driver.stamp_ms = lambda: last.taken_s * 1000
    with pytest.raises(CameraError, match="only old or broken pictures for 1 s"):
        source.read(1.0)


def test_old_frames_in_the_driver_are_skipped(driver: Driver, clock: Any) -> None:
    source = camera(driver, clock, stale_s=0.5)
    source.read(1.0)
    clock.now_s += 30
    ages_s = iter([20.0, 10.0, 0.01])
    driver.stamp_ms = lambda: (clock() - next(ages_s)) * 1000
    frame = source.read(1.0)
    assert clock() - frame.taken_s == pytest.approx(0.01, abs=1e-6)
    assert frame.number == 2


def test_a_frame_that_cannot_be_decoded_is_skipped(driver: Driver, clock: Any, picture: Make) -> None:
    pictures = iter([None, None, picture(5)])
    driver.shows = lambda: next(pictures)
    frame = camera(driver, clock).read(1.0)
    assert np.array_equal(frame.pixels, picture(5)[:, :, ::-1])


def test_a_damaged_jpeg_is_dropped_and_counted(driver: Driver, clock: Any, capfd: pytest.CaptureFixture[str]) -> None:
    sound = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8), [cv2.IMWRITE_JPEG_RST_INTERVAL, 1])[1].tobytes()
    lost = sound[: sound.index(b"\xff\xd2")] + sound[sound.index(b"\xff\xd6") :]
    sent = iter([sound, lost, lost, sound])
    driver.shows = lambda: np.asarray(cv2.imdecode(np.frombuffer(next(sent), np.uint8), cv2.IMREAD_COLOR), np.uint8)
    source = camera(driver, clock, pixel_format="MJPG")
    assert [source.read(1.0).number for _ in range(2)] == [1, 2]
    assert source.damaged == 2
    assert capfd.readouterr().err == ""


def test_a_frame_without_its_end_is_dropped_and_counted(driver: Driver, clock: Any, picture: Make) -> None:
    short = picture(0)
    short[30:] = (0, 154, 0)
    pictures = iter([short, picture(5)])
    driver.shows = lambda: next(pictures)
    source = camera(driver, clock)
    assert np.array_equal(source.read(1.0).pixels, picture(5)[:, :, ::-1])
    assert source.damaged == 1


def test_only_broken_frames_are_an_error(driver: Driver, clock: Any) -> None:
    driver.shows = lambda: None
    with pytest.raises(CameraError, match="only old or broken pictures for 2 s; try another USB port, a shorter cable or pixel_format"):
        camera(driver, clock).read(2.0)


def test_a_frozen_picture_is_an_error(driver: Driver, clock: Any, picture: Make) -> None:
    driver.shows = lambda: picture(0)
    source = camera(driver, clock, frozen_s=3)
    with pytest.raises(CameraError, match="the same picture to the last bit for 3 s") as caught:
        for _ in range(100):
            source.read(1.0)
    assert clock() == pytest.approx(1003.2, abs=0.11)
    assert "\n" not in str(caught.value)


def test_a_frozen_picture_stays_an_error_after_reopening(driver: Driver, clock: Any, picture: Make) -> None:
    driver.shows = lambda: picture(0)
    frozen = FrozenPicture("camera 0", 3)
    settings = V4l2Settings(width=64, height=48)

    def reopened() -> V4l2Source:
        return V4l2Source(settings, frozen, open_capture=lambda _: driver, clock=clock, sleep=clock.sleep)

    source = reopened()
    assert [source.read(1.0).number for _ in range(10)][-1] == 10
    with pytest.raises(CameraError, match="to the last bit"):
        for _ in range(100):
            source.read(1.0)
    for _ in range(3):
        with pytest.raises(CameraError, match="to the last bit"):
            reopened().read(1.0)
    driver.shows = lambda: picture(1)
    assert reopened().read(1.0).number == 1


def test_a_dark_picture_that_changes_is_no_error(driver: Driver, clock: Any) -> None:
    dark = np.zeros((48, 64, 3), np.uint8)

    def shows() -> Pixels:
        dark[4, 4, 0] = driver.grabbed % 2
        return dark

    driver.shows = shows
    source = camera(driver, clock, frozen_s=1)
    assert [source.read(1.0).number for _ in range(50)] == list(range(1, 51))


def test_frozen_s_0_switches_the_check_off(driver: Driver, clock: Any, picture: Make) -> None:
    driver.shows = lambda: picture(0)
    source = camera(driver, clock, frozen_s=0)
    assert [source.read(1.0).number for _ in range(300)][-1] == 300


def test_close_may_be_called_any_number_of_times(driver: Driver, clock: Any) -> None:
    source = camera(driver, clock)
    source.close()
    source.close()
    assert driver.released


def test_a_video_file_is_read_like_a_camera(tmp_path: Path, clock: Any) -> None:
    file = tmp_path / "tray.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for level in (40, 120, 200):
        writer.write(np.full((48, 64, 3), (0, 0, level), np.uint8))
    writer.release()

    def ticking() -> float:
        clock.now_s += 0.1
        return float(clock.now_s)

    def open_video(path: str) -> Capture:
        return cv2.VideoCapture(path, cv2.CAP_FFMPEG)

    source = V4l2Source(V4l2Settings(device=str(file), width=64, height=48), open_capture=open_video, clock=ticking, sleep=clock.sleep)
    frames = [source.read(1.0) for _ in range(3)]
    assert [round(float(frame.pixels[..., 0].mean()), -1) for frame in frames] == [40, 120, 200]
    assert all(frame.pixels[..., 2].mean() < 10 for frame in frames)
    with pytest.raises(CameraError, match="gives no picture"):
        source.read(1.0)
    source.close()


def test_a_missing_device_names_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match=r"video7: no such device; plug the camera in, `ls /dev/v4l/by-id/`"):
        open_device(str(tmp_path / "video7"))


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.EACCES, "permission denied; add the user to the group `video`"),
        (errno.EPERM, "the service may not use it"),
        (errno.ENODEV, "No such device; unplug the camera and plug it in again"),
    ],
)
def test_an_unopenable_device_names_the_cause(number: int, cause: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    (tmp_path / "video0").write_bytes(b"")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CameraError, match=f"video0: {cause}") as caught:
        open_device(str(tmp_path / "video0"))
    assert "\n" not in str(caught.value)


def test_a_device_that_is_no_camera_is_refused(tmp_path: Path) -> None:
    (tmp_path / "video0").write_bytes(b"")
    with pytest.raises(CameraError, match="cannot be opened as a camera"):
        open_device(str(tmp_path / "video0"))
