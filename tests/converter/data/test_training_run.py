"""Reading and checking a run folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from converter.data.photos import PhotosError
from converter.data.training_run import RunError, read_run, run_from_labels_file


def test_a_run_has_its_photos_and_labels(shapes_run: Path, photos: Path) -> None:
    run = read_run(shapes_run, photos)
    assert (len(run.train), len(run.val)) == (48, 24)
    assert {run.labels[run.target(photo)] == photo.label for photo in run.train} == {True}


def drop(name: str) -> Callable[[Path], object]:
    return lambda run: (run / name).unlink()


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda run: (run / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop("model.keras"), "no finished training run: model.keras is missing"),
        (drop("val.txt"), "val.txt is missing"),
        (write("labels.txt", "disc\n"), "labels.txt: expected at least two labels"),
        (write("labels.txt", "disc\ndisc\nframe\n"), "none twice"),
        (write("labels.txt", "disc\nframe\n"), "lies in a folder that .*labels.txt does not name"),
        (write("labels.txt", "disc\nframe\nstreifen ≡\nblob\n"), "train.txt: no photo of blob"),
        (write("val.txt", "\n"), "val.txt: expected the name of one photo per line"),
        (write("val.txt", "disc/disc01.png\n"), "val.txt: disc/disc01.png is in train.txt too"),
    ],
)
def test_a_damaged_run_is_refused_with_reason(own_run: Path, photos: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(own_run)
    with pytest.raises(RunError, match=message):
        read_run(own_run, photos)


def test_label_files_of_any_system_are_read(own_photos: Path, tmp_path: Path) -> None:
    (own_photos / "disc").rename(own_photos / "de\u0301chet")
    labels = tmp_path / "labels.txt"
    names = ["d\u00e9chet", *sorted(folder.name for folder in own_photos.iterdir() if folder.name != "de\u0301chet")]
    labels.write_bytes(b"\xef\xbb\xbf" + "".join(f"{name}\r\n" for name in names).encode())
    assert run_from_labels_file(tmp_path / "model.keras", labels, own_photos, 1).labels == tuple(names)
    labels.write_bytes(b"\xe9\n")
    with pytest.raises(RunError, match=r"labels.txt: expected UTF-8 text"):
        run_from_labels_file(tmp_path / "model.keras", labels, own_photos, 1)


def test_a_missing_folder_and_a_missing_photo_are_named(own_run: Path, photos: Path, own_photos: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere: expected the folder that `training fit --out` wrote"):
        read_run(own_run / "nowhere", photos)
    (own_photos / "frame" / "frame00.png").unlink()
    with pytest.raises(PhotosError, match=r"val.txt: names frame/frame00.png, which is not below"):
        read_run(own_run, own_photos)
