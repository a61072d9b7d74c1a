"""Which pictures a series has, in which order."""

from collections import Counter

import pytest

from training.render import benchmark_places as bench
from training.render import random_places as anywhere
from training.render import shots
from training.render.catalogue import Kind


def unbuilt(rng):
    raise AssertionError("nothing is modelled here")


@pytest.fixture
def kinds():
    return {
        "metal": [Kind("metal", "can", unbuilt, 3), Kind("metal", "lid", unbuilt, 1)],
        "paper": [Kind("paper", "ball", unbuilt, 1), Kind("paper", "page", unbuilt, 1), Kind("paper", "bag", unbuilt, 1)],
    }


def test_a_bench_cut_short_has_every_place_and_label_alike(kinds):
    places = bench.places()
    series = shots.in_turn(places, kinds, 4, 1)
    assert len(series) == 4 * 2 * len(places) == len({shot.image for shot in series})
    for done in range(2 * len(places), len(series), 2 * len(places)):
        assert set(Counter((shot.place.name, shot.kind.label) for shot in series[:done]).values()) == {done // (2 * len(places))}


def test_a_larger_bench_begins_with_the_smaller_one(kinds):
    assert shots.in_turn(bench.places(), kinds, 5, 1)[: 2 * 2 * 12] == shots.in_turn(bench.places(), kinds, 2, 1)


def test_a_place_of_the_bench_goes_through_all_kinds(kinds):
    first = [shot for shot in shots.in_turn(bench.places(), kinds, 3, 1) if shot.place.name == "rails" and shot.kind.label == "paper"]
    assert {shot.kind.name for shot in first} == {"ball", "page", "bag"}


def test_held_out_kinds_take_turns_with_the_others(kinds):
    turns = shots.alternating(kinds["metal"], kinds["paper"])
    assert [kind.label for kind in turns] == ["metal", "paper"] * 3
    assert {kind.name for kind in turns} == {"can", "lid", "ball", "page", "bag"}


def test_each_place_gets_its_empty_view_early():
    views = shots.empties(bench.places(), 2, 1)
    assert len({shot.place.name for shot in views[:12]}) == 12
    assert all(shot.mask is None and "/empty/" in shot.image for shot in views)


def test_items_spread_evenly_over_places_labels_and_kinds(kinds):
    places = [anywhere.place(1, number) for number in range(20)]
    series = shots.dealt(places, kinds, 410, 1)
    assert len(series) == 410 == len({shot.image for shot in series})
    assert set(Counter(shot.place.name for shot in series).values()) == {20, 21}
    assert Counter(shot.kind.label for shot in series)["metal"] == 205
    names = Counter(shot.kind.name for shot in series)
    assert 2 < names["can"] / names["lid"] < 4.5
    assert series == shots.dealt(places, kinds, 410, 1)


def test_every_picture_has_its_own_random_numbers(kinds):
    series = [*shots.empties(bench.places()[:2], 2, 1), *shots.in_turn(bench.places()[:2], kinds, 3, 1), *shots.empties(bench.places()[:2], 2, 2)]
    assert len({tuple(shot.generator().random(3)) for shot in series}) == len(series)
