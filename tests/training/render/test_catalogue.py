"""Which pictures are rendered, and that each has its own random numbers."""

from collections import Counter

import pytest

from training.render import catalogue
from training.render.catalogue import ItemPicture


def nothing(rng):
    raise AssertionError("no test here models anything")


@pytest.fixture(scope="module")
def drawer():
    """A label with three kinds, one of them three times as common."""
    for name, share in (("spoon", 1), ("fork", 3), ("knife", 1)):
        catalogue.kind("drawer", name, share=share)(nothing)
    return "drawer"


def test_kinds_are_dealt_by_their_shares_and_numbered(drawer):
    dealt = catalogue.pictures(drawer, 10, seed=1)
    assert Counter(picture.kind.name for picture in dealt) == {"fork": 6, "spoon": 2, "knife": 2}
    assert len({picture.file for picture in dealt}) == 10
    assert [picture.number for picture in dealt if picture.kind.name == "fork"] == [0, 1, 2, 3, 4, 5]


def test_a_short_series_shows_every_kind_once(drawer):
    assert {picture.kind.name for picture in catalogue.pictures(drawer, 3, seed=1)} == {"spoon", "fork", "knife"}


def test_a_longer_series_begins_with_the_shorter_one(drawer):
    assert catalogue.pictures(drawer, 12, seed=1)[:5] == catalogue.pictures(drawer, 5, seed=1)


def test_pictures_differ_by_kind_number_and_seed_only(drawer):
    spoon, fork, _ = catalogue.kinds(drawer)
    first = ItemPicture(spoon, 0, 1)
    draws = {tuple(picture.generator().random(4)) for picture in (first, ItemPicture(spoon, 1, 1), ItemPicture(spoon, 0, 2), ItemPicture(fork, 0, 1))}
    assert len(draws) == 4
    assert list(ItemPicture(spoon, 0, 1).generator().random(4)) == list(first.generator().random(4))


def test_a_kind_cannot_be_registered_twice(drawer):
    with pytest.raises(ValueError, match="drawer already has a kind spoon"):
        catalogue.kind(drawer, "spoon")(nothing)


def test_kinds_are_asked_for_by_name_whatever_their_label(drawer):
    catalogue.kind("shelf", "spoon")(nothing)
    assert {label: [each.name for each in found] for label, found in catalogue.named(["spoon", "knife"]).items()} == {
        "drawer": ["spoon", "knife"],
        "shelf": ["spoon"],
    }


def test_an_unknown_kind_is_named_with_the_known_ones(drawer):
    with pytest.raises(catalogue.KindError, match=r"--kind ladle: expected one of .*fork, .*knife"):
        catalogue.named(["fork", "ladle"])
