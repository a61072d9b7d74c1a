"""The plots of an evaluation, as matplotlib figures. Labels may be in any language; colours suit colour-blind readers."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from converter.common.accuracy import Ints
from converter.common.proportion import Proportion
from device.common.arrays import Float64Array
from training.evaluate.confidence_calibration import CalibrationReport, Reliability
from training.evaluate.evaluation import Evaluation, Robustness
from training.evaluate.measures import LabelMeasures, entropy_bits
from training.evaluate.selective import OperatingPoint, RiskCoverage, thin_curve
from training.report.colours import BLUE, GREY, INK, ORANGE, RIGHT, WRONG


def figures(evaluation: Evaluation) -> Iterator[tuple[str, Figure]]:
    """Every plot with its name, in the order of the report."""
    report = evaluation.report
    labels = report.model.labels
    yield "confusion", confusion(report.confusion, labels)
    yield "labels", per_label(report.labels)
    yield "entropy", entropy(entropy_bits(evaluation.probabilities), evaluation.answers.targets, evaluation.answers.right, labels)
    yield "reliability", reliability(report.calibration)
    yield "risk_coverage", risk_coverage(report.selective)
    if report.robustness is not None:
        yield "robustness", robustness(report.robustness)


def confusion(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> Figure:
    """Photos by true label (rows) and predicted label (columns), shaded by the share of the row."""
    table = np.array(counts)
    n = len(labels)
    side = 1.6 + 0.45 * n if n <= 20 else 2.5 + 0.28 * n
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    rows = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axes.imshow(rows, cmap="Blues", vmin=0, vmax=1)
    size = 9 if n <= 20 else 8
    for row in range(n):
        for column in range(n):
            if table[row, column]:
                light = rows[row, column] > 0.55
                axes.text(column, row, str(table[row, column]), ha="center", va="center", size=size, color="white" if light else INK)
    axes.set_xticks(range(n), labels, rotation=90 if n > 12 else 45, ha="center" if n > 12 else "right", rotation_mode=None if n > 12 else "anchor")
    axes.set_yticks(range(n), [f"{label} ({total})" for label, total in zip(labels, table.sum(axis=1), strict=True)])
    axes.tick_params(labelsize=size, length=0)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    axes.set(xlabel="named", ylabel="true label (photos)", title=f"Confusion, {table.sum()} photos")
    return figure


def per_label(measured: Sequence[LabelMeasures]) -> Figure:
    """Precision, recall and F1 of each label; the first two with their 95 % intervals."""
    figure = Figure(figsize=(7.5, 1.4 + 0.5 * len(measured)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(measured), dtype=np.float64)
    _shares(axes, places - 0.27, [entry.precision for entry in measured], BLUE, "precision")
    _shares(axes, places, [entry.recall for entry in measured], ORANGE, "recall")
    axes.barh(places + 0.27, [entry.f1 or 0 for entry in measured], 0.25, color=GREY, label="F1")
    axes.set_yticks(places, [f"{entry.label} ({entry.n})" for entry in measured])
    axes.set(xlim=(0, 1), title=f"Per label, {sum(entry.n for entry in measured)} photos; bars end at the value, lines are 95 % intervals")
    axes.title.set_fontsize(10)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def entropy(bits: Float64Array, targets: Ints, right: npt.NDArray[np.bool_], labels: Sequence[str]) -> Figure:
    """Entropy of each photo's prediction by label: right predictions as dots, wrong ones as crosses, the mean as a bar."""
    figure = Figure(figsize=(7.5, 1.4 + 0.4 * len(labels)), layout="constrained")
    axes = figure.add_subplot()
    rng = np.random.default_rng(0)
    for index in range(len(labels)):
        own = targets == index
        height = index + rng.uniform(-0.28, 0.28, len(targets))
        axes.plot(bits[own & right], height[own & right], ".", color=RIGHT, alpha=0.45, markersize=4, label="right" if index == 0 else None)
        axes.plot(bits[own & ~right], height[own & ~right], "x", color=WRONG, markersize=5, label="wrong" if index == 0 else None)
        if own.any():
            axes.plot([bits[own].mean()] * 2, [index - 0.4, index + 0.4], color=INK, linewidth=2, label="mean" if index == 0 else None)
    axes.set_yticks(range(len(labels)), [f"{label} ({(targets == i).sum()})" for i, label in enumerate(labels)])
    axes.set(xlabel=f"entropy of the calibrated prediction, bits; {np.log2(len(labels)):.2f} when all labels are alike", xlim=(-0.03, None))
    axes.set_title(f"Entropy per label, {len(bits)} photos", size=10)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#dddddd")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def reliability(calibration: CalibrationReport) -> Figure:
    """Share of right predictions against the top probability, before and after the temperature."""
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _reliability(left, calibration.before, "before: temperature 1")
    how = "the bundle's" if calibration.source == "bundle" else "cross-fitted, about"
    _reliability(right, calibration.after, f"after: {how} {calibration.temperature:g}")
    left.set_ylabel("share that is right")
    return figure


def risk_coverage(measured: RiskCoverage) -> Figure:
    """Share of wrong predictions among the accepted photos, against the share that is accepted, the most certain first."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    curve = thin_curve(measured.curve)
    coverage = [point.coverage.share for point in curve]
    axes.fill_between(
        coverage,
        [point.risk.low for point in curve],
        [point.risk.high for point in curve],
        color=BLUE,
        alpha=0.15,
        linewidth=0,
        label="95 % interval",
    )
    axes.plot(coverage, [point.risk.share for point in curve], color=BLUE)
    axes.axhline(measured.wanted_error, color=GREY, linestyle="--", linewidth=1, label=f"wanted error {measured.wanted_error:.3g}")
    _marked(axes, measured.reached, "o", ORANGE, "reached here")
    _marked(axes, measured.promised, "s", RIGHT, "promised with 95 % certainty")
    top = max(curve[-1].risk.high, measured.wanted_error) * 1.6 + 0.005
    axes.set(
        xlim=(0, 1.005), ylim=(0, min(top, 1.0)), xlabel="coverage: share of photos accepted", ylabel="risk: share of the accepted that is wrong"
    )
    axes.set_title(f"Risk against coverage, {measured.n} photos, area {measured.aurc:.4f}", size=10)
    axes.grid(color="#dddddd")
    axes.legend(loc="upper left", frameon=False)
    return figure


def robustness(measured: Robustness) -> Figure:
    """Accuracy at each level of each corruption, the mildest first, and on the clean photos."""
    figure = Figure(figsize=(8, 1.6 + 0.62 * len(measured.corruptions)), layout="constrained")
    axes = figure.add_subplot()
    clean = measured.clean
    axes.axvspan(clean.low, clean.high, color=GREY, alpha=0.15, linewidth=0)
    axes.axvline(clean.share, color=GREY, label=f"clean {clean.share:.3f}")
    back = measured.laid_back
    axes.axvline(back.share, color=ORANGE, linestyle="--", linewidth=1, label=f"cut out and pasted back {back.share:.3f}")
    for place, corruption in enumerate(measured.corruptions):
        offsets = np.linspace(-0.27, 0.27, len(corruption.levels))
        for hardness, (offset, entry) in enumerate(zip(offsets, corruption.levels, strict=True)):
            found, depth = entry.accuracy, 0.4 + 0.6 * hardness / max(len(corruption.levels) - 1, 1)
            axes.plot([found.low, found.high], [place + offset] * 2, color=BLUE, alpha=depth, linewidth=2)
            axes.plot(found.share, place + offset, "o", color=BLUE, alpha=depth, markersize=5)
            axes.annotate(
                f"{entry.level:g}", (found.low, place + offset), (-4, 0), textcoords="offset points", ha="right", va="center", size=6.5, color=GREY
            )
    axes.set_yticks(range(len(measured.corruptions)), [corruption.name for corruption in measured.corruptions])
    lowest = min(entry.accuracy.low for corruption in measured.corruptions for entry in corruption.levels)
    axes.set(xlim=(max(0, min(lowest, clean.low) - 0.1), 1), xlabel="accuracy, with 95 % intervals")
    axes.set_title(f"Corrupted photos, {measured.n} of each kind: mean {measured.corrupted:.3f}, with clean {measured.both:.3f}", size=10)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#dddddd")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _shares(axes: Axes, places: Float64Array, shares: Sequence[Proportion | None], colour: str, name: str) -> None:
    present = [(place, share) for place, share in zip(places, shares, strict=True) if share is not None]
    values = np.array([share.share for _, share in present])
    reach = np.abs(np.array([[share.low for _, share in present], [share.high for _, share in present]]) - values)
    style: dict[str, Any] = {"ecolor": INK, "elinewidth": 0.8, "capsize": 0}
    axes.barh([place for place, _ in present], values, 0.25, xerr=reach, color=colour, label=name, error_kw=style)


def _reliability(axes: Axes, measured: Reliability, title: str) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    for entry in measured.bins:
        found, middle, width = entry.accuracy, (entry.low + entry.high) / 2, entry.high - entry.low
        axes.bar(middle, found.share, 0.9 * width, color=BLUE, alpha=0.35)
        axes.plot([middle] * 2, [found.low, found.high], color=BLUE, linewidth=1)
        axes.plot(entry.confidence, found.share, "o", color=ORANGE, markersize=4)
        axes.annotate(str(found.n), (middle, 0), (0, 3), textcoords="offset points", ha="center", size=6.5, color=INK)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="probability of the most likely label")
    axes.set_title(f"{title}\nECE {measured.ece:.4f}, nll {measured.nll:.4f}, n {measured.n}", size=10)


def _marked(axes: Axes, point: OperatingPoint | None, marker: str, colour: str, meaning: str) -> None:
    if point is not None:
        text = f"{meaning}: from {point.threshold:.3f}, coverage {point.coverage.share:.3f}"
        axes.plot(point.coverage.share, point.risk.share, marker, color=colour, markersize=8, label=text)
