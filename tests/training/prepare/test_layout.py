"""How a source lays out its labels."""

import unicodedata

from training.prepare.layout import Layout, PathLabel, find_layout


def test_the_folders_below_the_source_are_the_labels() -> None:
    layout = find_layout(["glass", "metal", "metal/kitchen", "."], unwrap=False)
    assert layout.place("glass/1.jpg") == PathLabel("glass", "", "")
    assert layout.place("metal/kitchen/day 1/1.jpg") == PathLabel("metal", "", "kitchen/day 1")
    assert layout.place("cover.jpg") is None


def test_folders_around_everything_are_looked_into_in_archives_alone() -> None:
    folders = ["data/resized/glass", "data/resized/metal"]
    inner = find_layout(folders, unwrap=True)
    assert inner.wrapping == ("data", "resized")
    assert inner.place("data/resized/metal/1.jpg") == PathLabel("metal", "", "")
    assert inner.unwrapped("data/resized/metal/1.jpg") == "metal/1.jpg"
    assert find_layout(folders, unwrap=False).place("data/resized/metal/1.jpg") == PathLabel("data", "", "resized/metal")


def test_folders_named_after_splits_are_splits() -> None:
    layout = find_layout(["Train/glass", "Train/metal", "valid/glass", "test/metal"], unwrap=False)
    assert layout.place("valid/glass/1.jpg") == PathLabel("glass", "val", "")
    assert layout.place("Train/metal/1.jpg") == PathLabel("metal", "train", "")
    assert layout.place("test/1.jpg") is None


def test_a_label_may_be_called_train() -> None:
    assert not find_layout(["train", "bus"], unwrap=False).by_split
    assert not find_layout(["train/a", "bus/a"], unwrap=False).by_split
    assert not find_layout(["train", "test"], unwrap=False).by_split


def test_a_label_is_composed_whatever_the_file_system_made_of_it() -> None:
    label = "café"
    place = Layout((), by_split=False).place(f"{unicodedata.normalize('NFD', label)}/1.jpg")
    assert place is not None
    assert place.label == unicodedata.normalize("NFC", label)
