"""`training places`: a model at places, from the command line to the report."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.data.photos import Photo
from tests.training.runs import STAGE, called, run_of
from training.evaluate.models import Model, ModelOutputs
from training.left_out.known_photos import count_known
from training.left_out.measure import accepted_at
from training.left_out.place import PhotoPlace
from training.models.backbones import build_trunk
from training.models.network import add_heads
from training.models.scratch_options import ScratchCnnOptions

LABELS = {"metal": (90, 90, 90), "plastic": (200, 120, 60), "cup": (60, 60, 200)}


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with two labels of the shipped bundle, five photos each, and one label that it lacks."""
    folder, rng = tmp_path_factory.mktemp("places") / "hall", np.random.default_rng(3)
    for label, colour in LABELS.items():
        (folder / label).mkdir(parents=True)
        for number in range(5):
            photo = rng.integers(120, 250, (60, 80, 3)).astype(np.uint8)
            cv2.circle(photo, (int(rng.integers(20, 60)), 30), int(rng.integers(8, 24)), colour, -1)
            cv2.imwrite(str(folder / label / f"{number}.png"), photo)
    return folder


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=30))
def test_accepted_share_is_the_largest_that_is_right_enough(rows: list[tuple[int, bool]]) -> None:
    sure, right = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    shares = [np.mean(sure >= bound) for bound in np.unique(sure) if right[sure >= bound].mean() >= 0.8]
    assert accepted_at(0.8, sure, right) == pytest.approx(max(shares, default=0.0))


def test_a_bundle_is_measured_told_nothing_named_and_taught(hall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("places", "trashnet", "--places", hall, "--shots", 2, 5, "--draws", 2, "--report", tmp_path / "report")
    assert called(*asked) == 0
    said = capsys.readouterr().out
    assert "trashnet (int8)" in said
    assert "nothing  named  taught 2" in said
    assert (tmp_path / "report" / "places.png").stat().st_size > 10_000
    (model,) = json.loads((tmp_path / "report" / "places.json").read_bytes())
    (place,) = model["places"]
    assert (place["place"], place["n"], place["others"], place["labels"]) == ("hall", 10, 5, ["metal", "plastic"])
    assert place["trained_on"] is None
    assert place["named"]["right"] >= place["nothing"]["right"]
    assert place["named"]["n"] == 10
    assert list(place["taught"]) == ["2"]
    assert place["taught"]["2"]["draws"] == 2
    assert place["taught"]["2"]["shares"]["n"] == 12
    assert model["over_places"]["named"]["right"]["mean"] == place["named"]["right"]
    assert f"{place['nothing']['right']:.3f}" in said


def test_a_run_is_taught_only_with_its_own_photos(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trunk = build_trunk("scratch_cnn", 32, scratch=ScratchCnnOptions(layers=1, features=8, batch_norm=False))
    run = run_of(add_heads(trunk, 3), tmp_path / "run", STAGE)

    def measured(*options: object) -> dict[str, Any]:
        assert called("places", run, "--places", shapes, "--shots", 2, "--draws", 1, "--report", tmp_path / "report", "--json", *options) == 0
        (model,) = json.loads(capsys.readouterr().out)
        place: dict[str, Any] = model["places"][0]
        return place

    bare, whole = measured(), measured("--data", shapes)
    assert bare["taught"] == {}
    assert whole["taught"]["2"]["labels"] == 3
    assert bare["nothing"]["right"] == whole["nothing"]["right"]
    assert whole["trained_on"] == whole["n"] == 36


def place_of(folder: Path, *names: str) -> PhotoPlace:
    return PhotoPlace(folder.name, folder, tuple(Photo(name, name.partition("/")[0], folder / name) for name in names), np.arange(len(names)))


def test_photos_of_another_place_in_a_run_are_not_mistaken(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "train.txt").write_text("kitchen/red box/1.png\nred box/2.png\n")
    (run / "val.txt").write_text("")
    (run / "further.txt").write_text("red box/3.png\n")
    names = [f"red box/{number}.png" for number in range(1, 5)]
    model = Model(run, ("red box",), "float32", 32, "", lambda _: ModelOutputs(np.zeros((0, 1)), np.zeros((0, 1), np.float32)))
    assert count_known(model, place_of(tmp_path / "hall", *names)) == 2
    assert count_known(model, place_of(tmp_path / "kitchen", *names)) == 3


def test_mistakes_get_one_clear_line(hall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cups" / "cup").mkdir(parents=True)
    (tmp_path / "cups" / "cup" / "1.png").write_bytes((hall / "cup" / "1.png").read_bytes())
    for places, said in (
        (tmp_path / "none", f"training places: {tmp_path / 'none'}: expected a folder with a folder of photos for each label, found none"),
        (tmp_path / "cups", f"training places: {tmp_path / 'cups'}: no photo of cardboard, glass, metal, paper, plastic, trash; found folders cup"),
    ):
        assert called("places", "trashnet", "--places", places, "--report", tmp_path / "report") == 2
        assert capsys.readouterr().err.strip() == said
    assert not (tmp_path / "report").exists()
