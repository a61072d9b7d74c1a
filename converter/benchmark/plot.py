"""Plots of a benchmark: latency against accuracy, and latency against file size."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from converter.benchmark.formats import FORMATS, KERAS, PYTHON_MODULES
from converter.benchmark.report import BenchmarkReport, BenchmarkRow
from device.common.wording import counted

COLOURS = dict(zip(PYTHON_MODULES, ("#222222", "#2166ac", "#d95f0e", "#762a83", "#1b7837"), strict=True))
MARKERS = dict(zip((form.name for form in FORMATS), ("s", "o", "^", "v", "*", "X", "P", "D"), strict=True))
TICKS_MS = [step * 10**power for power in range(-2, 6) for step in (1, 2, 5)]


def figure(report: BenchmarkReport) -> Figure:
    """One marker for each measured row with the smallest batch and the fewest threads. The colour is the runtime, the shape the format."""
    rows = report.with_state("measured")
    batch, threads = min((row.batch for row in rows), default=1), min((row.threads for row in rows), default=1)
    rows = [row for row in rows if (row.batch, row.threads) == (batch, threads)]
    judged = [row for row in rows if row.accuracy is not None]
    drawn = Figure(figsize=(11 if judged else 7, 5.4), layout="constrained")
    panels = drawn.subplots(1, 2 if judged else 1, squeeze=False)[0]
    if judged:
        _plot_points(panels[0], judged, [row.accuracy.share for row in judged if row.accuracy is not None])
        _plot_float_interval(panels[0], judged)
        panels[0].set(ylabel=f"accuracy on {report.photos} photos", title="Latency and accuracy")
    _plot_points(panels[-1], rows, [(row.size_bytes or 0) / 1e6 for row in rows])
    panels[-1].set(ylabel="file, MB", title="Latency and size")
    panels[-1].set_ylim(bottom=0)
    for axes in panels:
        axes.set_xlabel(f"90th percentile, ms, batch {batch}, {counted(threads, 'thread')}")
        axes.grid(color="#dddddd")
        axes.set_axisbelow(True)
        axes.title.set_size(10)
    drawn.suptitle(f"{report.subject} on {report.machine.cpu}", size=11)
    drawn.legend(handles=_legend(rows), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return drawn


def _plot_points(axes: Axes, rows: Sequence[BenchmarkRow], heights: Sequence[float]) -> None:
    for row, height in zip(rows, heights, strict=True):
        assert row.measured is not None
        size = 13 if MARKERS[row.format] == "*" else 8
        axes.plot(row.measured.p90_ms, height, MARKERS[row.format], color=COLOURS[row.runtime], markersize=size, alpha=0.8, markeredgecolor="white")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(TICKS_MS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _plot_float_interval(axes: Axes, rows: Sequence[BenchmarkRow]) -> None:
    """The confidence interval of the float network's accuracy. Differences within it may be chance."""
    for row in rows:
        if row.format == KERAS.name and row.accuracy is not None:
            axes.axhspan(row.accuracy.low, row.accuracy.high, color="#f0f0f0", zorder=0)
            axes.axhline(row.accuracy.share, color="#999999", linewidth=0.8, zorder=0)
            style: dict[str, Any] = {"textcoords": "offset points", "size": 7.5, "color": "#666666"}
            axes.annotate("95 % interval of the float network", (0.01, row.accuracy.low), (0, 4), xycoords=("axes fraction", "data"), **style)
            return


def _legend(rows: Sequence[BenchmarkRow]) -> list[Line2D]:
    formats = [form.name for form in FORMATS if any(row.format == form.name for row in rows)]
    runtimes = [name for name in PYTHON_MODULES if any(row.runtime == name for row in rows)]
    shapes = [Line2D([], [], color="#888888", marker=MARKERS[name], linestyle="", markersize=8, label=name) for name in formats]
    return shapes + [Line2D([], [], color=COLOURS[name], linewidth=4, label=name) for name in runtimes]
