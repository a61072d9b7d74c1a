"""Every kind of source gives the same pictures, and says in one line what is wrong with it."""

import io
import os
import struct
import tarfile
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest

from device.vision.inference.images import read_pixels
from tests.training.prepare.pictures import LABELS, drawn, encoded, fill
from training.prepare.cifar100 import LABELS as CIFAR_LABELS
from training.prepare.open_source import open_source
from training.prepare.options import PrepareError
from training.prepare.source import LARGEST_BYTES, PictureSource


def contents(source: PictureSource) -> dict[str, bytes]:
    return {offer.path: offer.read() for offer in source.pictures()}


def on_disk(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*.png")}


def zipped(folder: Path, file: Path, around: str = "") -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, around + path.relative_to(folder).as_posix())
    return file


def tarred(folder: Path, file: Path, mode: str = "w") -> Path:
    with tarfile.open(file, mode) as archive:
        archive.add(folder, ".")
    return file


def test_a_folder_gives_its_pictures_and_keeps_the_rest_in_mind(source: Path) -> None:
    (source / "splits").mkdir()
    (source / "splits" / "train.txt").write_text("glass/shot_001.png\n")
    (source / "empty").mkdir()
    (source / "glass" / "._shot_001.png").write_bytes(b"x")
    (source / ".cache").mkdir()
    (source / ".cache" / "1.png").write_bytes(b"x")
    (source / "glass" / "photo.HEIC").write_bytes(b"x")
    expected = {path: data for path, data in on_disk(source).items() if "/." not in path and not path.startswith(".")}
    opened = open_source(str(source))
    assert opened.folder == source
    assert contents(opened) == expected
    assert opened.names.others == {".heic": 1}
    assert {"empty", "splits", *LABELS} <= opened.names.folders
    assert contents(open_source(source.as_uri())) == expected


def test_each_folder_is_read_once_and_only_files_count(source: Path) -> None:
    before = set(contents(open_source(str(source))))
    (source / "glass" / "round").symlink_to(source, target_is_directory=True)
    os.mkfifo(source / "glass" / "pipe.png")
    assert set(contents(open_source(str(source)))) == before
    (source / "glass" / "gone.png").symlink_to(source / "nowhere.png")
    assert {offer.path for offer in open_source(str(source)).pictures()} == before | {"glass/gone.png"}


def test_a_file_name_that_is_not_utf_8_is_reported_and_skipped(source: Path) -> None:
    bad = os.fsencode(source / "glass") + b"/caf\xe9.png"
    try:
        Path(os.fsdecode(bad)).write_bytes(encoded(drawn(1)))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    opened = open_source(str(source))
    assert contents(opened) == {path: data for path, data in on_disk(source).items() if "caf" not in path}
    assert list(opened.names.strange.values()) == ["its name is not UTF-8"]


@pytest.mark.parametrize("around", ["", "trashnet-main/resized/"])
def test_a_zip_gives_what_was_packed(source: Path, tmp_path: Path, around: str) -> None:
    (source / "empty").mkdir()
    opened = open_source(str(zipped(source, tmp_path / "Photos.ZIP", around)))
    assert opened.folder is None
    assert contents(opened) == {around + path: data for path, data in on_disk(source).items()}
    assert f"{around}empty" in opened.names.folders


@pytest.mark.parametrize(("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz"), ("tar.bz2", "w:bz2"), ("txz", "w:xz")])
def test_a_tar_gives_what_was_packed_however_it_is_compressed(source: Path, tmp_path: Path, suffix: str, mode: str) -> None:
    opened = open_source(str(tarred(source, tmp_path / f"photos.{suffix}", mode)))
    assert contents(opened) == on_disk(source)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_that_was_cut_is_refused_wherever_the_cut_is(source: Path, tmp_path: Path, mode: str) -> None:
    whole = tarred(source, tmp_path / "whole.tar.gz", mode).read_bytes()
    cut = tmp_path / ("cut.tar" if mode == "w" else "cut.tar.gz")
    for size in [*range(tarfile.BLOCKSIZE, len(whole) // 2, len(whole) // 2 // 12 // 512 * 512 or 97), len(whole) // 2 + 3]:
        cut.write_bytes(whole[:size])
        with pytest.raises(PrepareError, match=r"cut\.tar.*: damaged .*; get the archive again"):
            contents(open_source(str(cut)))


def test_a_damaged_member_of_a_zip_is_named(source: Path, tmp_path: Path) -> None:
    file = zipped(source, tmp_path / "photos.zip")
    data = bytearray(file.read_bytes())
    name = "glass/shot_003.png"
    with zipfile.ZipFile(file) as archive:
        start = archive.getinfo(name).header_offset + 30 + len(name)
    data[start + 60] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(PrepareError, match=rf"photos\.zip: {name}: damaged"):
        contents(open_source(str(file)))
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(PrepareError, match=r"photos\.zip: damaged"):
        contents(open_source(str(file)))


def test_members_that_point_out_of_an_archive_are_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "photos.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("glass/1.png", "../glass/2.png", "/glass/3.png", "glass/../../4.png", "__MACOSX/glass/._1.png"):
            archive.writestr(name, encoded(drawn(1)))
    opened = open_source(str(file))
    assert set(contents(opened)) == {"glass/1.png"}
    assert set(opened.names.strange.values()) == {"points out of the source"}
    assert len(opened.names.strange) == 3


def test_a_zip_without_a_name_encoding_needs_the_option(tmp_path: Path) -> None:
    file = tmp_path / "photos.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("AAAA/1.png", encoded(drawn(1)))
    file.write_bytes(file.read_bytes().replace(b"AAAA", "鼠标".encode("gbk")))
    with pytest.raises(PrepareError, match=r"photos.zip: does not say how its names are spelt; say it with --names-encoding"):
        contents(open_source(str(file)))
    assert set(contents(open_source(str(file), "gbk"))) == {"鼠标/1.png"}
    with pytest.raises(PrepareError, match=r"photos.zip: its names are not spelt in utf-8"):
        contents(open_source(str(file), "utf-8"))


def test_an_encrypted_zip_and_a_monstrous_member_are_refused(source: Path, tmp_path: Path) -> None:
    file = zipped(source, tmp_path / "photos.zip")
    plain = file.read_bytes()
    entries = plain.index(b"PK\x01\x02")
    encrypted = bytearray(plain)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := plain.find(mark, at + 1)) >= 0:
            encrypted[at + flags] |= 1
    file.write_bytes(encrypted)
    with pytest.raises(PrepareError, match=r"photos.zip: .*: is encrypted; unpack it first"):
        contents(open_source(str(file)))
    huge = bytearray(plain)
    first = plain.index(b"PK\x01\x02", entries)
    while not plain[first + 46 :].startswith(b"glass/shot"):
        first = plain.index(b"PK\x01\x02", first + 1)
    struct.pack_into("<I", huge, first + 24, LARGEST_BYTES + 1)
    file.write_bytes(huge)
    with pytest.raises(PrepareError, match=r"photos.zip: glass/shot_000.png: 256 MiB; expected a picture"):
        contents(open_source(str(file)))


def test_a_place_that_fsspec_knows_gives_the_same_pictures(source: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    store.put(str(source), "/bucket/photos", recursive=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(source, "photos")
    store.pipe_file("/bucket/photos.tgz", packed.getvalue())
    try:
        assert contents(open_source("memory://bucket/photos/")) == on_disk(source)
        assert contents(open_source("memory://bucket/photos.tgz")) == {f"photos/{path}": data for path, data in on_disk(source).items()}
        with pytest.raises(PrepareError, match=r"memory://bucket/nowhere: nothing there"):
            contents(open_source("memory://bucket/nowhere"))
        with pytest.raises(PrepareError, match=r"memory://bucket/nowhere.zip: nothing there"):
            contents(open_source("memory://bucket/nowhere.zip"))
    finally:
        store.rm("/bucket", recursive=True)


def test_a_store_that_is_not_known_is_named() -> None:
    with pytest.raises(PrepareError, match=r"nosuch://bucket/photos: .*nosuch"):
        contents(open_source("nosuch://bucket/photos"))


def test_cifar_100_comes_as_a_folder_for_each_split_and_label(cifar100: types.SimpleNamespace, tmp_path: Path) -> None:
    found = contents(open_source("cifar100"))
    assert list(found) == [
        "train/apple/00000.png",
        "train/worm/00001.png",
        "train/apple/00002.png",
        "train/lawn_mower/00003.png",
        "test/worm/00000.png",
        "test/lawn_mower/00001.png",
    ]
    (tmp_path / "picture.png").write_bytes(found["train/worm/00001.png"])
    assert np.array_equal(read_pixels(tmp_path / "picture.png"), cifar100.pictures[1])


def test_cifar_100_that_cannot_be_downloaded_is_one_line(cifar100: types.SimpleNamespace) -> None:
    def fail(label_mode: str) -> object:
        raise Exception("URL fetch failure on https://example.org/cifar.tar.gz: no network\nmore")

    cifar100.module.load_data = fail
    with pytest.raises(PrepareError, match=r"^cifar100: Keras cannot download it: URL fetch failure .*: no network$"):
        contents(open_source("cifar100"))


def test_the_hundred_labels_are_those_of_the_data_set() -> None:
    assert len(CIFAR_LABELS) == len(set(CIFAR_LABELS)) == 100
    assert list(CIFAR_LABELS) == sorted(CIFAR_LABELS)
    assert [CIFAR_LABELS.index(label) for label in ("bottle", "can", "cup", "rose", "telephone")] == [9, 16, 28, 70, 86]


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrepareError, match=r"nowhere: expected a folder .*, a zip or tar of one, a URL, or cifar100"):
        open_source(str(tmp_path / "nowhere"))
    (tmp_path / "notes.txt").touch()
    with pytest.raises(PrepareError, match=r"notes.txt: expected a folder or an archive \(.zip, .tar"):
        open_source(str(tmp_path / "notes.txt"))
    fill(tmp_path / "photos", per_label=1)
    (tmp_path / "photos" / "glass").chmod(0)
    if os.geteuid():
        with pytest.raises(PrepareError, match=r"glass: Permission denied"):
            contents(open_source(str(tmp_path / "photos")))
    (tmp_path / "photos" / "glass").chmod(0o755)
