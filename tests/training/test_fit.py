"""Training: two phases, resumed after a kill, repeatable."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import training.fit
from converter.photos import Split, read_split
from training.cli import main
from training.fit import Score, fit, label_weights
from training.recipe import Recipe, Stage

RECIPE = Recipe(stage=(Stage(size=32, epochs=2, rate=1e-3, batch=8), Stage(size=48, epochs=2, rate=5e-4, batch=8)), width=0.35, seed=3)


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def split(shapes: Path) -> Split:
    return read_split(shapes, seed=3)


@pytest.fixture(scope="module")
def finished(split: Split, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Score]:
    run = tmp_path_factory.mktemp("run")
    return run, fit(RECIPE, split, run, None, silent)


def test_a_run_leaves_a_model_with_two_outputs_its_labels_lists_and_a_line_an_epoch(finished: tuple[Path, Score], split: Split) -> None:
    run, score = finished
    network = keras.models.load_model(run / "model.keras")
    assert network.input_shape == (None, 48, 48, 3)
    assert {name: output.shape[-1] for name, output in network.output.items()} == {"logits": 3, "embedding": 1280}
    assert (run / "labels.txt").read_text().split("\n")[:3] == list(split.labels)
    assert (run / "val.txt").read_text().split() == " ".join(photo.name for photo in split.val).split()
    epochs = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["epoch"]) for line in epochs] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    last_stage = [(line["val_accuracy"], -line["val_nll"]) for line in epochs if line["stage"] == 2]
    assert (score.accuracy, -score.nll) == pytest.approx(max(last_stage)), "the best epoch of the last stage is kept"
    assert not list(run.glob("progress.*"))


def test_a_run_killed_amid_and_between_stages_goes_on_to_the_same_weights(
    finished: tuple[Path, Score], split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    written = training.fit.Progress.write

    def write_then_die(progress: training.fit.Progress, run: Path) -> None:
        written(progress, run)
        if progress in (training.fit.Progress(0, 1), training.fit.Progress(0, 2)):
            raise Killed

    monkeypatch.setattr(training.fit.Progress, "write", write_then_die)
    for _ in range(2):
        with pytest.raises(Killed):
            fit(RECIPE, split, tmp_path, None, silent)
    fit(RECIPE, split, tmp_path, None, silent)

    straight = keras.models.load_model(finished[0] / "model.keras").get_weights()
    resumed = keras.models.load_model(tmp_path / "model.keras").get_weights()
    for ours, theirs in zip(resumed, straight, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_head_on_frozen_features_knows_the_photos_it_was_fitted_to(split: Split) -> None:
    network = training.fit.build_network(3, 48, width=0.35)
    training.fit.fit_head(network, split, RECIPE)
    own = Split(split.labels, split.train, split.train)
    assert training.fit.evaluate(network, own).accuracy > 0.9


def test_label_weights_go_from_equal_to_balanced(split: Split) -> None:
    uneven = Split(split.labels, tuple(photo for photo in split.train if photo.label != "red box" or "0" in photo.path.stem), split.val)
    counts = uneven.counts()
    assert label_weights(uneven, 0.0) == [1.0, 1.0, 1.0]
    balanced = label_weights(uneven, 1.0)
    shares = [weight * count for weight, count in zip(balanced, counts.values(), strict=True)]
    assert shares == pytest.approx([shares[0]] * 3)


def test_weights_of_another_architecture_are_one_clear_line(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    status = main(["fit", "--data", str(shapes), "--weights", str(tmp_path / "other.weights.h5"), "--out", str(tmp_path / "run")])
    said = capsys.readouterr().err
    assert status == 2
    assert said.count("\n") == 1
    assert "other.weights.h5: expected weights for MobileNetV2 width 1.0" in said


def test_a_finished_run_is_not_trained_over(finished: tuple[Path, Score], shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished[0] / "model.keras").read_bytes()
    assert main(["fit", "--data", str(shapes), "--weights", "none", "--out", str(finished[0])]) == 2
    assert "holds a finished run" in capsys.readouterr().err
    assert (finished[0] / "model.keras").read_bytes() == before


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("[[stage]]\nsize = 32\nepochs = 1\nrate = 1e-3\nspeed = 9", "stage[0]: object contains unknown field speed"),
        ("stage = []", "expected at least one [[stage]]"),
        ("stage = [", "recipe.toml"),
        ("[[stage]]\nsize = 'big'\nepochs = 1\nrate = 1e-3", "stage[0].size"),
    ],
)
def test_a_mistake_in_a_recipe_names_the_file_and_the_key(
    recipe: str, said: str, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(recipe)
    assert main(["fit", "--data", str(shapes), "--weights", "none", "--out", str(tmp_path / "run"), "--recipe", str(file)]) == 2
    error = capsys.readouterr().err
    assert said in error and "recipe.toml" in error and error.count("\n") == 1


def test_a_broken_photo_is_named(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    (data / "red box" / "03.png").write_bytes(b"no picture")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("width = 0.35\n[[stage]]\nsize = 32\nepochs = 1\nrate = 1e-3\n")
    assert main(["fit", "--data", str(data), "--weights", "none", "--out", str(tmp_path / "run"), "--recipe", str(recipe)]) == 2
    assert "03.png: not a picture" in capsys.readouterr().err
