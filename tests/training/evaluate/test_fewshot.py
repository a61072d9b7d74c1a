"""`training fewshot`: few-shot accuracy of embeddings on unknown labels."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.vision.inference.bundle import find_bundle
from training.cli import main
from training.evaluate.fewshot import QUERIES, FewShotError, draw_episodes, few_shot_accuracy

BUNDLE = find_bundle("trashnet")
TARGETS = np.repeat(np.arange(8), [30, 25, 20, 18, 12, 11, 6, 2])


@given(labels=st.integers(2, 6), shots=st.integers(1, 10), seed=st.integers(0, 99))
def test_episodes_have_equal_support_and_separate_queries(labels: int, shots: int, seed: int) -> None:
    draws = list(draw_episodes(TARGETS, labels, shots, 3, seed))
    assert len(draws) == 3
    for draw in draws:
        known, shown = np.unique(TARGETS[draw.support], return_counts=True)
        assert len(known) == labels
        assert set(shown) == {shots}
        assert not set(draw.support) & set(draw.queries)
        of_each = np.bincount(TARGETS, minlength=8)[known]
        np.testing.assert_array_equal(np.unique(TARGETS[draw.queries], return_counts=True), (known, np.minimum(of_each - shots, QUERIES)))


def test_too_few_photos_are_reported() -> None:
    with pytest.raises(FewShotError, match="at least 6 labels with more than 11 photos, found 5"):
        list(draw_episodes(TARGETS, 6, 11, 1, 0))


def test_separable_embeddings_score_high_and_noise_does_not() -> None:
    rng = np.random.default_rng(4)
    middles = rng.normal(size=(8, 40))
    apart = (middles[TARGETS] + 0.3 * rng.normal(size=(len(TARGETS), 40))).astype(np.float32)
    noise = rng.normal(size=(len(TARGETS), 40)).astype(np.float32)
    draws = list(draw_episodes(TARGETS, 4, 5, 60, 1))
    told, guessed = few_shot_accuracy(apart, TARGETS, draws), few_shot_accuracy(noise, TARGETS, draws)
    assert told.mean > 0.97
    assert abs(guessed.mean - 0.25) < 4 * guessed.error
    assert few_shot_accuracy(1000 * apart, TARGETS, draws).mean == pytest.approx(told.mean)


def test_models_are_measured_on_the_same_episodes(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fewshot", str(BUNDLE), str(BUNDLE), "--photos", str(shapes), "--labels", "2", "--shots", "1", "2", "--draws", "7"]
    assert main(arguments) == 0
    one, same, last = capsys.readouterr().out.splitlines()
    assert one == same
    assert one.startswith(f"{BUNDLE} (int8): 1 shown: ")
    assert "  2 shown: " in one
    assert "7 draws of 2 of" in last
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["photos"], told["of_labels"], told["draws"]) == (36, 3, 7)
    first, second = told["models"]
    assert first == second
    assert f"1 shown: {first['told']['1']['mean']:.3f} +- {first['told']['1']['error']:.3f}" in one


def test_too_few_labels_give_one_clear_line(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["carry", str(BUNDLE), "--photos", str(shapes), "--labels", "40"]) == 2
    assert capsys.readouterr().err.strip().startswith("training fewshot: expected at least 40 labels with more than 5 photos, found")


@pytest.mark.parametrize(("option", "given", "least"), [("--labels", "1", 2), ("--shots", "0", 1), ("--draws", "few", 1), ("--seed", "-1", 0)])
def test_numbers_out_of_range_are_refused(option: str, given: str, least: int, shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["fewshot", str(BUNDLE), "--photos", str(shapes), f"{option}={given}"])
    assert left.value.code == 2
    assert f"argument {option}: expected a whole number of at least {least}, found {given}" in capsys.readouterr().err
