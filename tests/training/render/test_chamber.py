"""Items put into a place in Blender, where its module is installed."""

import math

import numpy as np
import pytest

pytest.importorskip("bpy", reason="Blender's module is not installed")

from training.render import benchmark_places as bench
from training.render import catalogue, chamber, scene
from training.render import take_picture as taking
from training.render.places import Spot, steady

SIZE = (64, 48)


def kind(label, name):
    return next(each for each in catalogue.kinds(label) if each.name == name)


def place(name):
    return next(place for place in bench.places() if place.name == name)


def box(width, depth, height):
    return np.array([(x, y, z) for x in np.linspace(0, width, 6) for y in np.linspace(0, depth, 6) for z in np.linspace(0, height, 9)])


def cylinder(radius, height):
    return np.array(
        [
            (out * math.cos(angle), out * math.sin(angle), z)
            for angle in np.linspace(0, math.tau, 40)
            for out in (0, radius)
            for z in np.linspace(0, height, 9)
        ]
    )


@pytest.mark.parametrize(
    ("points", "does"),
    [
        (cylinder(0.33, 1.2), True),  # a can on its end
        (box(2.0, 1.5, 1.0), True),
        (box(1.4, 0.03, 1.0), False),  # an envelope on its edge
        (cylinder(0.3, 2.9), False),  # too slim for its height
        (cylinder(0.3, 0.6) + np.array([0.0, 0.0, 1.0]) * (np.hypot(*cylinder(0.3, 0.6).T[:2])[:, None] > 0.1), False),  # on a point
    ],
)
def test_a_thing_stands_only_on_a_wide_enough_foot(points, does):
    assert chamber.stands(points) is does


@pytest.mark.parametrize("name", ["rails", "green-chute"])
def test_items_lie_along_rails_and_troughs(name):
    for chance in range(6):
        rng = np.random.default_rng(chance)
        chamber.build(place(name), steady(place(name)), SIZE)
        item = chamber.posed(kind("glass", "wine-bottle").build(rng), place(name), rng)
        width, depth, height = np.ptp(item.points, axis=0)
        assert depth > 1.5 * width or height > 1.5 * width
        assert item.points[:, 2].min() == pytest.approx(0, abs=1e-4)


def test_what_stands_before_an_item_is_not_in_its_mask():
    """A ball of paper over the bars of a grid and one below them: bars cut through the mask of the second only."""
    where = place("grid")
    shares = []
    for depth in (0.0, -1.0):
        rng = np.random.default_rng(4)
        chamber.build(where, steady(where), SIZE)
        item = chamber.put(kind("paper", "ball").build(rng), Spot((0.0, 0.0, depth), 1.0))
        mask = chamber.silhouette(item, where.camera, (256, 192))
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        hull = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        shares.append((hull > 0).mean())
    assert shares[1] < 0.92 * shares[0]


def test_a_mask_lies_where_the_points_of_the_item_are_projected():
    where = place("checked-cloth")
    rng = np.random.default_rng(2)
    chamber.build(where, steady(where), SIZE)
    item = chamber.put(kind("metal", "jar-lid").build(rng), Spot((0.3, -0.2, 0.0), 1.0))
    width, height = 320, 240
    mask = chamber.silhouette(item, where.camera, (width, height))
    at = where.camera.project(item.points, width / height) * (width, height)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert [columns[0], rows[0]] == pytest.approx(at.min(axis=0), abs=1.5)
    assert [columns[-1] + 1, rows[-1] + 1] == pytest.approx(at.max(axis=0), abs=1.5)


def test_every_kind_can_be_put_into_a_place():
    assert taking.FAMILIES
    where = place("white-tray")
    for label in bench.HELD_OUT:
        for each in catalogue.kinds(label):
            scene.bare_stage()
            item = chamber.posed(each.build(np.random.default_rng(1)), where, np.random.default_rng(1))
            assert np.isfinite(item.points).all() and item.points[:, 2].min() == pytest.approx(0, abs=1e-3), each.name
            assert 0.1 < np.ptp(item.points, axis=0).max() < 4.5, each.name
