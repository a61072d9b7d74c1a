"""Read picture files: orientation, transparent pixels, refused files."""

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from device.common.label_names import LabelError, is_label, label_of, label_remarks
from device.vision.inference.ground import PLAIN
from device.vision.inference.images import (
    PictureError,
    describe_unread_kinds,
    find_unreadable,
    read_picture,
    read_pixels,
    unread_kinds,
    unreadable_message,
)
from device.vision.inference.preprocess import Pixels

TO_STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: upright.transpose(1, 0, 2)[::-1],
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: upright.transpose(1, 0, 2)[:, ::-1],
}
"""from an upright picture to the stored one, for each EXIF orientation"""


def upright_picture() -> Pixels:
    return np.random.default_rng(3).integers(0, 256, (24, 40, 3), np.uint8)


def encoded(pixels: Pixels, kind: str, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, kind, exif=exif, **options)
    return buffer.getvalue()


def with_alpha(rgb: Pixels, alpha: Pixels) -> Pixels:
    return np.dstack([rgb, alpha])


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", sorted(TO_STORED))
def test_every_exif_orientation_is_turned_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    upright = upright_picture()
    stored: Callable[[Pixels], Pixels] = TO_STORED[orientation]
    file = tmp_path / f"photo.{kind.lower()}"
    file.write_bytes(encoded(stored(upright), kind, orientation))
    np.testing.assert_array_equal(read_pixels(file), upright)
    alpha = np.full((24, 40), 255, np.uint8)
    alpha[:, :10] = 0
    file.write_bytes(encoded(stored(with_alpha(upright, alpha)), kind, orientation))
    seen = read_pixels(file)
    np.testing.assert_array_equal(seen[:, 10:], upright[:, 10:])
    assert (seen[:, :10] == PLAIN.colour).all()


def test_jpegs_are_turned_upright(tmp_path: Path) -> None:
    upright = np.repeat(np.repeat(upright_picture()[:3, :5], 16, axis=0), 16, axis=1)
    for orientation, stored in TO_STORED.items():
        file = tmp_path / f"{orientation}.jpg"
        file.write_bytes(encoded(stored(upright), "JPEG", orientation))
        seen = read_pixels(file).astype(int)
        assert seen.shape == upright.shape
        assert np.abs(seen - read_pixels(tmp_path / "1.jpg")).mean() < 5


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_colours_under_transparent_pixels_are_not_used(tmp_path: Path, kind: str) -> None:
    item, alpha = upright_picture(), np.zeros((24, 40), np.uint8)
    alpha[8:16, 8:32] = 255
    alpha[4] = 128
    seen = []
    for name, hidden in (("black", 0), ("white", 255), ("garbage", np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8))):
        file = tmp_path / name
        file.write_bytes(encoded(with_alpha(np.where(alpha[..., None] > 0, item, np.uint8(0) + hidden).astype(np.uint8), alpha), kind))
        picture = read_picture(file)
        assert picture.transparent
        seen.append(picture.pixels)
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])
    np.testing.assert_array_equal(seen[0][8:16, 8:32], item[8:16, 8:32])
    half = (item[4].astype(float) + PLAIN.colour) / 2
    assert np.abs(seen[0][4] - half).max() <= 1.5


def test_transparency_of_every_png_kind_is_found(tmp_path: Path) -> None:
    grey = np.dstack([np.full((8, 8), 90, np.uint8), np.full((8, 8), 0, np.uint8)])
    palette = Image.fromarray(np.zeros((8, 8), np.uint8), "P")
    palette.putpalette([10, 20, 30])
    Image.fromarray(grey, "LA").save(tmp_path / "grey.png")
    palette.save(tmp_path / "palette.png", transparency=0)
    assert cv2.imwrite(str(tmp_path / "deep.png"), np.zeros((8, 8, 4), np.uint16))
    for name in ("grey", "palette", "deep"):
        picture = read_picture(tmp_path / f"{name}.png")
        assert picture.transparent, name
        assert (picture.pixels == PLAIN.colour).all(), name
    (tmp_path / "opaque.png").write_bytes(encoded(with_alpha(upright_picture(), np.full((24, 40), 255, np.uint8)), "PNG"))
    picture = read_picture(tmp_path / "opaque.png")
    assert not picture.transparent
    np.testing.assert_array_equal(picture.pixels, upright_picture())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a picture that can be decoded"),
        (b"<!DOCTYPE html>", "not a picture that can be decoded"),
        (b"GIF89a" + bytes(50), "it is GIF, whatever its name; save it as JPEG or PNG"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "it is HEIC, whatever its name"),
        (b"MM\0*" + bytes(50), "it is TIFF"),
    ],
)
def test_a_wrong_suffix_is_reported_with_the_real_format(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(content)
    with pytest.raises(PictureError, match=reason):
        read_pixels(file)


def test_a_jpeg_with_a_missing_part_is_refused(tmp_path: Path) -> None:
    whole = cv2.imencode(".jpg", np.tile(upright_picture(), (4, 4, 1)), (cv2.IMWRITE_JPEG_RST_INTERVAL, 1))[1].tobytes()
    markers = [at for at in range(len(whole) - 1) if whole[at] == 0xFF and 0xD0 <= whole[at + 1] <= 0xD7]
    (tmp_path / "lost.jpg").write_bytes(whole[: markers[2]] + whole[markers[5] :])
    (tmp_path / "cut.bmp").write_bytes(cv2.imencode(".bmp", upright_picture())[1].tobytes()[:-30])
    with pytest.raises(PictureError, match=r"lost.jpg: a part in its middle is missing"):
        read_pixels(tmp_path / "lost.jpg")
    with pytest.raises(PictureError, match=r"cut.bmp: .*its end is missing"):
        read_pixels(tmp_path / "cut.bmp")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "JPEG"])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_truncated_picture_gives_only_our_error(kind: str, channels: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (100, 140, channels), np.uint8)
    whole = encoded(pixels[..., :3] if kind in ("JPEG", "BMP") else pixels, kind)
    for length in range(1, len(whole) - 20, len(whole) // 25):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(PictureError):
            read_pixels(tmp_path / "cut")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("channels", [3, 4])
def test_a_damaged_png_gives_only_our_error(channels: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = bytearray(encoded(np.random.default_rng(3).integers(0, 256, (100, 140, channels), np.uint8), "PNG"))
    whole[len(whole) // 2] ^= 1
    (tmp_path / "bad.png").write_bytes(whole)
    with pytest.raises(PictureError, match=r"bad\.png: not a picture that can be decoded: a part of it is damaged$"):
        read_pixels(tmp_path / "bad.png")
    assert capfd.readouterr() == ("", "")


def test_every_unreadable_picture_is_named(tmp_path: Path) -> None:
    good, *bad = (tmp_path / name for name in ("a.png", "b.png", "c.jpg"))
    good.write_bytes(encoded(upright_picture(), "PNG"))
    for file in bad:
        file.write_bytes(b"nothing")
    problems = find_unreadable([good, *bad])
    assert unreadable_message(problems[:1], 3) == f"{bad[0]}: not a picture that can be decoded"
    assert unreadable_message(problems, 3).splitlines()[0] == "2 of 3 pictures cannot be read; mend or remove them:"
    assert all(str(file) in unreadable_message(problems, 3) for file in bad)
    assert unreadable_message(problems * 40, 99).endswith("\n  and 30 more")


def test_files_of_other_kinds_are_counted_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("a.HEIC", "b/c.heic", "b/d.tif", "e.jpg", ".f.heic", ".g/h.heic", "__MACOSX/i.heic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert unread_kinds(tmp_path) == {".heic": 2, ".tif": 1}
    assert describe_unread_kinds(unread_kinds(tmp_path)).startswith("3 files of a kind that is not read (.heic 2, .tif 1), only .bmp")


@given(st.text(max_size=12))
def test_labels_are_normalized_to_one_line(name: str) -> None:
    try:
        label = label_of(name)
    except LabelError:
        assert len(name.strip().splitlines()) != 1
        return
    assert is_label(label)
    assert label_of(f" {label}\t") == label


def test_odd_names_of_label_folders_give_a_remark() -> None:
    remarks = list(label_remarks(["metal", "Metal", "metal ", "glass"]))
    assert remarks == [
        "'metal ': the folder's name has space around it; its pictures count as metal",
        "Metal and metal: two labels that differ in upper and lower case only; if they are one, rename a folder",
    ]
    assert not list(label_remarks(["glass", "metal"]))
