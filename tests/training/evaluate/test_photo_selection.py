"""Which photos a model is measured on."""

import hashlib
import shutil
import unicodedata
from pathlib import Path

import msgspec
import numpy as np
import pytest

from converter.data.manifest import COLUMNS, DatasetInfo
from device.common.errors import SortbinError
from training.evaluate.models import Model, ModelOutputs
from training.evaluate.photo_selection import select_photos

LABELS = ("Dose", "Töpfe")


def model(trained_on: frozenset[str] = frozenset(), chosen_by: tuple[str, ...] = ()) -> Model:
    nothing = ModelOutputs(np.zeros((0, 2)), np.zeros((0, 1), np.float32))
    return Model(Path("some/run"), LABELS, "float32", 32, "", lambda pictures: nothing, trained_on=trained_on, chosen_by=chosen_by)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A folder of three photos for each label, named in another Unicode form."""
    data = tmp_path / "plain"
    for label in LABELS:
        folder = data / unicodedata.normalize("NFD", label)
        folder.mkdir(parents=True)
        for number in range(3):
            (folder / f"{number}.png").write_bytes(b"")
    return data


def listed(data: Path, name: str, *photos: str) -> None:
    (data / "splits").mkdir(exist_ok=True)
    (data / "splits" / name).write_text("".join(f"{photo}\n" for photo in photos), encoding="utf-8")


def test_labels_match_in_any_unicode_form(plain: Path) -> None:
    found = select_photos(plain, "all", model())
    assert found.targets == (0, 0, 0, 1, 1, 1)
    assert found.name == "plain"


def test_lists_define_the_splits(plain: Path) -> None:
    listed(plain, "one-indexed-files_val.txt", "Dose/1.png")
    listed(plain, "train.txt", "Dose/0.png", "Dose/2.png")
    assert [photo.name for photo in select_photos(plain, "val", model()).photos] == ["Dose/1.png"]
    assert len(select_photos(plain, "train", model()).photos) == 2


def test_without_lists_the_runs_own_lists_are_used(plain: Path) -> None:
    run = model(frozenset({"Dose/0.png"}), ("Dose/1.png", "Dose/2.png"))
    assert [photo.name for photo in select_photos(plain, "val", run).photos] == ["Dose/1.png", "Dose/2.png"]
    assert [photo.name for photo in select_photos(plain, "train", run).photos] == ["Dose/0.png"]


@pytest.mark.parametrize(("split", "run"), [("val", model()), ("test", model()), ("val", model(chosen_by=("elsewhere/1.png",)))])
def test_a_split_without_list_gives_one_clear_line(split: str, run: Model, plain: Path) -> None:
    with pytest.raises(SortbinError, match=rf"plain: no list splits/\*{split}\.txt says .* --split all"):
        select_photos(plain, split, run)


def test_an_empty_split_is_refused(plain: Path) -> None:
    listed(plain, "val.txt")
    with pytest.raises(SortbinError, match="no photo in split val; choose another with --split"):
        select_photos(plain, "val", model())


def test_an_unknown_label_is_named_with_its_photo(plain: Path) -> None:
    (plain / "Glas").mkdir()
    (plain / "Glas" / "7.png").write_bytes(b"")
    with pytest.raises(SortbinError, match=r"Glas/7\.png is labelled Glas; expected a label of some/run: Dose, Töpfe"):
        select_photos(plain, "all", model())


@pytest.fixture
def prepared(plain: Path, tmp_path: Path) -> Path:
    """A prepared data set of `plain`: one photo a split, one left out."""
    folder = tmp_path / "prepared"
    folder.mkdir()
    splits = {"0": "train", "1": "val", "2": ""}
    photos = sorted(path for path in plain.rglob("*.png"))
    rows = [f"{p.relative_to(plain).as_posix()},{unicodedata.normalize('NFC', p.parent.name)},g,{splits[p.stem]},,x,1,1," for p in photos]
    manifest = "\n".join([",".join(COLUMNS), *rows]) + "\n"
    (folder / "manifest.csv").write_bytes(manifest.encode())
    none = (0.0, 0.0, 0.0)
    info = DatasetInfo("plain", "../plain", LABELS, 6, {}, {}, 0, none, none, {}, hashlib.sha256(manifest.encode()).hexdigest())
    (folder / "dataset.json").write_bytes(msgspec.json.encode(info))
    return folder


def test_a_prepared_data_set_uses_its_splits(prepared: Path) -> None:
    val, everything = (select_photos(prepared, split, model()) for split in ("val", "all"))
    assert [photo.path.name for photo in val.photos] == ["1.png", "1.png"]
    assert all(photo.path.is_file() for photo in val.photos)
    assert val.targets == (0, 1)
    assert len(everything.photos) == 4


def test_missing_pictures_of_a_prepared_data_set_are_reported(prepared: Path, plain: Path) -> None:
    shutil.rmtree(plain)
    with pytest.raises(SortbinError, match="no longer exists"):
        select_photos(prepared, "val", model())


def test_a_missing_split_of_a_prepared_data_set_is_refused(prepared: Path) -> None:
    with pytest.raises(SortbinError, match="prepared: no photo in split test"):
        select_photos(prepared, "test", model())
