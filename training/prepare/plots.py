"""The plots of the report, each written as a PNG."""

import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converter.data.manifest import SPLITS

COLOURS = {"train": "#3b6ea8", "val": "#e0a030", "test": "#5a9e6f", "left out": "#b8b8b8"}
DPI = 110
LONGEST = 28
"""letters of a label that are drawn"""

HIGHEST = 250.0
"""inches: a PNG cannot have any number of lines"""


def draw_sizes(file: Path, sizes: Sequence[tuple[int, int, int]], min_side: int, max_aspect: float) -> None:
    """Width against height of all decodable pictures, the area of a dot growing with how many have that size."""
    width, height, pictures = (np.array([size[column] for size in sizes], np.float64) for column in range(3))
    with _fonts():
        figure, axes = _figure(6.0, 5.4)
        area = 12 + 220 * np.sqrt(pictures / pictures.max())
        axes.scatter(width, height, s=area, color=COLOURS["train"], alpha=0.5 if len(sizes) > 1 else 0.9, linewidths=0)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        low = min(width.min(), height.min(), min_side) / 1.5
        high = max(width.max(), height.max()) * 1.5
        ends = np.array([low, high])
        axes.plot([min_side, min_side, high], [high, min_side, min_side], color="#c0392b", linewidth=1, label=f"shortest side {min_side}")
        axes.plot(ends, ends * max_aspect, color="#777", linewidth=1, linestyle="--", label=f"aspect ratio {max_aspect:g}")
        axes.plot(ends, ends / max_aspect, color="#777", linewidth=1, linestyle="--")
        axes.set(xlim=(low, high), ylim=(low, high), xlabel="width, pixels", ylabel="height, pixels", aspect="equal")
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.yaxis.set_major_formatter("{x:.0f}")
        axes.set_title(f"{len(sizes)} size{'s' * (len(sizes) > 1)}, {int(pictures.sum())} pictures")
        axes.legend(loc="upper left", bbox_to_anchor=(0.08, 1), frameon=False, fontsize=8)
        _save(figure, file)


def draw_labels(file: Path, counts: Mapping[str, Mapping[str, int]], left_out: Mapping[str, int]) -> None:
    """Pictures per label, a bar each, divided by split."""
    labels = sorted({label for split in counts.values() for label in split} | set(left_out))
    shown = [label if _columns(label) <= LONGEST else f"{label[: LONGEST // 2]}..." for label in labels]
    places = np.arange(len(labels))
    with _fonts():
        figure, axes = _figure(7.0, 1.1 + 0.32 * len(labels), left=0.3 + 0.095 * max(map(_columns, shown)))
        start = np.zeros(len(labels))
        for part in (*SPLITS, "left out"):
            own = left_out if part == "left out" else counts.get(part, {})
            sizes = np.array([own.get(label, 0) for label in labels], np.float64)
            if sizes.any():
                axes.barh(places, sizes, left=start, color=COLOURS[part], label=f"{part} ({sizes.sum():.0f})")
                start += sizes
        for place, total in enumerate(start):
            axes.annotate(f"{total:.0f}", (total, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(places, shown, parse_math=False)
        axes.invert_yaxis()
        axes.margins(x=0.1, y=0.01)
        axes.set_xlabel("pictures")
        figure.legend(frameon=False, fontsize=8, ncols=4, loc="upper right")
        _save(figure, file)


def draw_aspects(file: Path, aspects: Sequence[tuple[float, int]], max_aspect: float) -> None:
    """Histogram of longer side over shorter side. aspects: lower edge of each bin, pictures in it."""
    edges = [edge for edge, _ in aspects]
    pictures = [count for _, count in aspects]
    names = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)] + [f"{edges[-1]:g} and more"]
    with _fonts():
        figure, axes = _figure(6.4, 3.6, bottom=1.2)
        colours = [COLOURS["train"] if edge < max_aspect else "#c0392b" for edge in edges]
        bars = axes.bar(names, pictures, color=colours)
        axes.bar_label(bars, labels=[str(count) if count else "" for count in pictures], fontsize=8)
        axes.tick_params(axis="x", rotation=60, labelsize=8)
        axes.margins(y=0.12)
        axes.set(xlabel="longer side over shorter side", ylabel="pictures")
        axes.set_title(f"{sum(pictures)} pictures; red: more than {max_aspect:g}")
        _save(figure, file)


def _figure(width: float, height: float, *, left: float = 0.8, bottom: float = 0.6) -> tuple[Any, Any]:
    """A figure with one plot, in inches. Margins are given, since matplotlib would have to draw twice to find them."""
    from matplotlib.figure import Figure

    height = min(height, HIGHEST)
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(left=left / width, right=1 - 0.35 / width, bottom=bottom / height, top=1 - 0.4 / height)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _columns(text: str) -> int:
    """Width of a text in letters, where a Chinese sign takes two."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def _fonts() -> Any:
    from training.report.fonts import drawn_in_our_fonts

    return drawn_in_our_fonts()


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, dpi=DPI)
