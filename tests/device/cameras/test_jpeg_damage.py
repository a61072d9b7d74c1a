"""Warnings of OpenCV's libjpeg on real JPEGs that lost bytes, and the green of missing bytes."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.cameras.jpeg_damage import decode, lacks_its_end
from device.vision.inference.preprocess import Pixels


def jpeg(restart_every: int = 8) -> bytes:
    """A picture of soft shapes, 320 x 240, as a webcam sends it."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    picture = cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC)
    options = [cv2.IMWRITE_JPEG_QUALITY, 80, cv2.IMWRITE_JPEG_RST_INTERVAL, restart_every]
    return cv2.imencode(".jpg", picture, options)[1].tobytes()


def restarts(encoded: bytes) -> list[int]:
    """Where its restart markers are."""
    return [at for at in range(600, len(encoded) - 1) if encoded[at] == 0xFF and 0xD0 <= encoded[at + 1] <= 0xD7]


def decoded(encoded: bytes) -> tuple[Pixels, bool]:
    return decode(lambda: np.asarray(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR), np.uint8))


def test_a_sound_picture_is_returned_unchanged(capfd: pytest.CaptureFixture[str]) -> None:
    for every in (0, 8, 40):
        picture, damaged = decoded(jpeg(every))
        assert picture.shape == (240, 320, 3)
        assert not damaged
    assert capfd.readouterr().err == ""


def test_padding_between_intervals_is_no_damage(capfd: pytest.CaptureFixture[str]) -> None:
    sound = jpeg()
    whole, _ = decoded(sound)
    for at in restarts(sound)[2:-2]:
        picture, damaged = decoded(sound[:at] + b"\x11\x22" + sound[at:])
        assert not damaged
        assert np.array_equal(picture, whole)
    assert capfd.readouterr().err == "", "libjpeg's warning is not printed"


@pytest.mark.parametrize("count", [1, 7, 8, 12])
def test_lost_restart_intervals_are_damage(count: int, capfd: pytest.CaptureFixture[str]) -> None:
    sound = jpeg()
    places = restarts(sound)
    for first in range(0, len(places) - count, 3):
        assert decoded(sound[: places[first]] + sound[places[first + count] :])[1]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("every", [0, 8, 40])
@pytest.mark.parametrize("size", [512, 3000])
def test_a_lost_usb_packet_is_damage(every: int, size: int, capfd: pytest.CaptureFixture[str]) -> None:
    sound = jpeg(every)
    places = range(700, len(sound) - size - 10, 97)
    told = [decoded(sound[:at] + sound[at + size :])[1] for at in places]
    assert np.mean(told) > 0.9, "nearly all: bytes that fit by chance leave no trace"
    assert capfd.readouterr().err == ""


def test_output_of_other_threads_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    sound = jpeg()
    lost = sound[: restarts(sound)[3]] + sound[restarts(sound)[9] :]

    def amid_others() -> None:
        os.write(2, b"WARNING the disk is full\n")
        cv2.imdecode(np.frombuffer(lost, np.uint8), cv2.IMREAD_COLOR)
        os.write(2, b"INFO event 7\n")

    assert decode(amid_others) == (None, True)
    assert capfd.readouterr().err == "WARNING the disk is full\nINFO event 7\n"


def test_an_error_while_decoding_restores_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise cv2.error("no memory")

    with pytest.raises(cv2.error):
        decode(fail)
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"


def test_it_decodes_with_standard_error_closed() -> None:
    program = "import os\nfrom device.cameras.jpeg_damage import decode\nos.close(2)\nprint(decode(lambda: 7))\n"
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "(7, False)"


@pytest.mark.parametrize("conversion", [cv2.COLOR_YUV2BGR_YUYV, cv2.COLOR_YUV2BGR_UYVY])
def test_green_rows_at_the_end_are_damage(conversion: int, picture: Callable[..., Pixels]) -> None:
    sent = np.random.default_rng(1).integers(16, 236, (48, 64, 2), np.uint8)
    assert not lacks_its_end(np.asarray(cv2.cvtColor(sent, conversion), np.uint8))
    for missing in (1, 20, 48):
        sent[48 - missing :] = 0
        assert lacks_its_end(np.asarray(cv2.cvtColor(sent, conversion), np.uint8))


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (0, 255, 0), (0, 120, 0), (1, 135, 0), (128, 128, 128)])
def test_a_plain_row_of_another_colour_is_no_damage(colour: tuple[int, int, int]) -> None:
    assert not lacks_its_end(np.full((48, 64, 3), colour, np.uint8))
