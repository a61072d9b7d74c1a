"""Which photos of a place belong together."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from converter.common.progress import Progress
from training.left_out.grouping import GroupingError
from training.left_out.place import PhotoPlace, PhotoPlaceError, read_places


def noise(seed: int) -> np.ndarray:
    """A picture like no other, 64 x 64 x 3."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    return cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def kitchen(tmp_path: Path) -> Path:
    """Six photos of metal; the last is the first again, a little brighter."""
    folder = tmp_path / "kitchen"
    (folder / "metal").mkdir(parents=True)
    for number in range(6):
        picture = noise(number) if number < 5 else cv2.convertScaleAbs(noise(0), alpha=1.05)
        cv2.imwrite(str(folder / "metal" / f"img{number}.png"), picture)
    return folder


def groups(place: PhotoPlace) -> list[int]:
    return place.groups.tolist()


def read(folder: Path, *rules: str) -> PhotoPlace:
    return read_places([folder], rules, Progress())[0]


def test_near_duplicates_belong_together_without_any_rule(kitchen: Path) -> None:
    assert groups(read(kitchen)) == [0, 1, 2, 3, 4, 0]


def test_photos_of_two_labels_that_look_alike_are_two_items(kitchen: Path) -> None:
    (kitchen / "plastic").mkdir()
    (kitchen / "plastic" / "img0.png").write_bytes((kitchen / "metal" / "img0.png").read_bytes())
    assert groups(read(kitchen)) == [0, 1, 2, 3, 4, 0, 6]


def test_successive_numbers_belong_together_by_a_rule(kitchen: Path) -> None:
    assert groups(read(kitchen, "filename-block:2")) == [0, 0, 2, 2, 0, 0]


def test_a_rule_for_one_place_wins_over_the_rule_for_all(kitchen: Path) -> None:
    assert groups(read(kitchen, "kitchen=filename-block:3", "filename-prefix")) == [0] * 6
    assert groups(read(kitchen, "kitchen=filename-block:5", "filename-prefix")) == [0, 0, 0, 0, 0, 0]


def test_a_table_names_the_groups(kitchen: Path) -> None:
    lines = [f"metal/img{number}.png,{'can' if number in (1, 2) else number}" for number in range(6)]
    (kitchen / "groups.csv").write_text("\n".join(["name,group", *lines]))
    assert groups(read(kitchen)) == [0, 1, 1, 3, 4, 0]
    (kitchen / "sources.csv").write_text("\n".join(["file,label,video", *(f"metal/img{number}.png,metal,{number // 4}" for number in range(6))]))
    assert groups(read(kitchen, "sources.csv:video")) == [0] * 6


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("by-name", "--group-by by-name: expected filename-block:N with N of at least 1, filename-prefix or folder, or FILE.csv:COLUMN"),
        ("none.csv:group", "none.csv: No such file or directory; expected a table"),
        ("short.csv:group", "short.csv: no line for metal/img1.png; expected one for each photo"),
        ("short.csv:item", "short.csv: expected a column item behind the photos' names, found name, group"),
    ],
)
def test_a_wrong_rule_gets_one_clear_line(kitchen: Path, rule: str, said: str) -> None:
    (kitchen / "short.csv").write_text("name,group\nmetal/img0.png,a\n")
    with pytest.raises(GroupingError) as raised:
        read(kitchen, rule)
    assert said in str(raised.value)


def test_a_rule_of_no_place_and_two_places_of_one_name_are_refused(kitchen: Path) -> None:
    with pytest.raises(PhotoPlaceError, match="--group-by hall=folder: no place is called hall; expected one of kitchen"):
        read(kitchen, "hall=folder")
    with pytest.raises(PhotoPlaceError, match="a second place called kitchen"):
        read_places([kitchen, kitchen], [], Progress())
