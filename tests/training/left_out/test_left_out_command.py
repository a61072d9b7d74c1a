"""`training left-out`: rounds of training that leave each place out once."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from converter.common.progress import Progress
from tests.training.runs import SMALL, called
from training.fit.recipe import TrainingRecipe, parse_recipe
from training.left_out.place import PhotoPlace, read_places
from training.left_out.rounds import plan_rounds

HEADS = SMALL + "size = 32\n"
STAGE = HEADS + "first_phase = false\n[[stage]]\nepochs = 1\nlearning_rate = 1e-3\n"
COLOURS = {"blue can": (200, 60, 40), "green jar": (60, 180, 40), "red box": (40, 50, 200)}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two places with six photos of each label of `shapes`, on a ground of their own; the second has a label more."""
    rng, folders = np.random.default_rng(1), []
    for name, ground in (("kitchen", 120), ("hall", 40)):
        folder = tmp_path_factory.mktemp("places") / name
        for label, colour in (COLOURS | ({"cup": (0, 200, 200)} if name == "hall" else {})).items():
            (folder / label).mkdir(parents=True)
            for number in range(6):
                photo = cv2.resize(rng.integers(ground, ground + 60, (6, 8, 3)).astype(np.uint8), (80, 60), interpolation=cv2.INTER_CUBIC)
                cv2.circle(photo, tuple(int(value) for value in rng.integers(15, 45, 2)), 13, colour, -1)
                cv2.imwrite(str(folder / label / f"{number}.png"), photo)
        folders.append(folder)
    return folders


def options(shapes: Path, places: list[Path], out: Path, recipe: str) -> tuple[object, ...]:
    (out.parent / "recipe.toml").write_text(recipe)
    chosen = ("--recipe", out.parent / "recipe.toml", "--weights", "none", "--out", out, "--shots", 2, "--draws", 1)
    return ("left-out", "--data", shapes, "--places", *places, *chosen)


def read_all(shapes: Path, places: list[Path], rule: str = "filename-block:2") -> tuple[PhotoPlace, list[PhotoPlace]]:
    data, *others = read_places([shapes, *places], [rule], Progress())
    return data, others


def test_no_round_trains_on_the_place_that_it_leaves_out(shapes: Path, places: list[Path]) -> None:
    data, others = read_all(shapes, places)
    rounds = plan_rounds(data, others, TrainingRecipe(), None)
    assert [(round_.place.name, round_.others) for round_ in rounds] == [("kitchen", 0), ("hall", 6), (data.name, 0)]
    for round_ in rounds:
        used = {photo.path for photo in (*round_.job.photos, *round_.job.split.val)}
        assert used.isdisjoint(photo.path for photo in round_.place.photos)
        everything = {photo.path for place in (data, *others) if place.name != round_.place.name for photo in place.photos if photo.label in COLOURS}
        assert used == everything


def test_validation_photos_of_the_data_sets_round_are_whole_groups(shapes: Path, places: list[Path]) -> None:
    data, others = read_all(shapes, places)
    split = plan_rounds(data, others, TrainingRecipe(), None)[-1].job.split
    groups = {photo.path: (place.name, group) for place in others for photo, group in zip(place.photos, place.groups.tolist(), strict=True)}
    train, val = ({groups[photo.path] for photo in part} for part in (split.train, split.val))
    assert train and val and not train & val
    assert {photo.label for photo in split.val} == set(COLOURS)
    assert all(photo.name.startswith(f"{photo.place}/") for photo in split.train)


def test_the_data_set_is_not_left_out_where_places_lack_its_labels(shapes: Path, tmp_path: Path, places: list[Path]) -> None:
    few = tmp_path / "few"
    (few / "red box").mkdir(parents=True)
    (few / "red box" / "1.png").write_bytes((places[0] / "red box" / "1.png").read_bytes())
    data, others = read_all(shapes, [few])
    assert [round_.place.name for round_ in plan_rounds(data, others, TrainingRecipe(), None)] == ["few"]


def test_heads_on_frozen_features_are_those_that_fit_finds(shapes: Path, places: list[Path], tmp_path: Path) -> None:
    import keras

    from training.fit.trainer import fit

    out = tmp_path / "rounds"
    assert called(*options(shapes, places, out, HEADS), "--leave", "hall") == 0
    (round_,) = [found for found in plan_rounds(*read_all(shapes, places), parse_recipe(HEADS, Path("r.toml")), None) if found.place.name == "hall"]
    fit(round_.job, tmp_path / "fitted", None, lambda _: None)
    own, fitted = (keras.saving.load_model(run / "model.keras") for run in (out / "hall", tmp_path / "fitted"))
    for one, other in zip(own.get_weights(), fitted.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)
    assert (out / "hall" / "further.txt").read_text() == (tmp_path / "fitted" / "further.txt").read_text()


def test_each_round_is_measured_where_it_was_not_trained(
    shapes: Path, places: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rounds"
    asked = options(shapes, places, out, STAGE)
    assert called(*asked, "--leave", "hall", "--json") == 0
    text = capsys.readouterr().out
    (report,) = json.loads(text)
    (place,) = report["places"]
    assert (place["place"], place["n"], place["others"], place["trained_on"]) == ("hall", 18, 6, 0)
    assert place["taught"]["2"]["labels"] == 3
    trained = (out / "hall" / "model.keras").read_bytes()
    assert called(*asked, "--leave", "hall", "--json") == 0
    assert capsys.readouterr().out == text
    assert (out / "hall" / "model.keras").read_bytes() == trained


def test_rounds_of_other_weights_are_refused(shapes: Path, places: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rounds"
    out.mkdir()
    (out / "start.txt").write_text("imagenet\n")
    assert called(*options(shapes, places, out, HEADS)) == 2
    assert "its rounds began with other --weights" in capsys.readouterr().err
    assert called(*options(shapes, places, out, HEADS), "--leave", "attic") == 2
    assert "--leave attic: expected one of kitchen, hall" in capsys.readouterr().err
