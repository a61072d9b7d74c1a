"""Training: two phases, resumed after a kill, repeatable."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import msgspec
import numpy as np
import pytest

from converter.data.photos import Split, read_extra_photos, read_split
from device.policy.rules import read_rules
from training.cli import main
from training.fit.checkpoint import TrainingProgress
from training.fit.distillation import TeacherError
from training.fit.feature_distillation import FeatureDistillationError
from training.fit.job import TrainingJob, label_weights
from training.fit.linear_head import HeadExamples, fit_heads, fit_logistic_regression
from training.fit.metrics import Score, evaluate, predict
from training.fit.provenance import ProvenanceError
from training.fit.recipe import HeadTraining, Stage, TrainingRecipe, read_recipe, read_run_recipe
from training.fit.trainer import fit
from training.fit.warm_start import WarmStartError
from training.models.backbones import build_trunk
from training.models.batch_norm_folding import fold_batch_norm
from training.models.network import add_heads
from training.models.scratch_options import ScratchCnnOptions

QUICK = {"backbone": "scratch_cnn", "scratch": ScratchCnnOptions(layers=3, features=16, kernel=3, activation="relu"), "seed": 5}
RECIPE = TrainingRecipe(stage=(Stage(size=32, epochs=2, learning_rate=1e-3, batch=8), Stage(size=48, epochs=2, learning_rate=5e-4, batch=8)), **QUICK)


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def split(shapes: Path) -> Split:
    return read_split(shapes, seed=3)


@pytest.fixture(scope="module")
def finished(split: Split, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Score]:
    run = tmp_path_factory.mktemp("run")
    return run, fit(TrainingJob(RECIPE, split), run, None, silent)


def test_a_run_writes_model_labels_lists_and_metrics(finished: tuple[Path, Score], split: Split) -> None:
    run, score = finished
    network = keras.models.load_model(run / "model.keras")
    assert network.input_shape == (None, 48, 48, 3)
    assert {name: output.shape[-1] for name, output in network.output.items()} == {"logits": 3, "embedding": 16}
    assert (run / "labels.txt").read_text().split("\n")[:3] == list(split.labels)
    assert (run / "val.txt").read_text().split() == " ".join(photo.name for photo in split.val).split()
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["epoch"]) for line in epochs] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    last_stage = [(line["val_accuracy"], -line["val_nll"]) for line in epochs if line["stage"] == 2]
    assert (score.accuracy, -score.nll) == pytest.approx(max(last_stage)), "the best epoch of the last stage is kept"
    assert all(line["train_n"] == len(split.train) and line["train_accuracy"] == 1.0 for line in epochs[2:])
    assert not list(run.glob("progress.*"))


def test_a_run_records_epoch_0_and_draws_curves(finished: tuple[Path, Score], split: Split) -> None:
    run, score = finished
    before, fitted = (json.loads(line) for line in (run / "first_phase.jsonl").read_text().splitlines())
    assert (before["epoch"], fitted["epoch"], before["val_n"], before["train_n"]) == (0, 1, len(split.val), len(split.train))
    assert before["train_accuracy"] < fitted["train_accuracy"] and before["train_nll"] > fitted["train_nll"]
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert f"{score.accuracy:.4f}" in (run / "report.html").read_text(encoding="utf-8")


def test_hidden_layers_follow_the_recipe_and_record_the_first_phase(split: Split, tmp_path: Path) -> None:
    head = HeadTraining(epochs=3, learning_rate=1e-2, batch=16)
    stages = (Stage(size=32, epochs=2, learning_rate=1e-3, batch=12),)
    recipe = TrainingRecipe(stage=stages, dense=(8, 6), dense_activation="tanh", dense_dropout=0.4, head_training=head, **QUICK)

    class Killed(BaseException):
        pass

    def die(epoch: int, score: Score) -> None:
        raise Killed

    with pytest.raises(Killed):
        fit(TrainingJob(recipe, split), tmp_path / "killed", None, silent, epoch_done=die)
    for name in ("killed", "straight"):
        fit(TrainingJob(recipe, split), tmp_path / name, None, silent)
    networks = [keras.models.load_model(tmp_path / name / "model.keras") for name in ("killed", "straight")]
    for ours, theirs in zip(*(network.get_weights() for network in networks), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    layers = {layer.name: layer for layer in networks[0].layers}
    assert layers["dense0"].activation is layers["dense1"].activation is keras.activations.tanh
    assert layers["dense0_dropout"].rate == layers["dense1_dropout"].rate == 0.4
    lines = [json.loads(line) for line in (tmp_path / "straight" / "first_phase.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [*range(5)]
    assert all(0 <= line["val_accuracy"] <= 1 and line["loss"] > 0 for line in lines[1:4])
    assert lines[3]["train_nll"] < lines[0]["train_nll"]
    assert lines[3]["val_nll"] == pytest.approx(lines[4]["val_nll"], abs=1e-3), "the network has the head that was trained"


def test_a_run_prints_only_its_own_lines(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(
        'backbone = "scratch_cnn"\nscratch = { layers = 2, features = 4 }\n[[stage]]\nsize = 32\nepochs = 1\nlearning_rate = 1e-3\n'
    )
    command = [sys.executable, "-m", "training.cli", "fit", "--data", str(shapes), "--weights", "none", "--out", str(tmp_path / "run")]
    done = subprocess.run([*command, "--recipe", str(tmp_path / "recipe.toml")], capture_output=True, text=True, timeout=280)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["epoch", "phase", "phase", "stage", "wrote"]


def test_a_run_killed_anywhere_resumes_to_the_same_weights(
    finished: tuple[Path, Score], split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    written = TrainingProgress.write

    def write_then_die(progress: TrainingProgress, run: Path) -> None:
        written(progress, run)
        if progress in (TrainingProgress(0, 1), TrainingProgress(0, 2)):
            raise Killed

    monkeypatch.setattr(TrainingProgress, "write", write_then_die)
    for _ in range(2):
        with pytest.raises(Killed):
            fit(TrainingJob(RECIPE, split), tmp_path, None, silent)
    fit(TrainingJob(RECIPE, split), tmp_path, None, silent)

    straight = keras.models.load_model(finished[0] / "model.keras").get_weights()
    resumed = keras.models.load_model(tmp_path / "model.keras").get_weights()
    for ours, theirs in zip(resumed, straight, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_run_resumes_only_with_the_same_inputs(finished: tuple[Path, Score], split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die(progress: TrainingProgress, run: Path) -> None:
        written(progress, run)
        raise Killed

    written = TrainingProgress.write
    first, run = finished[0], tmp_path / "run"
    network = keras.models.load_model(first / "model.keras")
    network.set_weights([weight * 0.9 for weight in network.get_weights()])
    other = tmp_path / "other"
    shutil.copytree(first, other)
    network.save(other / "model.keras")
    job = TrainingJob(TrainingRecipe(remember_share=0.3, **GENTLY), split, None, (first,), first, split.val[:2], first)
    with monkeypatch.context() as patched:
        patched.setattr(TrainingProgress, "write", die)
        with pytest.raises(Killed):
            fit(job, run, None, silent)

    def contents() -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()}

    before = contents()
    changed = {
        "--recipe": replace(job, recipe=TrainingRecipe(remember_share=0.4, **GENTLY)),
        "--from": replace(job, start=other),
        "--teacher": replace(job, teachers=(first, first)),
        "--remember": replace(job, feature_teacher=None),
        "--also": replace(job, extra_photos=split.val[1:3]),
        "--data": replace(job, split=replace(split, train=split.train[1:])),
    }
    for option, another in changed.items():
        with pytest.raises(ProvenanceError, match=f"was begun with another {option}; give what begun.json there names"):
            fit(another, run, None, silent)
        assert contents() == before, option
    begun = json.loads((run / "begun.json").read_text())
    old_keys = begun["--recipe"]
    old_keys["head_decay"] = old_keys.pop("head_C")
    old_keys["stage"] = [{"rate" if key == "learning_rate" else key: value for key, value in stage.items()} for stage in old_keys["stage"]]
    (run / "begun.json").write_text(json.dumps(begun))
    moved = tmp_path / "moved"
    shutil.copytree(first, moved)
    fit(replace(job, start=moved, teachers=(moved,)), run, None, silent)
    assert (run / "model.keras").is_file(), "it is the same wherever the runs lie, and an earlier version's keys are read"


def test_extra_photos_are_trained_on_but_not_validated_on(finished: tuple[Path, Score], shapes: Path, tmp_path: Path) -> None:
    place = tmp_path / "album" / "s1-00000"
    for picture in sorted((shapes / "red box").iterdir())[:3]:
        for folder, suffix in (("items", picture.suffix), ("masks", ".png")):
            (place / folder / "red box").mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, place / folder / "red box" / f"{picture.stem}{suffix}")
    recipe = tmp_path / "further.toml"
    recipe.write_text("first_phase = false\n[[stage]]\nepochs = 1\nlearning_rate = 1e-4\nbatch = 8\naugment = 'isolated'\n", encoding="utf-8")
    first, run = tmp_path / "first", tmp_path / "run"
    shutil.copytree(finished[0], first)
    (first / "recipe.toml").write_text(
        "backbone = 'scratch_cnn'\n[scratch]\nlayers = 3\nfeatures = 16\n[[stage]]\nsize = 48\nepochs = 1\nlearning_rate = 1e-3\n"
    )
    given = ["--data", str(shapes), "--from", str(first), "--also", str(tmp_path / "album"), "--recipe", str(recipe), "--out", str(run)]
    assert main(["fit", *given]) == 0
    assert [Path(line).parts[:3] for line in (run / "further.txt").read_text().splitlines()] == [("s1-00000", "items", "red box")] * 3
    for name in ("train.txt", "val.txt"):
        assert (run / name).read_text() == (finished[0] / name).read_text()
    (epoch,) = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    assert {"val_accuracy", "val_isolated_accuracy"} <= set(epoch), "a network that is shown isolated items is judged by them too"


def test_extra_photos_of_an_unknown_label_are_refused(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(shapes / "red box", tmp_path / "also" / "blue ball")
    assert main(["fit", "--data", str(shapes), "--weights", "none", "--also", str(tmp_path / "also"), "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "expected folders named as labels" in said and "blue ball" in said
    assert not (tmp_path / "run").exists()


def test_a_place_is_drawn_as_the_recipe_says_without_things_outside_the_labels(shapes: Path, tmp_path: Path) -> None:
    for label, copy in (("red box", "red box"), ("red box", "extra-toy")):
        shutil.copytree(shapes / label, tmp_path / "kitchen" / copy)
    extra = read_extra_photos(tmp_path / "kitchen", ("red box", "blue disc"))
    assert {(photo.label, photo.place) for photo in extra} == {("red box", "kitchen")}
    split = read_split(shapes, seed=3)
    recipe = msgspec.structs.replace(RECIPE, draws=20, balance=1.0, places={"kitchen": 3.0})
    job = TrainingJob(recipe, split, extra_photos=extra)
    draws = job.draws()
    assert draws is not None and draws.count == 20
    in_kitchen = np.array([photo.place == "kitchen" for photo in job.photos])
    assert draws.shares[in_kitchen].sum() == pytest.approx(0.75 / len(split.labels))
    assert TrainingJob(RECIPE, split).draws() is None


def test_a_factor_of_an_unknown_place_is_remarked_on(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "places.toml"
    recipe.write_text(
        "backbone = 'scratch_cnn'\nscratch = { layers = 1 }\nsize = 32\nfirst_phase = false\nplaces = { kitchn = 2.0, data = 0.0 }\n"
        "[[stage]]\nepochs = 1\nlearning_rate = 1e-4\n",
        encoding="utf-8",
    )
    assert main(["fit", "--data", str(shapes), "--weights", "none", "--recipe", str(recipe), "--out", str(tmp_path / "run")]) == 2
    remark, error = capsys.readouterr().err.splitlines()
    assert "places.kitchn: no folder of this name among --also" in remark
    assert "expected a factor above 0" in error


def test_a_fitted_head_predicts_its_own_photos(split: Split) -> None:
    network = add_heads(fold_batch_norm(build_trunk("scratch_cnn", 48, scratch=QUICK["scratch"])), 3)
    job = TrainingJob(RECIPE, split)
    examples = HeadExamples(split.train, job.target_indices(split.train), job.photo_weights())
    assert not fit_heads(network, examples, examples, RECIPE), "a regression has no epochs"
    own = Split(split.labels, split.train, split.train)
    assert evaluate(network, own.val, own.labels).accuracy > 0.9


def test_the_last_bit_of_features_does_not_change_the_head() -> None:
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(3), 20)
    features = (5 + np.eye(3)[targets] @ rng.normal(size=(3, 16)) + 0.5 * rng.normal(size=(60, 16))).astype(np.float32)
    nudged = features * (1 + 1e-7 * rng.standard_normal(features.shape)).astype(np.float32)
    heads = [fit_logistic_regression(given, targets, 3, np.ones(60, np.float32), 0.3) for given in (features, nudged)]
    for ours, theirs in zip(*heads, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_label_weights_go_from_equal_to_balanced(split: Split) -> None:
    uneven = Split(split.labels, tuple(photo for photo in split.train if photo.label != "red box" or "0" in photo.path.stem), split.val)
    counts = uneven.counts()
    assert label_weights(uneven.train, uneven.labels, 0.0) == [1.0, 1.0, 1.0]
    balanced = label_weights(uneven.train, uneven.labels, 1.0)
    shares = [weight * count for weight, count in zip(balanced, counts.values(), strict=True)]
    assert shares == pytest.approx([shares[0]] * 3)


def test_weights_of_another_architecture_give_one_clear_line(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    status = main(["fit", "--data", str(shapes), "--weights", str(tmp_path / "other.weights.h5"), "--out", str(tmp_path / "run")])
    said = capsys.readouterr().err
    assert status == 2
    assert said.count("\n") == 1
    assert "other.weights.h5: expected weights for mobilenet_v2 width 1.0" in said


def test_a_finished_run_is_not_overwritten(finished: tuple[Path, Score], shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished[0] / "model.keras").read_bytes()
    assert main(["fit", "--data", str(shapes), "--weights", "none", "--out", str(finished[0])]) == 2
    assert "holds a finished run" in capsys.readouterr().err
    assert (finished[0] / "model.keras").read_bytes() == before


def test_a_folder_that_is_no_run_is_not_written_to(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "progress.txt").write_text("mine")
    assert main(["fit", "--data", str(shapes), "--weights", "none", "--out", str(tmp_path)]) == 2
    assert f"{tmp_path}: holds something that is no run" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["progress.txt"]


def test_a_run_without_a_whole_epoch_leaves_nothing_for_the_next(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, run = tmp_path / "first.toml", tmp_path / "second.toml", tmp_path / "run"
    small = 'backbone = "scratch_cnn"\nfirst_phase = false\nscratch = { layers = 2, features = 8, kernel = 3 }\n'
    first.write_text(f"{small}[[stage]]\nsize = 48\nepochs = 1\nlearning_rate = 1e38\n")
    second.write_text(f"{small}[[stage]]\nsize = 32\nepochs = 1\nlearning_rate = 1e-3\n")
    order = ["fit", "--data", str(shapes), "--weights", "none", "--out", str(run), "--recipe"]
    assert main([*order, str(first)]) == 2
    assert "stage 1, epoch 1: nll is nan" in capsys.readouterr().err
    assert not (run / "model.keras").exists(), "a network that computes no numbers is no result"
    (run / "progress.best0.npz").write_bytes(b"of another network")
    (run / "metrics.jsonl").write_text("of another network\n")
    assert main([*order, str(second)]) == 0
    assert (run / "recipe.toml").read_text() == second.read_text()
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 1


def test_a_recipe_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_bytes(b"\xef\xbb\xbfsize = 96\n")
    assert read_recipe(tmp_path / "recipe.toml").size == 96


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("[[stage]]\nsize = 32\nepochs = 1\nlearning_rate = 1e-3\nspeed = 9", "stage[0]: unknown key speed"),
        ("first_phase = false", "expected a [[stage]]"),
        ("stage = [", "recipe.toml"),
        ("head_decay = 0.5", "head_decay: this key is called head_C now; write head_C = 0.5"),
        ("[[stage]]\nepochs = 1\nrate = 1e-3", "stage[0].rate: this key is called learning_rate now; write learning_rate = 0.001"),
        ("start_decay = 1.0\n[[stage]]\nsize = 32\nepochs = 1\nlearning_rate = 1e-3\nfake_quantize = true", "start_decay: expected 0"),
        ("[[stage]]\nsize = 'big'\nepochs = 1\nlearning_rate = 1e-3", "stage[0].size"),
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


def test_old_keys_in_a_run_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("head_decay = 0.5\n[[stage]]\nepochs = 1\nrate = 1e-3\n")
    recipe = read_run_recipe(tmp_path)
    assert (recipe.head_C, recipe.stage[0].learning_rate) == (0.5, 1e-3)


def test_a_broken_photo_is_named(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    (data / "red box" / "03.png").write_bytes(b"no picture")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("width = 0.35\n[[stage]]\nsize = 32\nepochs = 1\nlearning_rate = 1e-3\n")
    assert main(["fit", "--data", str(data), "--weights", "none", "--out", str(tmp_path / "run"), "--recipe", str(recipe)]) == 2
    assert "03.png: not a picture" in capsys.readouterr().err


def trained(job: TrainingJob, run: Path) -> tuple[keras.Model, list[dict[str, float]]]:
    fit(job, run, None, silent)
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return keras.models.load_model(run / "model.keras", compile=False), [json.loads(line) for line in lines]


def test_a_scratch_network_learns_colours(split: Split, tmp_path: Path) -> None:
    recipe = TrainingRecipe(stage=(Stage(size=32, epochs=8, learning_rate=1e-2, batch=6, mixup=0.0, ema=0.0),), first_phase=False, **QUICK)
    assert fit(TrainingJob(recipe, split), tmp_path, None, silent).accuracy == 1.0


def distance_from(begun: list[np.ndarray], network: keras.Model) -> float:
    """Root mean square change of the trunk's weights."""
    moved = np.concatenate([(now - then).ravel() for now, then in zip(network.get_weights()[:-2], begun[:-2], strict=True)])
    return float(np.sqrt((moved**2).mean()))


@pytest.fixture(scope="module")
def begun(finished: tuple[Path, Score]) -> list[np.ndarray]:
    return keras.models.load_model(finished[0] / "model.keras", compile=False).get_weights()


GENTLY = {"stage": (Stage(size=48, epochs=3, learning_rate=3e-3, batch=8, mixup=0.0, ema=0.0),), "first_phase": False, "weight_decay": 0.0, **QUICK}


def test_start_decay_keeps_weights_near_the_start(finished: tuple[Path, Score], begun: list[np.ndarray], split: Split, tmp_path: Path) -> None:
    strayed = {}
    for decay in (0.0, 100.0):
        network, _ = trained(TrainingJob(TrainingRecipe(start_decay=decay, **GENTLY), split, start=finished[0]), tmp_path / str(decay))
        strayed[decay] = distance_from(begun, network)
    assert 0 < strayed[100.0] < 0.7 * strayed[0.0]


def test_remember_share_keeps_embeddings(finished: tuple[Path, Score], split: Split, tmp_path: Path) -> None:
    before = predict(keras.models.load_model(finished[0] / "model.keras", compile=False), split.val, 48)["embedding"]
    alike = {}
    for share in (0.0, 0.9):
        network, _ = trained(TrainingJob(TrainingRecipe(remember_share=share, **GENTLY), split, start=finished[0]), tmp_path / str(share))
        after = predict(network, split.val, 48)["embedding"]
        alike[share] = float(((before * after).sum(1) / (np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1))).mean())
    assert alike[0.9] > alike[0.0]
    assert 1 - alike[0.9] < 0.5 * (1 - alike[0.0])


def test_embeddings_are_kept_near_another_runs(finished: tuple[Path, Score], split: Split, tmp_path: Path) -> None:
    other = TrainingRecipe(stage=(Stage(size=48, epochs=1, learning_rate=1e-3, batch=8, mixup=0.0, ema=0.0),), **(QUICK | {"seed": 77}))
    fit(TrainingJob(other, split), tmp_path / "other", None, silent)
    wanted = predict(keras.models.load_model(tmp_path / "other" / "model.keras", compile=False), split.val, 48)["embedding"]
    far = {}
    for share in (0.0, 0.9):
        recipe = TrainingRecipe(remember_share=share, **GENTLY)
        job = TrainingJob(recipe, split, start=finished[0], feature_teacher=tmp_path / "other" if share else None)
        network, _ = trained(job, tmp_path / str(share))
        far[share] = float(np.square(predict(network, split.val, 48)["embedding"] - wanted).mean())
    assert far[0.9] < 0.7 * far[0.0]


def test_a_run_that_cannot_be_a_feature_teacher_is_refused(finished: tuple[Path, Score], split: Split, tmp_path: Path) -> None:
    def refusal(remembered: Path, share: float = 0.5) -> str:
        job = TrainingJob(TrainingRecipe(remember_share=share, **GENTLY), split, start=finished[0], feature_teacher=remembered)
        with pytest.raises(FeatureDistillationError) as refused:
            fit(job, tmp_path / "run", None, silent)
        return str(refused.value)

    narrow = ScratchCnnOptions(layers=3, features=8, kernel=3, activation="relu")
    fit(TrainingJob(TrainingRecipe(size=32, **(QUICK | {"scratch": narrow})), split), tmp_path / "narrow", None, silent)
    assert refusal(tmp_path / "narrow").startswith(f"{tmp_path / 'narrow'}: expected embeddings of")
    assert refusal(tmp_path / "none") == f"{tmp_path / 'none'}: expected a finished run to remember: model.keras is missing"
    (tmp_path / "narrow" / "labels.txt").unlink()
    assert refusal(tmp_path / "narrow") == f"{tmp_path / 'narrow'}: expected a finished run to remember: labels.txt is missing"
    assert refusal(finished[0], share=0.0).startswith("remember_share: expected above 0")


def test_a_killed_run_with_start_decay_resumes_to_the_same_weights(
    finished: tuple[Path, Score], split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    gentle = TrainingJob(TrainingRecipe(start_decay=10.0, remember_share=0.3, **GENTLY), split, start=finished[0])
    straight, _ = trained(gentle, tmp_path / "straight")
    written = TrainingProgress.write

    def write_then_die(progress: TrainingProgress, run: Path) -> None:
        written(progress, run)
        if progress == TrainingProgress(0, 1):
            raise Killed

    monkeypatch.setattr(TrainingProgress, "write", write_then_die)
    with pytest.raises(Killed):
        fit(gentle, tmp_path / "killed", None, silent)
    resumed, _ = trained(gentle, tmp_path / "killed")
    for ours, theirs in zip(resumed.get_weights(), straight.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not list((tmp_path / "killed").glob("progress.*"))


def test_a_recipe_without_stages_gives_a_run(split: Split, tmp_path: Path) -> None:
    network, epochs = trained(TrainingJob(TrainingRecipe(size=32, **QUICK), split), tmp_path)
    assert epochs == []
    assert network.input_shape == (None, 32, 32, 3)


def test_a_second_head_names_the_bin(split: Split, tmp_path: Path) -> None:
    rules = tmp_path / "two.toml"
    rules.write_text(
        'name = "two"\nversion = "1"\nresidual = "rest"\n[bins.recycling]\nlabels = ["blue can", "green jar"]\n[bins.rest]\nlabels = ["red box"]\n'
    )
    pack = read_rules(rules, split.labels)
    recipe = TrainingRecipe(
        stage=(Stage(size=32, epochs=6, learning_rate=1e-2, batch=6, mixup=0.1, ema=0.0),),
        dense=(16,),
        rules=str(rules),
        head_training=HeadTraining(epochs=3, learning_rate=1e-2),
        **QUICK,
    )
    network, _ = trained(TrainingJob(recipe, split, pack), tmp_path / "run")
    said = predict(network, split.train, 32)["bin_logits"].argmax(axis=1)
    wanted = [list(pack.bins).index(pack.bin_of(photo.label)) for photo in split.train]
    assert (said == wanted).mean() > 0.8


def test_a_student_follows_its_teachers(split: Split, tmp_path: Path) -> None:
    good = TrainingRecipe(stage=(Stage(size=32, epochs=8, learning_rate=1e-2, batch=6, mixup=0.0, ema=0.0),), first_phase=False, **QUICK)
    fit(TrainingJob(good, split), tmp_path / "teacher", None, silent)
    student = msgspec.structs.replace(good, teacher_share=1.0, seed=9)
    score = fit(TrainingJob(student, split, teachers=(tmp_path / "teacher",) * 2), tmp_path / "student", None, silent)
    assert score.accuracy == 1.0


def test_a_teacher_with_other_labels_is_refused(split: Split, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\n")
    (tmp_path / "model.keras").write_bytes(b"")
    recipe = TrainingRecipe(stage=(Stage(size=32, epochs=1, learning_rate=1e-2),), first_phase=False, **QUICK)
    with pytest.raises(TeacherError, match=r"expected the labels blue can.*, found a, b"):
        fit(TrainingJob(recipe, split, teachers=(tmp_path,)), tmp_path / "run", None, silent)


def test_patience_ends_a_stage_early_with_its_best_weights(split: Split, tmp_path: Path) -> None:
    stage = Stage(size=32, epochs=30, learning_rate=1e-2, batch=6, mixup=0.0, ema=0.0, patience=2)
    recipe = TrainingRecipe(stage=(stage,), first_phase=False, **QUICK)
    network, epochs = trained(TrainingJob(recipe, split), tmp_path)
    assert len(epochs) < 30
    best = max((line["val_accuracy"], -line["val_nll"]) for line in epochs)
    assert evaluate(network, split.val, split.labels).rank == pytest.approx(best, abs=1e-5)


def test_keep_last_saves_the_last_epoch(split: Split, tmp_path: Path) -> None:
    """Validation photos with wrong labels: training makes their accuracy worse."""
    wrong = dict(zip(split.labels, split.labels[1:] + split.labels[:1], strict=True))
    misled = replace(split, val=tuple(replace(photo, label=wrong[photo.label]) for photo in split.val))
    stage = Stage(size=32, epochs=4, learning_rate=3e-3, batch=6, mixup=0.0, ema=0.0)
    network, epochs = trained(TrainingJob(TrainingRecipe(stage=(stage,), first_phase=False, keep="last", **QUICK), misled), tmp_path)
    ranks = [(line["val_accuracy"], -line["val_nll"]) for line in epochs]
    assert ranks[-1] < max(ranks)
    assert evaluate(network, misled.val, split.labels).rank == pytest.approx(ranks[-1], abs=1e-5)


def test_unfreeze_trains_only_the_asked_layers(split: Split, tmp_path: Path) -> None:
    stage = Stage(size=32, epochs=1, learning_rate=1e-2, batch=6, unfreeze=1, ema=0.0)
    recipe = TrainingRecipe(stage=(stage,), first_phase=False, **QUICK)
    network, _ = trained(TrainingJob(recipe, split), tmp_path)
    keras.utils.set_random_seed(recipe.seed)
    start = fold_batch_norm(build_trunk("scratch_cnn", 32, scratch=recipe.scratch))
    changed = {
        layer.name: not np.allclose(layer.get_weights()[0], network.get_layer(layer.name).get_weights()[0]) for layer in start.layers if layer.weights
    }
    assert changed == {"conv0": False, "conv1": False, "conv2": True}


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains_and_leaves_a_float32_model(precision: str, split: Split, tmp_path: Path) -> None:
    stage = Stage(size=32, epochs=2, learning_rate=1e-2, batch=6, ema=0.0)
    recipe = TrainingRecipe(stage=(stage,), first_phase=False, precision=precision, **QUICK)
    network, epochs = trained(TrainingJob(recipe, split), tmp_path)
    assert all(np.isfinite(line["loss"]) for line in epochs)
    assert network.dtype_policy.name == "float32"
    assert {layer.compute_dtype for layer in network.layers} == {"float32"}


def test_the_same_seed_gives_the_same_metrics(split: Split, tmp_path: Path) -> None:
    stage = Stage(size=32, epochs=2, learning_rate=1e-2, batch=6, cutmix=0.5)
    runs = [
        trained(TrainingJob(TrainingRecipe(stage=(stage,), first_phase=False, batch_norm=policy, **QUICK), split), tmp_path / str(number))[1]
        for number, policy in enumerate(["train", "train", "frozen"])
    ]
    losses = [[line["loss"] for line in epochs] for epochs in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] != pytest.approx(losses[2], rel=1e-4)


def test_start_share_mixes_in_the_start_weights(finished: tuple[Path, Score], split: Split, tmp_path: Path) -> None:
    stage = Stage(size=48, epochs=1, learning_rate=1e-2, batch=8, ema=0.0)
    weights = {}
    for share in (0.0, 0.25):
        recipe = TrainingRecipe(stage=(stage,), first_phase=False, start_share=share, **QUICK)
        fit(TrainingJob(recipe, split, start=finished[0]), tmp_path / str(share), None, silent)
        weights[share] = keras.models.load_model(tmp_path / str(share) / "model.keras").get_weights()
    begun = keras.models.load_model(finished[0] / "model.keras").get_weights()
    for mixed, start, trained in zip(weights[0.25], begun, weights[0.0], strict=True):
        np.testing.assert_allclose(mixed, 0.25 * start + 0.75 * trained, rtol=1e-4, atol=1e-5)
    with pytest.raises(WarmStartError, match="start_share"):
        fit(TrainingJob(msgspec.structs.replace(recipe, start_share=0.5), split), tmp_path / "none", None, silent)
