"""Places, described by numbers: where things rest, what the camera has in view, and that a description depends on its seed alone."""

import json
import math
import re
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.render import benchmark_places as bench
from training.render import catalogue
from training.render import random_places as anywhere
from training.render.appearance.finishes import LOOKS, Finish, picture
from training.render.places import CUT_OFF, SIDES, Camera, Floor, Wanted, drifted, settled, spot, steady

PLAIN = Finish("plain", (128, 128, 128))
ASPECT = 4 / 3
numbers = st.integers(0, 10_000)


def block(width, depth, height, steps=9):
    """The points of a box on the floor."""
    x, y, z = np.meshgrid(*(np.linspace(-side / 2, side / 2, steps) for side in (width, depth)), np.linspace(0, height, steps))
    return np.stack([x, y, z], axis=-1).reshape(-1, 3)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), number=numbers)
def test_a_place_is_a_function_of_its_seed_and_number(seed, number):
    place = anywhere.place(seed, number)
    assert place == anywhere.place(seed, number)
    assert place != anywhere.place(seed, number + 1)
    assert json.loads(json.dumps(asdict(place)))["name"] == place.name
    assert re.fullmatch(r"[a-z0-9-]+", place.name)


@settings(max_examples=80)
@given(number=numbers)
def test_a_random_place_can_be_built_lit_and_looked_into(number):
    place = anywhere.place(7, number)
    x, y, z = place.camera.position
    width, depth, height = place.size
    for side, outside in (
        ("left", x < -width / 2),
        ("right", x > width / 2),
        ("front", y < -depth / 2),
        ("back", y > depth / 2),
        ("lid", z > height),
    ):
        assert not (outside and side in place.walls), f"the camera looks at the outside of {side}"
    assert set(place.walls) <= set(SIDES)
    assert z > 0 or (place.floor.kind in ("bars", "grid") and place.floor.under is None), "the camera is under a floor"
    assert place.lamps or place.panels or max(place.ambient) > 0.05, "it is pitch dark"
    assert all(panel.side in place.walls for panel in place.panels)
    middle = place.camera.project(np.array([place.camera.target]), ASPECT)
    assert np.allclose(middle, 0.5, atol=1e-6)


def test_random_places_cover_cameras_from_below_and_most_floors():
    some = [anywhere.place(1, number) for number in range(400)]
    assert {place.floor.kind for place in some} == {"plain", "belt", "rails", "bars", "grid", "vee", "bowl"}
    below = [place for place in some if place.camera.position[2] < 0]
    assert 4 <= len(below) <= 60


@settings(max_examples=60)
@given(number=numbers, side=st.floats(0.2, 1.0))
def test_an_item_rests_on_the_floor_inside_the_walls(number, side):
    place = anywhere.place(3, number)
    points = block(side, side, side)
    where = spot(place, points, Wanted(), ASPECT, np.random.default_rng(number))
    moved = points + np.array(where.move)
    gap = moved[:, 2] - place.floor.heights(moved[:, 0], moved[:, 1], place.spread)
    assert gap.min() > -0.02, "it sinks in"
    if where.in_view >= 0.985:
        half = np.array(place.size[:2]) / 2 if place.walls else np.full(2, place.spread)
        assert (np.abs(moved[:, :2]).max(axis=0) <= half + 0.05).all(), "it hangs over the edge"


def test_a_can_sinks_between_two_rails_until_it_touches_both():
    rails = Floor("rails", PLAIN, PLAIN, pitch=0.5, radius=0.1)
    angle = np.linspace(0, math.tau, 720)
    radius = 0.33
    can = np.concatenate([np.stack([radius * np.cos(angle), np.full(720, y), radius + radius * np.sin(angle)], axis=1) for y in (-0.6, 0.6)])
    # centres of can and rails: a triangle of hypotenuse 0.33 + 0.1 and half pitch 0.25
    expected = math.sqrt((radius + 0.1) ** 2 - 0.25**2) - 0.1 - radius
    assert settled(can, rails, 2.0) == pytest.approx(expected, abs=0.004)


def test_what_is_smaller_than_the_gap_falls_through_to_the_bottom():
    grid = Floor("grid", PLAIN, PLAIN, pitch=0.6, radius=0.03, drop=1.5)
    cap = block(0.2, 0.2, 0.06) + np.array([0.3, 0.3, 0.0])
    assert settled(cap, grid, 2.0) == pytest.approx(-1.5)


def test_a_ball_rests_where_a_bowl_or_trough_touches_it():
    assert settled(np.array([[0.0, 0.0, 0.0]]), Floor("bowl", PLAIN, radius=3.0), 2.0) == 0
    trough = Floor("vee", PLAIN, slope_deg=45.0)
    angle = np.linspace(0, math.tau, 3600)
    ball = np.stack([np.cos(angle), 0 * angle, 1 + np.sin(angle)], axis=1)
    assert settled(ball, trough, 4.0) == pytest.approx(math.sqrt(2) - 1, abs=1e-4)


@settings(max_examples=60)
@given(
    st.tuples(*(st.floats(-3, 3) for _ in range(2)), st.floats(0.5, 6)),
    st.floats(30, 90),
    st.floats(-180, 180),
    st.floats(-0.9, 0.9),
    st.floats(-0.9, 0.9),
)
def test_a_point_on_a_pixels_ray_projects_to_that_pixel(position, fov, roll, right, up):
    camera = Camera(position, (0.1, -0.2, 0.0), fov, roll)
    axes = camera.axes()
    assert np.allclose(axes.T @ axes, np.eye(3), atol=1e-9) and np.linalg.det(axes) == pytest.approx(1)
    half = math.tan(math.radians(fov) / 2)
    point = np.array(position) + 2.5 * (axes @ np.array([right * half, up * half / ASPECT, -1.0]))
    assert np.allclose(camera.project(point[None], ASPECT), [[0.5 + right / 2, 0.5 - up / 2]], atol=1e-6)


def test_what_is_behind_the_camera_is_nowhere_in_the_picture():
    camera = Camera((0.0, -3.0, 1.0), (0.0, 0.0, 1.0), 60.0)
    assert np.isnan(camera.project(np.array([[0.0, -5.0, 1.0]]), ASPECT)).all()


def test_an_item_is_wholly_in_view_or_cut_off_as_wanted():
    table = next(place for place in bench.places() if place.name == "checked-cloth")
    points = block(0.5, 0.4, 0.3)
    for chance in range(20):
        assert spot(table, points, Wanted(), ASPECT, np.random.default_rng(chance)).in_view >= 0.985
        assert 0.3 <= spot(table, points, CUT_OFF, ASPECT, np.random.default_rng(chance)).in_view <= 0.9


def test_drift_is_small_and_its_own_for_every_picture():
    place = bench.places()[2]
    one, other = (drifted(place, np.random.default_rng(chance)) for chance in (1, 2))
    assert one != other and one == drifted(place, np.random.default_rng(1))
    for drift in (one, other):
        assert all(0.75 < factor < 1.33 for factor in (*drift.lamps, *drift.gains))
    still = steady(place)
    assert set(still.lamps) == {1.0} and still.turn_deg == (0.0, 0.0)


def test_the_bench_has_ten_places_whose_names_are_never_random():
    names = [place.name for place in bench.places()]
    assert len(set(names)) == len(names) >= 10
    assert bench.places() == bench.places()
    assert not any(re.fullmatch(r"s\d+-\d{5}", name) for name in names)


def test_places_of_the_bench_are_asked_for_by_name():
    assert bench.names_of(["rails", "belt"]) == {"rails", "belt"}
    assert bench.names_of([]) == {place.name for place in bench.places()}
    with pytest.raises(bench.PlaceError, match=r"--place cellar: expected one of backlit-chamber, .*rails"):
        bench.names_of(["rails", "cellar"])


def test_the_bench_holds_out_kinds_of_every_label():
    assert set(bench.HELD_OUT) == {"cardboard", "glass", "metal", "paper", "plastic", "trash"}
    assert all(len(names) >= 2 for names in bench.HELD_OUT.values())


def test_held_out_kinds_exist_and_leave_kinds_to_train_on():
    pytest.importorskip("bpy", reason="Blender's module is not installed")
    import training.render.take_picture  # noqa: F401

    for label, names in bench.HELD_OUT.items():
        there = {kind.name for kind in catalogue.kinds(label)}
        assert set(names) < there and len(there - set(names)) >= 2


@pytest.mark.parametrize("look", sorted(LOOKS))
def test_every_look_is_a_picture_that_depends_on_its_finish_alone(look):
    finish = Finish(look, (120, 90, 60), (20, 200, 90), wear=0.5, repeats=6, seed=4)
    drawn = picture(finish, 96)
    assert drawn.shape == (96, 96, 3) and drawn.dtype == np.uint8
    assert (drawn == picture(finish, 96)).all()
    assert (drawn != picture(Finish(look, (120, 90, 60), (20, 200, 90), wear=0.5, repeats=6, seed=5), 96)).any()
    assert drawn.std() > 0
