"""Odd files in a folder of photos: every command reads the same ones, refuses the same ones, and names all refused ones in one run."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from converter.data.photos import folder_remarks, read_photos, read_split
from device.cli import main as sortbin
from device.vision.inference.bundle import default_bundle
from training.cli import main

BAD = ("cut.jpg", "cut.png", "empty.jpg", "gif.jpg", "heic.jpg", "lost.jpg", "page.jpg")
ODD = ("grey.png", "hidden.png", "trailing.jpg")


def fill_with_odd_files(folder: Path) -> None:
    """Files in BAD cannot be read, files in ODD can."""
    photo = np.random.default_rng(5).integers(0, 256, (64, 80, 3), np.uint8)
    jpeg, png = (cv2.imencode(suffix, photo)[1].tobytes() for suffix in (".jpg", ".png"))
    restarts = cv2.imencode(".jpg", photo, (cv2.IMWRITE_JPEG_RST_INTERVAL, 1))[1].tobytes()
    at = [place for place in range(len(restarts) - 1) if restarts[place] == 0xFF and 0xD0 <= restarts[place + 1] <= 0xD7]
    contents = {
        "cut.jpg": jpeg[: len(jpeg) // 2] + bytes(200),
        "cut.png": png[: len(png) // 2],
        "empty.jpg": b"",
        "gif.jpg": b"GIF89a" + bytes(40),
        "heic.jpg": b"\0\0\0\x18ftypheic" + bytes(40),
        "lost.jpg": restarts[: at[1]] + restarts[at[3] :],
        "page.jpg": b"<!DOCTYPE html><html></html>",
        "grey.png": cv2.imencode(".png", photo[..., 0])[1].tobytes(),
        "hidden.png": cv2.imencode(".png", np.dstack([photo, np.where(photo[..., 0] > 99, 255, 0)]))[1].tobytes(),
        "trailing.jpg": jpeg + b"\x11" * 500,
    }
    assert set(contents) == {*BAD, *ODD}
    for name, content in contents.items():
        (folder / name).write_bytes(content)


@pytest.fixture
def odd(shapes: Path, tmp_path: Path) -> Path:
    data = Path(shutil.copytree(shapes, tmp_path / "odd"))
    fill_with_odd_files(data / "red box")
    return data


def test_all_commands_refuse_and_name_the_same_files(odd: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (odd / "__MACOSX" / "red box").mkdir(parents=True)
    (odd / "__MACOSX" / "red box" / "._00.png").write_bytes(bytes(10))
    (odd / "red box" / "phone.heic").write_bytes(bytes(10))
    bad = {f"red box/{name}" for name in BAD}
    assert main(["prepare", str(odd), "--out", str(tmp_path / "set")]) == 0
    said = capfd.readouterr().out
    assert {line.split(":")[0] for line in said.splitlines() if "; left out" in line} == bad
    assert "1 picture with transparent parts, as red box/hidden.png; kept, with plain ground" in said
    assert {photo.name for photo in read_photos(odd)} - {photo.name for photo in read_photos(tmp_path / "set")} == bad

    assert sortbin(["classify", str(odd), "--json", "--bundle", str(default_bundle())]) == 1
    told = capfd.readouterr()
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert "1 file of a kind that is not read (.heic 1)" in told.err
    assert {str(Path(line["image"]).relative_to(odd)) for line in lines if "error" in line} == bad

    for command in (
        [sortbin, "teach", "--from", str(odd), "--out", str(tmp_path / "taught"), "--bundle", str(default_bundle())],
        [main, "fit", "--data", str(odd), "--weights", "none", "--out", str(tmp_path / "run")],
    ):
        run, *arguments = command
        assert run(arguments) == 2
        told = capfd.readouterr().err
        assert f"{len(bad)} of 46 pictures cannot be read; mend or remove them:\n" in told
        assert {name for name in bad if str(odd / name) in told} == bad
        assert "Traceback" not in told and "libpng" not in told and "__MACOSX" not in told
    assert not (tmp_path / "run").exists()


def test_all_commands_read_a_folder_with_a_trailing_blank(shapes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    (data / "red box ").mkdir()
    (data / "red box" / "00.png").rename(data / "red box " / "00.png")
    (data / "Red box").mkdir()
    shutil.copy(data / "red box" / "01.png", data / "Red box" / "a.png")
    shutil.copy(data / "red box" / "02.png", data / "Red box" / "b.png")
    remarks = [
        "'red box ': the folder's name has space around it; its pictures count as red box",
        "Red box and red box: two labels that differ in upper and lower case only; if they are one, rename a folder",
    ]
    assert read_split(data).labels == ("Red box", "blue can", "green jar", "red box")
    assert folder_remarks(data) == remarks
    assert main(["prepare", str(data), "--out", str(tmp_path / "set"), "--leave-out", "none"]) == 0
    assert all(remark in capfd.readouterr().out for remark in remarks[:1])
    assert set(read_split(tmp_path / "set").labels) == {"Red box", "blue can", "green jar", "red box"}
    command = ["teach", "--from", str(data), "--out", str(tmp_path / "taught"), "--bundle", str(default_bundle()), "--json"]
    assert sortbin(command) == 0
    said = capfd.readouterr()
    assert json.loads(said.out)["photos"] == {"Red box": 2, "blue can": 12, "green jar": 12, "red box": 12}
    assert all(remark in said.err for remark in remarks)


def test_ignored_files_are_reported(odd: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in BAD:
        (odd / "red box" / name).unlink()
    for name in ("a.HEIC", "b.heic", "c.tiff"):
        (odd / "blue can" / name).write_bytes(bytes(10))
    (odd / "green jar" / "more").mkdir()
    shutil.copy(odd / "green jar" / "00.png", odd / "green jar" / "more")
    shutil.copy(odd / "green jar" / "00.png", odd / "loose.png")
    passed_over = "3 files of a kind that is not read (.heic 2, .tiff 1), only .bmp, .jpeg, .jpg, .png, .webp; passed over"
    assert folder_remarks(odd) == [
        f"{odd}: {passed_over}",
        f"{odd}: 1 picture in folders below those of the labels; passed over, `training prepare` takes them",
        f"{odd}: 1 picture in no label's folder; passed over",
    ]
    assert sortbin(["teach", "--from", str(odd), "--out", str(tmp_path / "taught"), "--bundle", str(default_bundle())]) == 0
    assert passed_over in capfd.readouterr().err
    assert main(["fit", "--data", str(odd), "--weights", str(tmp_path / "none.weights.h5"), "--out", str(tmp_path / "run")]) == 2
    assert passed_over in capfd.readouterr().err
