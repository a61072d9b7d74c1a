"""Pictures and videos in place of a camera."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from device.cameras import CameraError, EndOfFrames, Frame
from device.cameras.replay import ReplaySettings, ReplaySource


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place, level in (("b/2.png", 120), ("a/9.png", 40), ("a/10.PNG", 200)):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        cv2.imencode(".png", np.full((96, 128, 3), (level, 0, 0), np.uint8))[1].tofile(tmp_path / place)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


@pytest.fixture
def replay(clock: Any) -> Callable[..., ReplaySource]:
    def make(path: Path, **keys: Any) -> ReplaySource:
        keys = {"width": 64, "height": 48, "loop": False} | keys
        return ReplaySource(ReplaySettings(path=str(path), **keys), clock=clock, sleep=clock.sleep)

    return make


def all_frames(source: ReplaySource) -> list[Frame]:
    frames = []
    with pytest.raises(EndOfFrames):
        for _ in range(1000):
            frames.append(source.read(10.0))
    return frames


def test_pictures_are_shown_in_order_then_the_first_again(folder: Path, replay: Callable[..., ReplaySource], clock: Any) -> None:
    frames = all_frames(replay(folder, fps=10, hold_s=0.3))
    assert [int(frame.pixels[0, 0, 2]) for frame in frames] == [200] * 3 + [40] * 3 + [120] * 3 + [200] * 3
    assert [frame.number for frame in frames] == list(range(1, 13))
    assert [frame.taken_s for frame in frames] == pytest.approx([1000 + number / 10 for number in range(12)])
    assert frames[0].pixels.shape == (48, 64, 3)


def test_a_repeated_picture_cannot_be_written_to(folder: Path, replay: Callable[..., ReplaySource]) -> None:
    source = replay(folder, hold_s=1)
    with pytest.raises(ValueError, match="read-only"):
        source.read(1.0).pixels[:] = 7
    assert int(source.read(1.0).pixels[0, 0, 2]) == 200


def test_fps_0_shows_each_picture_once_without_pauses(folder: Path, replay: Callable[..., ReplaySource], clock: Any) -> None:
    frames = all_frames(replay(folder, fps=0, hold_s=5))
    assert len(frames) == 4
    assert clock() == 1000.0


def test_a_loop_starts_again(folder: Path, replay: Callable[..., ReplaySource]) -> None:
    source = replay(folder, fps=0, loop=True)
    assert [int(source.read(1.0).pixels[0, 0, 2]) for _ in range(7)] == [200, 40, 120, 200, 40, 120, 200]


def test_a_slow_reader_gets_no_burst_of_frames(folder: Path, replay: Callable[..., ReplaySource], clock: Any) -> None:
    source = replay(folder, fps=10, loop=True)
    source.read(1.0)
    clock.now_s += 5.0
    times_s = [source.read(1.0).taken_s for _ in range(3)]
    assert times_s == pytest.approx([1005.0, 1005.0, 1005.1])


def test_a_picture_not_yet_due_is_an_error_after_the_wait(folder: Path, replay: Callable[..., ReplaySource], clock: Any) -> None:
    source = replay(folder, fps=0.1)
    source.read(1.0)
    with pytest.raises(CameraError, match=r"no picture is due within 2 s; raise fps"):
        source.read(2.0)
    assert clock() == 1002.0
    assert source.read(8.5).number == 2


def test_a_broken_picture_is_skipped_counted_and_logged_once(
    folder: Path, replay: Callable[..., ReplaySource], caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "a/1.jpg").write_bytes(b"not a jpeg")
    (folder / "a/2.jpg").write_bytes(b"")
    header = b"IHDR" + (70_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    giant = b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + zlib.crc32(header).to_bytes(4, "big") + b"\0\0\0\x01IDAT" + bytes(5)
    (folder / "a/3.png").write_bytes(giant)
    source = replay(folder, fps=0, loop=True)
    assert [int(source.read(1.0).pixels[0, 0, 2]) for _ in range(6)] == [200, 40, 120] * 2
    assert source.skipped == 3
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder / 'a/1.jpg'}: not a picture that can be decoded, left out",
        f"{folder / 'a/2.jpg'}: not a picture that can be decoded, left out",
        f"{folder / 'a/3.png'}: not a picture that can be decoded, left out",
    ]


def test_a_folder_of_only_broken_pictures_is_an_error_even_in_a_loop(tmp_path: Path, replay: Callable[..., ReplaySource]) -> None:
    (tmp_path / "1.jpg").write_bytes(b"not a jpeg")
    with pytest.raises(CameraError, match="nothing in it can be decoded"):
        replay(tmp_path, loop=True).read(1.0)


def test_a_missing_path_and_an_empty_folder_are_errors(tmp_path: Path, replay: Callable[..., ReplaySource]) -> None:
    with pytest.raises(CameraError, match="nowhere: no such file or folder"):
        replay(tmp_path / "nowhere")
    with pytest.raises(CameraError, match=r"x: File name too long; camera\.path names what to replay"):
        replay(tmp_path / ("x" * 300))
    with pytest.raises(CameraError, match=r"expected pictures .* in this folder, found none"):
        replay(tmp_path)


def test_pictures_keep_their_shape_and_the_first_gives_the_size(tmp_path: Path, replay: Callable[..., ReplaySource]) -> None:
    for name, (width, height) in (("1", (90, 120)), ("2", (120, 90)), ("3", (30, 40))):
        cv2.imencode(".png", np.full((height, width, 3), 255, np.uint8))[1].tofile(tmp_path / f"{name}.png")
    upright, lying, small, _ = (frame.pixels for frame in all_frames(replay(tmp_path, fps=0)))
    assert upright.shape == lying.shape == small.shape == (48, 36, 3)
    assert upright.min() == small.min() == 255
    assert lying[:10].max() == lying[-11:].max() == 0
    assert lying[11:37].min() == 255


def test_a_video_is_shown_frame_by_frame(tmp_path: Path, replay: Callable[..., ReplaySource]) -> None:
    file = tmp_path / "tray.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 25, (128, 96))
    for level in (40, 120, 200):
        writer.write(np.full((96, 128, 3), (level, 0, 0), np.uint8))
    writer.release()
    source = replay(file, fps=5)
    frames = all_frames(source)
    assert [round(float(frame.pixels[..., 2].mean()), -1) for frame in frames] == [40, 120, 200]
    assert [frame.taken_s for frame in frames] == pytest.approx([1000.0, 1000.2, 1000.4])
    source.close()
    source.close()


def test_a_file_that_is_no_video_is_an_error(tmp_path: Path, replay: Callable[..., ReplaySource]) -> None:
    (tmp_path / "tray.mp4").write_bytes(b"\0" * 100)
    with pytest.raises(CameraError, match="nothing in it can be decoded as a picture or video"):
        replay(tmp_path / "tray.mp4").read(1.0)


def test_a_single_picture_is_shown(folder: Path, replay: Callable[..., ReplaySource]) -> None:
    assert int(replay(folder / "b/2.png").read(1.0).pixels[0, 0, 2]) == 120
