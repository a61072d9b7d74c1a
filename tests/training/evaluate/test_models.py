"""Opening float and INT8 models."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from converter.data.photos import read_photos, read_pixels
from device.common.errors import SortbinError
from training.evaluate.models import Model, open_model, read_network


def logits(model: Model, data: Path) -> np.ndarray:
    return model.judge(read_pixels(photo.path) for photo in read_photos(data)).logits


def test_a_run_and_its_float_tflite_predict_the_same(discs_run: Path, discs_tflite: Path, discs: Path) -> None:
    run, lite = open_model(discs_run), open_model(discs_tflite / "float32.tflite")
    assert (run.kind, lite.kind, run.size_px, lite.size_px) == ("float32", "float32", 32, 32)
    assert run.labels == lite.labels
    np.testing.assert_allclose(logits(run, discs), logits(lite, discs), atol=1e-3)


def test_int8_mostly_agrees_on_the_same_pixels(discs_run: Path, discs_tflite: Path, discs: Path) -> None:
    run, int8 = open_model(discs_run), open_model(discs_tflite / "int8.tflite")
    assert int8.kind == "int8"
    one, other = logits(run, discs), logits(int8, discs)
    assert not np.array_equal(one, other)
    assert (one.argmax(axis=1) == other.argmax(axis=1)).mean() > 0.9


def test_all_kinds_give_embeddings_of_the_same_features(discs_run: Path, discs_tflite: Path, discs: Path) -> None:
    photos = [read_pixels(photo.path) for photo in read_photos(discs)[:4]]
    paths = (discs_run, discs_tflite / "float32.tflite", discs_tflite / "int8.tflite")
    run, lite, int8 = (open_model(path).judge(photos).embeddings for path in paths)
    assert run.shape == (4, 24)
    np.testing.assert_allclose(run, lite, atol=1e-3)
    np.testing.assert_allclose(run, int8, atol=0.1 * float(np.abs(run).max()))


def test_a_run_lists_its_training_and_validation_photos(discs_run: Path) -> None:
    model = open_model(discs_run)
    assert len(model.trained_on) == len(model.chosen_by) == 40
    assert not model.trained_on & set(model.chosen_by)
    assert model.temperature is None and model.reject_below is None


def test_labels_of_a_bare_tflite_may_be_in_another_file(discs_tflite: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copy(discs_tflite / "int8.tflite", tmp_path))
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\n")
    assert open_model(alone, names).labels == ("a", "b", "c", "d")
    with pytest.raises(SortbinError, match=r"labels\.txt: expected the labels of int8\.tflite here"):
        open_model(alone)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("nothing", "found nothing"),
        ("photo.png", "expected a run folder, a bundle folder or a .tflite file, found a file"),
        ("folder/", "expected a finished training run, model.keras is missing"),
        ("broken.tflite", "cannot run it"),
    ],
)
def test_a_path_that_is_no_model_gives_one_clear_line(made: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / made
    if made.endswith("/"):
        path.mkdir()
    elif "." in made:
        path.write_bytes(b"no model at all")
        (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(SortbinError, match=said) as caught:
        open_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["float32.tflite", "int8.tflite"])
def test_labels_that_do_not_match_the_logits_are_refused(name: str, discs_tflite: Path, tmp_path: Path) -> None:
    labels = tmp_path / "three.txt"
    labels.write_text("a\nb\nc\n")
    with pytest.raises(SortbinError, match=r"tflite: .*logits"):
        open_model(discs_tflite / name, labels)


def test_only_a_bare_tflite_takes_labels(discs_run: Path) -> None:
    with pytest.raises(SortbinError, match=r"only a bare \.tflite needs them"):
        open_model(discs_run, discs_run / "labels.txt")


def test_only_runs_give_a_keras_network(discs_tflite: Path) -> None:
    with pytest.raises(SortbinError, match="have no gradients"):
        read_network(discs_tflite / "int8.tflite")
