"""Which pictures belong together."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.prepare.groups import Groups, sequence_key
from training.prepare.layout import Layout
from training.prepare.options import PrepareError

PLAIN = Layout((), by_split=False)


def keys(grouping: str, *paths: str) -> list[str]:
    key = sequence_key(grouping)
    return [key(path, PLAIN.place(path)) for path in paths]


@given(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=60))
@settings(max_examples=60)
def test_members_are_together_exactly_when_joins_connect_them(joins: list[tuple[int, int]]) -> None:
    groups = Groups(30)
    named = list(range(30))
    for one, other in joins:
        assert groups.join(one, other) == (named[one] != named[other])
        low, high = sorted((named[one], named[other]))
        named = [low if name == high else name for name in named]
    assert groups.lowest().tolist() == named


def test_a_block_is_of_successive_numbers_in_one_folder() -> None:
    nine, ten, nineteen, twenty, elsewhere = keys(
        "filename-block:10", "glass/glass9.jpg", "glass/glass10.jpg", "glass/glass19.jpg", "glass/glass20.jpg", "metal/glass10.jpg"
    )
    assert ten == nineteen
    assert len({nine, ten, twenty, elsewhere}) == 4


def test_the_last_number_of_a_name_counts() -> None:
    one, same, other, none = keys("filename-block:5", "a/2024_img_001 b.jpg", "a/2024_img_0004.png", "a/2025_img_001.jpg", "a/mug.jpg")
    assert one == same != other
    assert none == ""


def test_a_prefix_joins_over_folders_and_a_folder_over_labels() -> None:
    assert keys("filename-prefix", "a/kitchen_001.jpg", "b/kitchen-17.jpg", "a/hall_001.jpg", "a/5.jpg") == ["kitchen", "kitchen", "hall", ""]
    assert keys("folder", "a/kitchen/1.jpg", "b/kitchen/2.jpg", "a/hall/old/1.jpg", "a/1.jpg") == ["kitchen", "kitchen", "hall/old", ""]


def test_members_without_a_key_stay_alone_and_are_counted() -> None:
    groups = Groups(5)
    assert groups.join_by(["x", "", "y", "x", ""]) == 2
    assert groups.lowest().tolist() == [0, 1, 2, 0, 4]


@pytest.mark.parametrize("grouping", ["filename-block", "filename-block:0", "filename-block:ten", "folders", "filename-prefix:3"])
def test_another_grouping_is_refused_with_what_there_is(grouping: str) -> None:
    with pytest.raises(PrepareError, match=rf"--group-by {grouping}: expected filename-block:N"):
        sequence_key(grouping)
