"""The report of a study: report.html, report.json, plots, and the best recipe."""

import io
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import optuna
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from optuna.trial import FrozenTrial, TrialState

from converter.common.proportion import Proportion, proportion
from device.common.arrays import Float64Array
from training.report.colours import BLUE, GREY, ORANGE
from training.report.page import Page
from training.tune.space import Choices, NumberRange, Space, Value, recipe_toml
from training.tune.study import folder_of

SLICES_BESIDE = 3
"""hyperparameter panels in a row"""
LEAST_TRIALS = 4
"""fewest complete trials for importances and correlations"""


class Coefficient(msgspec.Struct, frozen=True):
    """A correlation -1..1 and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


class Correlation(msgspec.Struct, frozen=True):
    """Correlation of one hyperparameter, or one choice of it, with validation accuracy over n complete trials.

    Spearman: of ranks, interval of Fieller, Hartley & Pearson 1957. Pearson: of logarithms where the space is logarithmic, interval of Fisher 1921.
    """

    what: str
    n: int
    spearman: Coefficient
    pearson: Coefficient


class TrialRow(msgspec.Struct, frozen=True):
    """One trial. accuracy: of the best epoch of a complete one, of the last epoch of a pruned one."""

    number: int
    state: str
    folder: str
    epochs: int
    accuracy: Proportion | None
    params: dict[str, Value]


class TuneReport(msgspec.Struct, frozen=True):
    """importance: each hyperparameter's share of the variance of accuracy (fANOVA; Hutter et al. 2014), None for too few trials."""

    study: str
    complete: int
    pruned: int
    failed: int
    best: TrialRow | None
    importance: dict[str, float] | None
    correlations: list[Correlation]
    trials: list[TrialRow]


def write(study: optuna.Study, space: Space, out: Path) -> str:
    """Write the report into `out` and return a one-line summary."""
    found = study_report(study, space)
    best = found.best
    drawn = {"history": history(found)} if found.complete else {}
    if found.importance:
        drawn["importance"] = importance(found.importance, found.complete)
    if found.complete:
        drawn["slices"] = slices(found, space)
        drawn["parallel"] = parallel(found, space)
    (out / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2))
    if best is not None:
        (out / "best-recipe.toml").write_text(
            f"# Trial {best.number} of {len(found.trials)}: validation accuracy {best.accuracy}.\n# The best of many on the same photos is "
            f"flattered by the choice; measure it on others.\n{recipe_toml(space.table(best.params))}",
            encoding="utf-8",
        )
    pictures = {name: _png(figure) for name, figure in drawn.items()}
    for name, picture in pictures.items():
        (out / f"{name}.png").write_bytes(picture)
    (out / "report.html").write_text(_page(found, pictures), encoding="utf-8")
    counted = f"{found.complete} complete, {found.pruned} pruned, {found.failed} failed trials"
    return counted if best is None else f"{counted}; best is trial {best.number}, validation accuracy {best.accuracy}"


def study_report(study: optuna.Study, space: Space) -> TuneReport:
    """All figures of the report."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished() and "surplus" not in trial.user_attrs]
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    rows = [_row(trial) for trial in trials]
    count = {state: sum(trial.state == state for trial in trials) for state in TrialState}
    best = max((row for row in rows if row.state == "complete"), key=lambda row: row.accuracy.share if row.accuracy else 0, default=None)
    return TuneReport(
        study=study.study_name,
        complete=count[TrialState.COMPLETE],
        pruned=count[TrialState.PRUNED],
        failed=count[TrialState.FAIL],
        best=best,
        importance=_importance(study, complete),
        correlations=correlations([trial.params for trial in complete], [float(trial.value or 0) for trial in complete], space, len(complete)),
        trials=rows,
    )


def correlations(params: Sequence[Mapping[str, Value]], accuracies: Sequence[float], space: Space, n: int) -> list[Correlation]:
    """The strongest first. Numbers are used themselves, each other choice as 1 where taken and 0 where not; constants are left out."""
    wanted = np.array(accuracies)
    found = []
    for place, entry in space.sample.items():
        for what, values in _columns(place, entry, [own[place] for own in params if place in own]):
            if len(values) == n >= LEAST_TRIALS and np.ptp(values) and np.ptp(wanted):
                spearman = _coefficient(ranks(values), ranks(wanted), 1.06)
                found.append(Correlation(what, n, spearman, _coefficient(values, wanted, 1.0)))
    return sorted(found, key=lambda entry: -abs(entry.spearman.value))


def ranks(values: Float64Array) -> Float64Array:
    """Ranks from 1; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def history(found: TuneReport) -> Figure:
    """Validation accuracy of each trial, and the best so far."""
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.add_subplot()
    for state, marker, colour in (("complete", "o", BLUE), ("pruned", "x", GREY)):
        own = [row for row in found.trials if row.state == state and row.accuracy]
        axes.plot(
            [row.number for row in own], [row.accuracy.share for row in own if row.accuracy], marker, color=colour, label=f"{state} ({len(own)})"
        )
    complete = [(row.number, row.accuracy.share) for row in found.trials if row.state == "complete" and row.accuracy]
    best = np.maximum.accumulate([accuracy for _, accuracy in complete])
    axes.step([number for number, _ in complete], best, where="post", color=ORANGE, label="best so far")
    n = found.best.accuracy.n if found.best and found.best.accuracy else 0
    axes.set(xlabel="trial", ylabel=f"validation accuracy of {n} photos")
    axes.set_title(f"{len(found.trials)} trials", size=10)
    axes.locator_params(axis="x", integer=True)
    axes.grid(color="#dddddd")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def importance(shares: Mapping[str, float], n: int) -> Figure:
    """Share of the variance of accuracy that each hyperparameter explains."""
    figure = Figure(figsize=(7.5, 1.2 + 0.35 * len(shares)), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(list(shares), list(shares.values()), 0.7, color=BLUE)
    axes.bar_label(bars, fmt="%.2f", padding=3, size=8)
    axes.set(xlim=(0, 1.05), xlabel="share of the variance that is explained (fANOVA)")
    axes.set_title(f"Importance, {n} complete trials", size=10)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    return figure


def slices(found: TuneReport, space: Space) -> Figure:
    """Validation accuracy of every complete trial against each hyperparameter; choices also with their mean and number of trials."""
    rows = [row for row in found.trials if row.state == "complete" and row.accuracy]
    columns = min(SLICES_BESIDE, len(space.sample))
    bands = -(-len(space.sample) // columns)
    figure = Figure(figsize=(max(7.5, 3.4 * columns), 0.4 + 2.9 * bands), layout="constrained")
    panels = figure.subplots(bands, columns, squeeze=False, sharey=True)
    for axes, (place, entry) in zip(panels.flat, space.sample.items(), strict=False):
        own = [(row.params[place], row.accuracy.share) for row in rows if place in row.params and row.accuracy]
        if isinstance(entry, NumberRange):
            axes.plot([value for value, _ in own], [accuracy for _, accuracy in own], "o", color=BLUE, alpha=0.6, markersize=5)
            axes.set_xscale("log" if entry.log else "linear")
            marks = (entry.low, math.sqrt(entry.low * entry.high) if entry.log else (entry.low + entry.high) / 2, entry.high)
            axes.set_xticks(marks, [f"{mark:.3g}" for mark in marks], size=8)
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            _choices(axes, entry, own)
        axes.set_xlabel(place)
        axes.grid(axis="y", color="#dddddd")
    for axes in panels.flat[len(space.sample) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel("validation accuracy")
    figure.suptitle(f"{len(rows)} complete trials, each on {rows[0].accuracy.n if rows and rows[0].accuracy else 0} photos", size=10)
    return figure


def _choices(axes: Axes, entry: Choices, own: Sequence[tuple[Value, float]]) -> None:
    rng = np.random.default_rng(0)
    texts = []
    for place, choice in enumerate(entry.stored):
        accuracies = [accuracy for value, accuracy in own if value == choice]
        axes.plot(place + rng.uniform(-0.12, 0.12, len(accuracies)), accuracies, "o", color=BLUE, alpha=0.6, markersize=5)
        if accuracies:
            axes.plot([place - 0.3, place + 0.3], [np.mean(accuracies)] * 2, color=ORANGE, linewidth=2)
        texts.append(f"{_value_text(choice)}\n({len(accuracies)})")
    axes.set_xticks(range(len(texts)), texts, size=8)
    axes.set_xlim(-0.6, len(texts) - 0.4)


def parallel(found: TuneReport, space: Space) -> Figure:
    """Parallel coordinates: each complete trial is a line over its hyperparameters, coloured by accuracy, the best on top."""
    rows = sorted(
        (row for row in found.trials if row.state == "complete" and row.accuracy), key=lambda row: row.accuracy.share if row.accuracy else 0
    )
    places = list(space.sample)
    scores = np.array([row.accuracy.share for row in rows if row.accuracy])
    low, high = float(scores.min()), float(scores.max())
    figure = Figure(figsize=(max(7.5, 1.5 * (len(places) + 1)), 4.8), layout="constrained")
    axes = figure.add_subplot()
    norm = (scores - low) / (high - low) if high > low else np.ones(len(scores))
    heights = np.array([[_height(space.sample[place], row.params[place]) for place in places] for row in rows])
    for own, shade in zip(heights, norm, strict=True):
        axes.plot(range(len(places)), own, color=colormaps["viridis_r"](shade), alpha=0.35 + 0.65 * shade, linewidth=1 + 1.5 * shade)
    for column, place in enumerate(places):
        axes.axvline(column, color=GREY, linewidth=0.8)
        for height, text in _ticks(space.sample[place]):
            axes.annotate(
                text, (column, height), (3, 0), textcoords="offset points", size=9, va="center", bbox={"fc": "white", "ec": "none", "pad": 0.5}
            )
    axes.set_xticks(range(len(places)), places, size=9, rotation=25, ha="right")
    axes.set(yticks=[], xlim=(-0.1, len(places) - 0.4), ylim=(-0.06, 1.06))
    for side in axes.spines.values():
        side.set_visible(False)
    n = rows[0].accuracy.n if rows[0].accuracy else 0
    colours = ScalarMappable(Normalize(low, high if high > low else low + 1e-9), "viridis_r")
    figure.colorbar(colours, ax=axes, label=f"validation accuracy of {n} photos")
    axes.set_title(f"{len(rows)} complete trials", size=10)
    return figure


def _row(trial: FrozenTrial) -> TrialRow:
    n, value = int(trial.user_attrs.get("n", 0)), trial.value
    right = proportion(round(value * n), n) if n and value is not None else None
    return TrialRow(trial.number, trial.state.name.lower(), folder_of(trial), max(trial.intermediate_values, default=0), right, dict(trial.params))


def _importance(study: optuna.Study, complete: Sequence[FrozenTrial]) -> dict[str, float] | None:
    if len(complete) < LEAST_TRIALS or len({trial.value for trial in complete}) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of hyperparameters that never varied; they are left out
        try:
            shares = optuna.importance.get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0))
        except RuntimeError:  # no sampled hyperparameter explains the variance
            return None
    return {place: float(found) for place, found in shares.items()}


def _columns(place: str, entry: Choices | NumberRange, stored: Sequence[Value]) -> list[tuple[str, Float64Array]]:
    if isinstance(entry, NumberRange):
        values = np.array(stored, float)
        return [(f"log {place}", np.log(values))] if entry.log else [(place, values)]
    if all(isinstance(choice, int | float) for choice in entry.stored):
        return [(place, np.array(stored, float))]
    return [(f"{place} = {choice}", np.array([value == choice for value in stored], float)) for choice in entry.stored]


def _coefficient(first: Float64Array, second: Float64Array, widened: float) -> Coefficient:
    value = float(np.clip(np.corrcoef(first, second)[0, 1], -1, 1))
    middle, half = math.atanh(min(max(value, -0.999999), 0.999999)), 1.96 * math.sqrt(widened / (len(first) - 3))
    return Coefficient(value, math.tanh(middle - half), math.tanh(middle + half))


def _height(entry: Choices | NumberRange, stored: Value) -> float:
    if isinstance(entry, Choices):
        return entry.stored.index(stored) / (len(entry.stored) - 1)
    assert not isinstance(stored, str)
    scale = math.log if entry.log else float
    return (scale(stored) - scale(entry.low)) / (scale(entry.high) - scale(entry.low))


def _ticks(entry: Choices | NumberRange) -> list[tuple[float, str]]:
    if isinstance(entry, Choices):
        return [(_height(entry, stored), str(stored)) for stored in entry.stored]
    middle = math.sqrt(entry.low * entry.high) if entry.log else (entry.low + entry.high) / 2
    return [(_height(entry, value), f"{value:.3g}") for value in (entry.low, middle, entry.high)]


def _png(figure: Figure) -> bytes:
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", dpi=150)
    return encoded.getvalue()


def _page(found: TuneReport, pictures: Mapping[str, bytes]) -> str:
    page = Page(f"Study {found.study}")
    page.paragraph(f"{found.complete} complete, {found.pruned} pruned and {found.failed} failed trials.")
    if found.best is not None and found.best.accuracy is not None:
        page.figure(f"{found.best.accuracy.share:.4f}", f"validation accuracy of trial {found.best.number}: {found.best.accuracy}")
        page.note("The best of many trials on the same photos is flattered by the choice; measure it on others.")
        page.table(["hyperparameter", "best trial"], [[place, _value_text(value)] for place, value in found.best.params.items()])
    for name, shows in (
        ("history", "validation accuracy of each trial, and the best so far"),
        ("importance", "importance of each hyperparameter"),
        ("slices", "accuracy by hyperparameter"),
        ("parallel", "parallel coordinates: hyperparameters and accuracy of each complete trial"),
    ):
        if name in pictures:
            page.heading(shows[0].upper() + shows[1:])
            page.picture(pictures[name], "png", shows)
    page.heading("Correlation with validation accuracy")
    if found.correlations:
        page.table(
            ["hyperparameter", "n", "Spearman (95 %)", "Pearson (95 %)"],
            [[entry.what, str(entry.n), str(entry.spearman), str(entry.pearson)] for entry in found.correlations],
        )
        page.note("Over complete trials. The sampler tries good values more often, so this describes the search, not the recipes in general.")
    else:
        page.paragraph(f"Too few complete trials ({found.complete}), or nothing varied.")
    page.heading("Trials")
    places = list(dict.fromkeys(place for row in found.trials for place in row.params))
    page.table(
        ["trial", "state", "epochs", "accuracy (95 %)", "n", *places],
        [
            [str(row.number), row.state, str(row.epochs), *_accuracy(row.accuracy), *(_value_text(row.params.get(place, "")) for place in places)]
            for row in found.trials
        ],
    )
    return page.html()


def _accuracy(found: Proportion | None) -> tuple[str, str]:
    return ("", "") if found is None else (found.with_interval(), str(found.n))


def _value_text(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
