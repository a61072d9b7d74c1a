"""Training curves of a run: loss and accuracy of each epoch on training and validation photos, as a picture and a page."""

import io
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from device.common.wording import fixed_point
from training.fit.history import EpochMetrics, History, read_history
from training.fit.recipe import RecipeError, Stage, TrainingRecipe, read_run_recipe
from training.report import fonts
from training.report.colours import BLUE, GREY, ORANGE
from training.report.page import Page

if TYPE_CHECKING:
    from training.fit.metrics import Score

PICTURE, PAGE = "curves.png", "report.html"
HEAD = ("stage", "epoch", "loss", "train loss", "train accuracy", "val loss", "val accuracy", "isolated", "rate", "images/s")
MOST_BESIDE = 4
"""runs beside each other in one row of panels"""
GREEN = "#1b7837"
EXPLAINED = (
    "Losses are mean negative log likelihoods of photos without augmentation, by the averaged weights. The thin grey line is the training loss, of "
    "augmented, mixed views and smoothed labels, so it is higher. Epoch 0: what the stages start from; a hollow ring is the network before the first "
    "phase. Dotted lines: a new stage. A ring around a point: the selected epoch."
)


def write_run_report(run: Path, score: "Score") -> None:
    """Write curves.png and report.html into a finished run that recorded epochs. score: of the result on the validation photos."""
    history = read_history(run)
    if history is None:
        return
    page = Page(run.resolve().name)
    page.figure(f"{score.accuracy:.4f}", f"validation accuracy of {score.n} photos; nll {score.nll:.3f}")
    picture = render_curves({"": history})
    (run / PICTURE).write_bytes(picture)
    add_curves(page, history, picture)
    page.heading("Settings")
    page.table(("setting", "value"), _settings(run))
    (run / PAGE).write_text(page.html(), encoding="utf-8")


def add_curves(page: Page, history: History, picture: bytes) -> None:
    """Add the section on training to a page: curves, caption and the table of epochs."""
    page.heading("How it was trained")
    page.picture(picture, "png", "loss and accuracy of each epoch on training and validation photos")
    page.note(caption(history))
    page.table(HEAD, table_rows(history))
    if len(history.first_phase) > 2:
        page.heading("The first phase: heads on frozen features")
        first_phase = History(history.first_phase[:1], history.first_phase[1:], None, None, None)
        page.picture(render_curves({"": first_phase}), "png", "loss and accuracy of the first phase")


def caption(history: History) -> str:
    """The note below the curves."""
    measured = f"Measured on {history.val_n} validation and {history.train_n} training photos. " if history.val_n and history.train_n else ""
    return measured + EXPLAINED


def table_rows(history: History) -> list[tuple[str, ...]]:
    """One row an epoch, with the columns of HEAD; of a long first phase the first and last epoch only."""
    first = history.first_phase[:2] if len(history.first_phase) < 3 else (history.first_phase[0], history.first_phase[-1])
    named = [("before" if number == 0 else "first phase", epoch) for number, epoch in enumerate(first)]
    return [_row(name, epoch) for name, epoch in [*named, *((str(epoch.stage), epoch) for epoch in history.epochs)]]


def render_curves(histories: Mapping[str, History]) -> bytes:
    """Draw the curves of these runs side by side, as a PNG."""
    encoded = io.BytesIO()
    with fonts.drawn_in_our_fonts():
        curves_figure(histories).savefig(encoded, format="png", dpi=130)
    return encoded.getvalue()


def curves_figure(histories: Mapping[str, History]) -> Figure:
    """A panel of losses for each run and one of accuracies below it, all on the same scales, at most MOST_BESIDE in a row."""
    columns = min(MOST_BESIDE, len(histories))
    bands = -(-len(histories) // columns)
    made = Figure(figsize=(7.5 if columns == 1 else 3.6 * columns + 0.6, 6 * bands), layout="constrained")
    panels = made.subplots(2 * bands, columns, squeeze=False)
    top = _top(list(histories.values()))
    for place, (name, history) in enumerate(histories.items()):
        band, column = divmod(place, columns)
        losses, accuracies = panels[2 * band, column], panels[2 * band + 1, column]
        _plot_losses(losses, history, top)
        _plot_accuracies(accuracies, history)
        losses.set_title(name, size=10)
        if column == 0:
            losses.set_ylabel("loss, nats")
            accuracies.set_ylabel("accuracy")
    for axes in panels.flat:
        axes.set_visible(axes.has_data())
    handles = {label: handle for axes in panels.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    made.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(4, len(handles)), frameon=False, fontsize=9)
    return made


def _plot_losses(axes: Axes, history: History, top: float) -> None:
    trained_on = [epoch.loss for epoch in history.epochs]
    axes.plot(range(1, len(trained_on) + 1), [math.nan if loss is None else loss for loss in trained_on], color=GREY, linewidth=0.8)
    axes.plot([], [], color=GREY, linewidth=0.8, label="training loss")
    _curve(axes, history, "train_loss", BLUE, "training")
    _curve(axes, history, "val_loss", ORANGE, "validation")
    _curve(axes, history, "isolated_loss", GREEN, "validation, isolated items")
    _style_axes(axes, history)
    axes.set_ylim(0, top)


def _plot_accuracies(axes: Axes, history: History) -> None:
    _curve(axes, history, "train_accuracy", BLUE, "training")
    _curve(axes, history, "val_accuracy", ORANGE, "validation")
    _curve(axes, history, "isolated_accuracy", GREEN, "validation, isolated items")
    _style_axes(axes, history)
    axes.set(xlabel="epoch", ylim=(0, 1.02))


def _curve(axes: Axes, history: History, measure: str, colour: str, name: str) -> None:
    """A line from epoch 0, what the stages start from, through all epochs. A hollow ring at 0 is the network before the first phase."""
    before: list[float | None] = [getattr(epoch, measure) for epoch in history.first_phase]
    values: list[float | None] = [before[-1] if before else None, *(getattr(epoch, measure) for epoch in history.epochs)]
    measured = [(number, value) for number, value in enumerate(values) if value is not None]
    if not measured:
        return
    style = "o--" if measure.startswith("isolated") else "o-"
    axes.plot([number for number, _ in measured], [value for _, value in measured], style, color=colour, markersize=3.5, linewidth=1.6, label=name)
    if len(before) > 1 and before[0] is not None:
        axes.plot(0, before[0], "o", color=colour, markersize=6, markerfacecolor="white", clip_on=False, zorder=3)
    if history.selected is not None and history.epochs and (value := values[history.selected + 1]) is not None:
        axes.plot(history.selected + 1, value, "o", color=colour, markersize=10, markerfacecolor="none")


def _style_axes(axes: Axes, history: History) -> None:
    for start in history.stage_starts:
        axes.axvline(start + 0.5, color=GREY, linewidth=0.8, linestyle=":")
    count = max(1, len(history.epochs))
    axes.set_xlim(-0.03 * count, 1.03 * count)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#dddddd")
    axes.set_axisbelow(True)


def _top(histories: Sequence[History]) -> float:
    """Upper limit of the loss panels: above the largest loss, but at most four times the median."""
    found = [
        loss
        for history in histories
        for epoch in (*history.first_phase[1:], *history.epochs)
        for loss in (epoch.loss, epoch.train_loss, epoch.val_loss, epoch.isolated_loss)
        if loss is not None
    ]
    return 1.08 * min(max(found), 4 * statistics.median(found)) if found else 1.0


def _row(stage: str, epoch: EpochMetrics) -> tuple[str, ...]:
    return (
        stage,
        str(epoch.epoch),
        *(fixed_point(value) for value in (epoch.loss, epoch.train_loss, epoch.train_accuracy, epoch.val_loss, epoch.val_accuracy)),
        fixed_point(epoch.isolated_accuracy),
        "" if epoch.learning_rate is None else f"{epoch.learning_rate:.2e}",
        "" if epoch.images_per_s is None else f"{epoch.images_per_s:.0f}",
    )


def _settings(run: Path) -> list[tuple[str, str]]:
    """The recipe's settings that differ from the defaults."""
    try:
        recipe = read_run_recipe(run)
    except RecipeError:
        return []
    named = _named(recipe, TrainingRecipe(backbone="", seed=-1))
    return [(key, _listed(value) if isinstance(value, dict) else str(value)) for key, value in named.items()] + [
        (f"stage {number}", _listed(_named(stage, Stage(epochs=0, learning_rate=0.0)))) for number, stage in enumerate(recipe.stage, start=1)
    ]


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _named(settings: msgspec.Struct, usual: msgspec.Struct) -> dict[str, Any]:
    """The settings that differ from `usual`, without the stages."""
    own, others = msgspec.to_builtins(settings), msgspec.to_builtins(usual)
    return {key: value for key, value in own.items() if value != others[key] and key != "stage"}
