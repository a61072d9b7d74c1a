"""Labelled photos on disk, and their splits."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from converter.data.photos import Photo, PhotosError, empty_folders, read_fold, read_part, read_photos, read_pixels, read_split


def test_a_drawn_split_has_every_photo_once(photos: Path) -> None:
    split = read_split(photos, val_share=0.25, seed=3)
    assert sorted(split.train + split.val) == read_photos(photos)
    assert split.counts() == dict.fromkeys(split.labels, 18)
    assert read_split(photos, val_share=0.25, seed=3) == split != read_split(photos, val_share=0.25, seed=4)


def test_split_lists_are_followed(own_photos: Path) -> None:
    (own_photos / "splits").mkdir()
    (own_photos / "splits" / "my_train.txt").write_text("disc/disc01.png\nframe/frame02.png\n")
    (own_photos / "splits" / "my_val.txt").write_text("disc/disc05.png\n")
    split = read_split(own_photos)
    assert [photo.name for photo in split.train] == ["disc/disc01.png", "frame/frame02.png"]
    assert [photo.name for photo in split.val] == ["disc/disc05.png"]
    (own_photos / "splits" / "my_val.txt").write_text("disc/disc01.png\n")
    with pytest.raises(PhotosError, match=r"my_val.txt: disc/disc01.png is in the training list too"):
        read_split(own_photos)
    (own_photos / "splits" / "my_val.txt").write_text("disc/disc99.png\n")
    with pytest.raises(PhotosError, match=r"my_val.txt: names disc/disc99.png, which is not below"):
        read_split(own_photos)


def test_lists_of_any_system_are_read_and_bad_ones_named(own_photos: Path) -> None:
    (own_photos / "splits").mkdir()
    train = own_photos / "splits" / "my_train.txt"
    train.write_bytes(b"\xef\xbb\xbfdisc/disc01.png\r\nframe/frame02.png\r\n")
    (own_photos / "splits" / "my_val.txt").write_text("disc/disc05.png\n")
    assert [photo.name for photo in read_split(own_photos).train] == ["disc/disc01.png", "frame/frame02.png"]
    train.write_bytes(b"disc/\xe9.png\n")
    with pytest.raises(PhotosError, match=r"my_train.txt: expected UTF-8 text"):
        read_split(own_photos)


def test_hidden_files_and_folders_are_no_photos(own_photos: Path) -> None:
    before = read_photos(own_photos)
    (own_photos / "disc" / "._disc01.png").write_bytes(b"what a Mac leaves beside a file")
    (own_photos / "disc" / "folder.jpg").mkdir()
    shutil.copytree(own_photos / "disc", own_photos / ".thumbnails")
    assert read_photos(own_photos) == before


@pytest.mark.parametrize(
    ("name", "reason"), [(b"new\nline.png", "line break"), (b"return\r.png", "line break"), (b"latin\xe9.png", "its name is not UTF-8")]
)
def test_a_name_that_a_list_cannot_hold_is_refused(own_photos: Path, name: bytes, reason: str) -> None:
    try:
        shutil.copy(own_photos / "disc" / "disc01.png", own_photos / "disc" / os.fsdecode(name))
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(PhotosError, match=reason) as refused:
        read_photos(own_photos)
    assert "\n" not in str(refused.value)


def test_labels_are_normalized_unicode(own_photos: Path) -> None:
    (own_photos / "disc").rename(own_photos / "de\u0301chet")
    photo = next(photo for photo in read_photos(own_photos) if photo.label == "d\u00e9chet")
    assert photo.path.is_file()
    assert not empty_folders(own_photos), "its folder is not taken for an empty one"


def test_pixels_are_rgb_and_bad_pictures_are_named(photos: Path, tmp_path: Path) -> None:
    import cv2

    assert cv2.imwrite(str(tmp_path / "red.png"), np.full((2, 3, 3), (0, 0, 255), np.uint8))
    assert read_pixels(tmp_path / "red.png").tolist() == [[[255, 0, 0]] * 3] * 2
    (tmp_path / "empty.jpg").touch()
    for name in ("empty.jpg", "missing.jpg"):
        with pytest.raises(PhotosError, match=name):
            read_pixels(tmp_path / name)


def test_a_folder_without_photos_or_with_one_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotosError, match="found no photo"):
        read_split(tmp_path)
    with pytest.raises(PhotosError, match="found none"):
        read_split(tmp_path / "nowhere")
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.jpg").touch()
    with pytest.raises(PhotosError, match=r"at least two labels, found only"):
        read_split(tmp_path)


@pytest.fixture
def prepared(photos: Path, tmp_path: Path) -> Path:
    """A prepared data set over `photos`: discs and frames, six of them for training, two for validation, one for the test, one left out."""
    folder = tmp_path / "set"
    folder.mkdir()
    lines = ["path,label,group,split,fold,sha256,width,height,flags"]
    for label in ("disc", "frame"):
        for number, (split, fold) in enumerate([("train", 0), ("train", 1), ("train", 1), ("val", 0), ("test", ""), ("", "")]):
            name = f"{label}/{label}{number:02}.png"
            lines.append(f"{name},{label},{name},{split},{fold},{'0' * 64},48,40,{'' if split else 'tiny conflict'}")
    (folder / "manifest.csv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    write_info(folder, source=str(photos))
    return folder


def write_info(folder: Path, **changed: object) -> None:
    info = {
        "origin": "photos",
        "source": "images",
        "labels": ["disc", "frame"],
        "pictures": 12,
        "counts": {},
        "flags": {},
        "folds": 2,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.2, 0.2, 0.2],
        "options": {"seed": 0},
        "fingerprint": hashlib.sha256((folder / "manifest.csv").read_bytes()).hexdigest(),
        "format": 1,
    }
    (folder / "dataset.json").write_text(json.dumps(info | changed))


def names(photos: Iterable[Photo]) -> list[str]:
    return [photo.name for photo in photos]


def test_a_prepared_data_set_defines_its_split(prepared: Path, photos: Path) -> None:
    split = read_split(prepared, val_share=0.9, seed=5)
    assert split.labels == ("disc", "frame")
    assert names(split.train) == ["disc/disc00.png", "disc/disc01.png", "disc/disc02.png"] + [f"frame/frame0{n}.png" for n in range(3)]
    assert names(split.val) == ["disc/disc03.png", "frame/frame03.png"]
    assert split.val[0] == Photo("disc/disc03.png", "disc", photos / "disc" / "disc03.png")
    assert read_pixels(split.val[0].path).shape == (40, 48, 3)
    assert names(read_photos(prepared)) == sorted(f"{label}/{label}0{n}.png" for label in split.labels for n in range(5))


def test_a_prepared_data_set_finds_the_masks_that_its_manifest_names(prepared: Path, photos: Path) -> None:
    lines = (prepared / "manifest.csv").read_text().splitlines()
    with_masks = [f"{lines[0]},mask"] + [f"{line},{'masks/disc/disc00.png.png' if 'disc00' in line else ''}" for line in lines[1:]]
    (prepared / "manifest.csv").write_text("".join(f"{line}\n" for line in with_masks))
    write_info(prepared, source=str(photos), format=2, masks={"light card": 1, "none": 9})
    assert [photo.mask for photo in read_split(prepared).train[:2]] == [prepared / "masks/disc/disc00.png.png", None]


def test_parts_and_folds_of_a_prepared_data_set_are_read(prepared: Path) -> None:
    assert names(read_part(prepared, "test")) == ["disc/disc04.png", "frame/frame04.png"]
    assert read_part(prepared, "train") == read_split(prepared).train
    assert read_part(prepared, "all") == tuple(read_photos(prepared))
    fold = read_fold(prepared, 1)
    assert names(fold.val) == names(read_part(prepared, "fold1")) == ["disc/disc01.png", "disc/disc02.png", "frame/frame01.png", "frame/frame02.png"]
    assert names(fold.train) == ["disc/disc00.png", "disc/disc03.png", "frame/frame00.png", "frame/frame03.png"]
    with pytest.raises(PhotosError, match=r"manifest.csv: no picture in fold2; expected one of fold0, fold1, test, train, val"):
        read_fold(prepared, 2)


def test_parts_of_a_plain_folder_are_read(own_photos: Path) -> None:
    split = read_split(own_photos)
    assert read_part(own_photos, "train") == split.train
    assert read_part(own_photos, "val") == split.val
    assert len(read_part(own_photos, "all")) == 72
    with pytest.raises(PhotosError, match=r"splits: expected exactly one \*test.txt"):
        read_part(own_photos, "test")
    (own_photos / "splits").mkdir()
    (own_photos / "splits" / "test.txt").write_text("disc/disc05.png\n")
    assert names(read_part(own_photos, "test")) == ["disc/disc05.png"]
    with pytest.raises(PhotosError, match=r"no part minival; a plain folder has train, val, test and all"):
        read_part(own_photos, "minival")
    with pytest.raises(PhotosError, match=r"has no folds"):
        read_fold(own_photos, 0)


def test_a_data_set_can_be_moved_with_its_pictures(prepared: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, prepared / "images")
    write_info(prepared, source="images")
    moved = prepared.rename(tmp_path / "moved")
    assert all(photo.path.is_relative_to(moved) and photo.path.is_file() for photo in read_photos(moved))


def test_an_incomplete_prepared_data_set_is_refused(prepared: Path, tmp_path: Path) -> None:
    manifest, info = prepared / "manifest.csv", prepared / "dataset.json"
    whole, about = manifest.read_bytes(), info.read_bytes()
    manifest.write_bytes(whole.replace(b"disc01.png,disc", b"disc01.png,frame"))
    with pytest.raises(PhotosError, match=r"manifest.csv: not the one that dataset.json was written with"):
        read_split(prepared)
    manifest.write_bytes(b"name,label\n")
    write_info(prepared, source=str(tmp_path))
    with pytest.raises(PhotosError, match=r"manifest.csv: expected the columns path,label,group"):
        read_split(prepared)
    manifest.write_bytes(whole.replace(b",48,40,", b",48,"))
    write_info(prepared, source=str(tmp_path))
    with pytest.raises(PhotosError, match=r"manifest.csv: line 2: not enough values"):
        read_photos(prepared)
    manifest.write_bytes(whole)
    write_info(prepared, source="gone")
    with pytest.raises(PhotosError, match=r"gone: the pictures of .* were in this folder, which no longer exists"):
        read_photos(prepared)
    write_info(prepared, format=3)
    with pytest.raises(PhotosError, match=r"dataset.json: format: expected 1 or 2, got 3"):
        read_photos(prepared)
    info.write_bytes(about.replace(b'"labels": ["disc", "frame"]', b'"labels": 3'))
    with pytest.raises(PhotosError, match=r"dataset.json: labels: expected a list"):
        read_photos(prepared)
    info.unlink()
    (prepared / "records.sqlite3").touch()
    with pytest.raises(PhotosError, match=r"dataset.json: missing, the data set is unfinished; run `training prepare` again"):
        read_photos(prepared)
