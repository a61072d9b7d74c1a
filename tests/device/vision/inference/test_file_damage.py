"""Find truncated and damaged picture files."""

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from device.vision.inference.file_damage import has_missing_restarts, is_truncated

NOISE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
FORMATS = {
    "baseline": (".jpg",),
    "progressive": (".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restarts": (".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
    "png": (".png",),
    "webp": (".webp", cv2.IMWRITE_WEBP_QUALITY, 50),
    "lossless webp": (".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
    "bmp": (".bmp",),
}
FILES = {name: cv2.imencode(suffix, NOISE, options)[1].tobytes() for name, (suffix, *options) in FORMATS.items()}
HEAD = 12
"""number of first bytes by which each format is recognised"""


@given(st.sampled_from(sorted(FILES)), st.binary(max_size=64))
@settings(max_examples=60)
def test_extra_bytes_after_the_end_are_no_truncation(name: str, added: bytes) -> None:
    assert not is_truncated(FILES[name] + added)


@given(st.sampled_from(sorted(FILES)), st.data())
@settings(max_examples=200)
def test_a_file_cut_anywhere_is_truncated(name: str, data: st.DataObject) -> None:
    end = data.draw(st.integers(HEAD, len(FILES[name]) - 1))
    # The last 8 bytes of a PNG are the name and checksum of its empty last chunk; without them it is still decoded.
    assert is_truncated(FILES[name][: min(end, len(FILES[name]) - (8 if name == "png" else 1))])


def test_the_end_of_an_embedded_thumbnail_is_not_the_end() -> None:
    photo, thumbnail = FILES["baseline"], FILES["progressive"][:400] + b"\xff\xd9"
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2) + thumbnail
    whole = photo[:2] + segment + photo[2:]
    assert not is_truncated(whole)
    assert is_truncated(whole[: len(whole) // 2])


def test_a_jpeg_padded_with_zeros_is_truncated() -> None:
    half = FILES["baseline"][: len(FILES["baseline"]) // 2]
    assert is_truncated(half + bytes(len(half)))


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_unknown_formats_are_not_truncated(noise: bytes) -> None:
    assert not is_truncated(b"GIF89a" + noise)
    assert not is_truncated(b"")


def test_a_jpeg_with_lost_restart_intervals_is_damaged() -> None:
    whole = FILES["restarts"]
    markers = [at for at in range(len(whole) - 1) if whole[at] == 0xFF and 0xD0 <= whole[at + 1] <= 0xD7]
    assert len(markers) > 8
    assert not has_missing_restarts(whole)
    assert has_missing_restarts(whole[: markers[2]] + whole[markers[5] :])
    assert not any(has_missing_restarts(file) for file in FILES.values())
