"""Pictures taken in Blender, where its module is installed: small, but real."""

import json

import cv2
import numpy as np
import pytest

pytest.importorskip("bpy", reason="Blender's module is not installed")

from training import cli
from training.render import benchmark_places as bench
from training.render import catalogue, sensor, shots
from training.render import take_picture as taking
from training.render.places import steady

STUDIO = taking.Studio((96, 72), 0.5, 2, 0.0)


def place(name):
    return next(place for place in bench.places() if place.name == name)


def shot(where, label, kind, number=0):
    return shots.Shot(place(where), next(each for each in catalogue.kinds(label) if each.name == kind), number, 3)


def pixels(taken):
    return cv2.imdecode(np.frombuffer(taken.jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)


def test_the_same_shot_gives_the_same_file_and_another_number_another():
    one = shot("white-tray", "metal", "drinks-can")
    first, again = STUDIO.take(one, 1.0), STUDIO.take(one, 1.0)
    assert first.jpeg == again.jpeg and (first.mask == again.mask).all()
    assert first.jpeg != STUDIO.take(shot("white-tray", "metal", "drinks-can", 1), 1.0).jpeg


@pytest.mark.parametrize(("where", "label", "kind"), [("white-tray", "metal", "drinks-can"), ("grid", "paper", "ball"), ("rails", "glass", "bottle")])
def test_the_picture_differs_from_the_empty_view_where_the_mask_is(where, label, kind):
    exposure = STUDIO.meter(place(where))
    empty, item = STUDIO.take(shots.Shot(place(where), None, 0, 3), exposure), STUDIO.take(shot(where, label, kind), exposure)
    assert empty.mask is None and item.mask.shape == (72, 96) and set(np.unique(item.mask)) == {0, 255}
    assert 0.004 < (item.mask > 0).mean() < 0.6 and item.in_view > 0.95
    differs = np.abs(pixels(item) - pixels(empty)).mean(axis=2)
    assert differs[item.mask > 0].mean() > 2 * differs[cv2.dilate(item.mask, np.ones((25, 25))) == 0].mean()


def test_a_place_is_as_bright_as_its_camera_wants_it():
    for name in ("backlit-chamber", "white-tray", "concrete-night"):
        where = place(name)
        taking.chamber.build(where, steady(where), (48, 36))
        light = taking.chamber.photograph(8, 1)
        assert sensor.gain(light, where.sensor) == pytest.approx(STUDIO.meter(where), rel=0.25)


def test_the_command_renders_places_and_goes_on(tmp_path, capsys):
    out = tmp_path / "places"
    asked = ["render", "places", "--out", str(out), "--places", "1", "--size", "64x48", "--samples", "1", "--empties", "1"]
    assert cli.main([*asked, "--count", "2"]) == 0
    rows = [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]
    assert len(rows) == 2 and len(list(out.glob("*/empty/*.jpg"))) == 1
    assert cli.main([*asked, "--count", "2"]) == 0
    assert "0 of them now" in capsys.readouterr().out
    assert cli.main([*asked, "--count", "3"]) == 2
    assert "order.json: count" in capsys.readouterr().err
    assert all(row["kind"] not in bench.HELD_OUT[row["label"]] for row in rows)


def test_the_command_renders_a_bench_of_the_requested_kinds(tmp_path, capsys):
    out = tmp_path / "bench"
    asked = ["render", "bench", "--out", str(out), "--place", "belt", "--size", "64x48", "--samples", "1", "--empties", "1", "--per-label", "1"]
    assert cli.main([*asked, "--kind", "drinks-can", "--kind", "pet-bottle"]) == 0
    rows = [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]
    assert {(row["label"], row["kind"]) for row in rows} == {("metal", "drinks-can"), ("plastic", "pet-bottle")}
    assert cli.main([*asked, "--kind", "drinks-can"]) == 2
    assert "order.json: kinds" in capsys.readouterr().err
    assert cli.main([*asked, "--kind", "tin"]) == 2
    assert capsys.readouterr().err.startswith("training render: --kind tin: expected one of ")
