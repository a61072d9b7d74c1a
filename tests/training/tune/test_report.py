"""The report of a study: importances and correlations of known functions, and its files."""

import json
from pathlib import Path

import numpy as np
import optuna
import pytest

from training.fit.recipe import read_recipe
from training.tune.report import ranks, slices, study_report, write
from training.tune.space import Space, read_space

SPACE = Path(__file__).parents[3] / "config" / "spaces" / "scratch-cnn.toml"


@pytest.fixture(scope="module")
def space() -> Space:
    return read_space(SPACE)


@pytest.fixture(scope="module")
def study(space: Space) -> optuna.Study:
    """24 trials whose accuracy rises with the logarithm of the rate, and a little with features of 64; 6 more are pruned."""
    from training.tune.study import sample_values

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(3))

    def objective(trial: optuna.Trial) -> float:
        trial.set_user_attr("n", 200)
        values = sample_values(trial, space)
        trial.report(0.3, 1)
        if trial.number % 5 == 4:
            raise optuna.TrialPruned
        return round(200 * (0.9 + 0.15 * np.log10(values["stage.0.learning_rate"] * 100) + 0.05 * (values["scratch.features"] == 64))) / 200

    made.optimize(objective, n_trials=30)
    return made


def test_the_decisive_hyperparameter_ranks_first(study: optuna.Study, space: Space) -> None:
    found = study_report(study, space)
    assert (found.complete, found.pruned, found.failed) == (24, 6, 0)
    assert found.importance is not None
    assert max(found.importance, key=found.importance.__getitem__) == "stage.0.learning_rate"
    strongest = found.correlations[0]
    assert (strongest.what, strongest.n) == ("log stage.0.learning_rate", 24)
    assert strongest.spearman.low > 0.7
    assert strongest.pearson.low <= strongest.pearson.value <= strongest.pearson.high
    unrelated = next(entry for entry in found.correlations if entry.what == "scratch.batch_norm")
    assert abs(unrelated.pearson.value) < strongest.pearson.value


def test_equal_values_share_their_mean_rank() -> None:
    assert ranks(np.array([5.0, 1.0, 5.0, 9.0])).tolist() == [2.5, 1.0, 2.5, 4.0]


def test_report_and_best_recipe_are_written(study: optuna.Study, space: Space, tmp_path: Path) -> None:
    write(study, space, tmp_path)
    best = read_recipe(tmp_path / "best-recipe.toml")
    assert best == space.recipe(study.best_params)
    assert {path.name for path in tmp_path.glob("*.png")} == {"history.png", "importance.png", "parallel.png", "slices.png"}
    assert json.loads((tmp_path / "report.json").read_text())["best"]["accuracy"]["n"] == 200
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "://" not in page and "<script" not in page


def test_accuracy_by_hyperparameter_has_a_panel_for_each(study: optuna.Study, space: Space) -> None:
    figure = slices(study_report(study, space), space)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_xlabel() for axes in shown] == list(space.sample)
    rate = shown[list(space.sample).index("stage.0.learning_rate")]
    assert rate.get_xscale() == "log" and len(rate.lines[0].get_xdata()) == 24
    features = shown[list(space.sample).index("scratch.features")]
    told = [label.get_text() for label in features.get_xticklabels()]
    assert [text.split("\n")[0] for text in told] == ["16", "32", "64"]
    assert sum(int(text.split("(")[1].rstrip(")")) for text in told) == 24


def test_a_study_without_trials_has_a_report_too(space: Space, tmp_path: Path) -> None:
    told = write(optuna.create_study(direction="maximize"), space, tmp_path)
    assert told == "0 complete, 0 pruned, 0 failed trials"
    assert not (tmp_path / "best-recipe.toml").exists()


def test_unexplained_accuracies_have_no_importance(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text(
        '[recipe]\n[[recipe.stage]]\nsize = 32\nepochs = 1\nlearning_rate = 1e-3\n[sample."scratch.features"]\nchoices = [4, 8]\n'
    )
    space = read_space(tmp_path / "space.toml")
    study = optuna.create_study(direction="maximize")
    kept = {"scratch.features": optuna.distributions.CategoricalDistribution((4, 8))}
    for accuracy in (0.25, 0.25, 0.5, 0.5):
        study.add_trial(optuna.create_trial(value=accuracy, params={"scratch.features": 4}, distributions=kept, user_attrs={"n": 8}))
    found = study_report(study, space)
    assert found.importance is None and found.complete == 4
    write(study, space, tmp_path)
    assert (tmp_path / "report.html").is_file() and not (tmp_path / "importance.png").exists()
