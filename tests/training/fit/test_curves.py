"""Training curves: recorded epochs are read and drawn."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from converter.data.photos import Photo
from training.fit.curves import PAGE, PICTURE, render_curves, table_rows, write_run_report
from training.fit.history import TRAIN_SAMPLE, read_history, train_sample
from training.fit.metrics import Score

STAGES = "[[stage]]\nsize = 32\nepochs = 2\nlearning_rate = 1e-3\n[[stage]]\nsize = 48\nepochs = 3\nlearning_rate = 1e-4\n"
ACCURACIES = [(1, 1, 0.5, 1.0), (1, 2, 0.9, 0.4), (2, 1, 0.6, 0.8), (2, 2, 0.8, 0.6), (2, 3, 0.8, 0.7)]
"""stage, epoch, validation accuracy and loss: the best epoch of all is not in the last stage, whose best is its second"""


def noted(run: Path, recipe: str = STAGES, train: bool = True) -> Path:
    run.mkdir()
    (run / "recipe.toml").write_text(recipe)
    own = {"train_accuracy": 0.95, "train_nll": 0.1, "train_n": 30} if train else {}
    lines = [
        {"stage": stage, "epoch": epoch, "loss": 1.2, "val_accuracy": accuracy, "val_nll": nll, "val_n": 40, "rate": 1e-3, "images_per_s": 9.0, **own}
        for stage, epoch, accuracy, nll in ACCURACIES
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if train:
        first = [{"epoch": epoch, "val_accuracy": 0.3 + epoch / 10, "val_nll": 1.5 - epoch, "val_n": 40, **own} for epoch in (0, 1)]
        (run / "first_phase.jsonl").write_text("".join(json.dumps(line) + "\n" for line in first))
    return run


@pytest.mark.parametrize(
    ("recipe", "kept"),
    [(STAGES, 3), (f'keep = "last"\n{STAGES}', 4), (f"start_share = 0.5\n{STAGES}", None), (f'keep = "last"\n{STAGES}patience = 2\n', 3)],
)
def test_the_selected_epoch_follows_the_recipe(tmp_path: Path, recipe: str, kept: int | None) -> None:
    history = read_history(noted(tmp_path / "run", recipe))
    assert history is not None
    assert (history.selected, history.stage_starts, history.train_n, history.val_n) == (kept, (2,), 30, 40)


def test_an_epoch_recorded_twice_counts_once(tmp_path: Path) -> None:
    metrics = noted(tmp_path / "run") / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join([*lines[:2], lines[1], *lines[2:]]) + "\n")
    history = read_history(tmp_path / "run")
    assert history is not None and len(history.epochs) == len(ACCURACIES)


def test_a_finished_run_gets_curves_and_a_page(tmp_path: Path) -> None:
    run = noted(tmp_path / "run")
    write_run_report(run, Score(0.8, 40, 0.6, (0.8, 0.8)))
    assert cv2.imread(str(run / PICTURE)).std() > 1
    page = (run / PAGE).read_text(encoding="utf-8")
    assert "0.8000" in page and "validation accuracy of 40 photos" in page and "data:image/png;base64," in page
    assert "before" in page and "first phase" in page and "epochs 3, learning_rate 0.0001, size 48" in page
    history = read_history(run)
    assert history is not None
    places = [row[:2] for row in table_rows(history)]
    assert places == [("before", "0"), ("first phase", "1"), ("1", "1"), ("1", "2"), ("2", "1"), ("2", "2"), ("2", "3")]
    assert {len(row) for row in table_rows(history)} == {10}


def test_runs_with_few_or_no_records_are_drawn_as_far_as_possible(tmp_path: Path) -> None:
    old = read_history(noted(tmp_path / "old", train=False))
    assert old is not None and old.epochs[0].train_accuracy is None and not old.first_phase
    features = noted(tmp_path / "features", "")
    (features / "metrics.jsonl").unlink()
    only_first = read_history(features)
    assert only_first is not None and only_first.selected is None
    for history in (old, only_first):
        assert cv2.imdecode(np.frombuffer(render_curves({"run": history}), np.uint8), cv2.IMREAD_COLOR).std() > 1
    (tmp_path / "grafted").mkdir()
    assert read_history(tmp_path / "grafted") is None
    write_run_report(tmp_path / "grafted", Score(0.8, 40, 0.6, (0.8,)))
    assert not list((tmp_path / "grafted").iterdir())


def test_many_runs_are_drawn_in_rows_of_four(tmp_path: Path) -> None:
    history = read_history(noted(tmp_path / "run"))
    assert history is not None
    pictures = (np.frombuffer(render_curves(dict.fromkeys(names, history)), np.uint8) for names in ("abcd", "abcdef"))
    sizes = [cv2.imdecode(picture, cv2.IMREAD_COLOR).shape for picture in pictures]
    assert sizes[0][1] == sizes[1][1] and 2 * sizes[0][0] == sizes[1][0]


def test_the_train_sample_holds_all_of_few_and_some_of_many() -> None:
    photos = [
        Photo(f"{label}/{number}", label, Path(f"{label}/{number}")) for label, count in (("can", 900), ("cup", 300)) for number in range(count)
    ]
    assert train_sample(photos[:TRAIN_SAMPLE]) == tuple(photos[:TRAIN_SAMPLE])
    some = train_sample(photos)
    assert len(some) == 240
    assert sum(photo.label == "can" for photo in some) == 3 * sum(photo.label == "cup" for photo in some)
