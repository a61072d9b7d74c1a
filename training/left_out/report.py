"""Reports of models at places: tables for a terminal, JSON for programs, and a picture with a dot for each place."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from matplotlib.figure import Figure

from converter.common.atomic_directory import OutputError
from converter.common.table import columns
from device.common.wording import fixed_point
from training.left_out.measure import PlaceReport, Shares
from training.report.colours import BLUE, GREY, INK, ORANGE

FILE, PICTURE = "places.json", "places.png"
DPI = 130
DRAWN_SHOTS = 10
"""photos of each label after which the picture shows teaching, where that was measured"""
MEASURES = (
    ("right", "named right"),
    ("at_95", "largest share that could go to its bin with .95 of it right"),
    ("accepted", "sent to a bin by the product's own thresholds"),
    ("accepted_right", "of these, in the right bin"),
)


class Spread(msgspec.Struct, frozen=True):
    """A figure over places: mean, standard deviation, least and most of so many places."""

    places: int
    mean: float
    std: float
    least: float
    most: float


class ModelReport(msgspec.Struct, frozen=True):
    """A model, or a way of training, at places.

    over_places: by what was told (`nothing`, `named`, `taught 10`), then by figure, over those places that it is not known to have been trained on;
    over all where there is no such place.
    """

    model: str
    kind: str
    places: tuple[PlaceReport, ...]
    over_places: dict[str, dict[str, Spread]]


def model_report(model: str, kind: str, places: Sequence[PlaceReport]) -> ModelReport:
    """The report of one model. places: at least one."""
    counted = [place for place in places if not place.trained_on] or places
    told = dict.fromkeys(way for place in counted for way in shares_by_way(place))
    over_places = {way: {name: found for name, _ in MEASURES if (found := _spread(counted, way, name))} for way in told}
    return ModelReport(model, kind, tuple(places), over_places)


def shares_by_way(place: PlaceReport) -> dict[str, Shares]:
    """The shares of a place by what was told: `nothing`, `named`, `taught 5` and so on."""
    taught = {f"taught {shots}": lesson.shares for shots, lesson in place.taught.items()}
    return {"nothing": place.nothing, "named": place.named} | taught


def _spread(places: Sequence[PlaceReport], way: str, name: str) -> Spread | None:
    found = [getattr(shares, name) for place in places if (shares := shares_by_way(place).get(way))]
    values = [value for value in found if value is not None]
    if not values:
        return None
    return Spread(len(values), float(np.mean(values)), float(np.std(values)), min(values), max(values))


def tables(report: ModelReport) -> Iterator[str]:
    """Lines for a terminal: one table for each figure."""
    ways = list(dict.fromkeys(way for place in report.places for way in shares_by_way(place)))
    yield f"{report.model} ({report.kind})"
    for name, title in MEASURES:
        head = ["place", "photos", "groups", "trained on", *ways]
        rows = [[place.place, place.n, place.groups, _trained_on(place), *_row(place, ways, name)] for place in report.places]
        spread = report.over_places
        for what, cell in _SPREAD_ROWS:
            rows.append([what, "", "", "", *(cell(spread[way][name]) if name in spread.get(way, {}) else "" for way in ways)])
        yield ""
        yield f"{title}:"
        yield from columns(head, rows, ("photos", "groups", *ways))
    if any(_fewer_labels(place, way) for place in report.places for way in ways):
        yield "* fewer labels than the place has: the others have too few photos or groups"


def _row(place: PlaceReport, ways: Sequence[str], name: str) -> Iterator[str]:
    shares = shares_by_way(place)
    for way in ways:
        value = getattr(shares[way], name) if way in shares else None
        yield fixed_point(value, 3, "-") + ("*" if _fewer_labels(place, way) else "")


def _fewer_labels(place: PlaceReport, way: str) -> bool:
    shots = way.removeprefix("taught ")
    return shots.isdecimal() and int(shots) in place.taught and place.taught[int(shots)].labels < len(place.labels)


def _trained_on(place: PlaceReport) -> str:
    if place.trained_on is None:
        return "not known"
    return f"YES, {place.trained_on}" if place.trained_on else "no"


_SPREAD_ROWS: tuple[tuple[str, Callable[[Spread], str]], ...] = (
    ("places", lambda spread: f"{spread.places}"),
    ("mean", lambda spread: f"{spread.mean:.3f}"),
    ("std", lambda spread: f"{spread.std:.3f}"),
    ("least", lambda spread: f"{spread.least:.3f}"),
    ("most", lambda spread: f"{spread.most:.3f}"),
)


def encode(reports: Sequence[ModelReport]) -> bytes:
    """The bytes of `places.json`: UTF-8, indented."""
    return msgspec.json.format(msgspec.json.encode(reports), indent=1) + b"\n"


def write_reports(reports: Sequence[ModelReport], folder: Path) -> None:
    """Write `places.json` and `places.png` into `folder`, over earlier ones. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_bytes(encode(reports))
        picture(reports).savefig(folder / PICTURE, dpi=DPI)
    except OSError as error:
        raise OutputError(f"{error.filename or folder}: {error.strerror}; expected a folder that can be written to") from error


def picture(reports: Sequence[ModelReport]) -> Figure:
    """One panel a model, one dot a place: named right with nothing told, with the labels named, and taught. Hollow: it was trained on that place."""
    figure = Figure(figsize=(1 + 4.6 * len(reports), 4.6), layout="constrained")
    all_axes = figure.subplots(1, len(reports), sharey=True, squeeze=False)[0]
    for axes, report in zip(all_axes, reports, strict=True):
        ways = _drawn_ways(report)
        for place in report.places:
            shares = shares_by_way(place)
            drawn = [(number, shares[way].right) for number, way in enumerate(ways) if way in shares]
            colour = GREY if place.trained_on else BLUE
            axes.plot(*zip(*drawn, strict=True), "-o", color=colour, alpha=0.7, markerfacecolor="white" if place.trained_on else colour)
            axes.annotate(place.place, drawn[-1], xytext=(7, -3), textcoords="offset points", size=8, color=INK, parse_math=False)
        means = [(number, report.over_places[way]["right"].mean) for number, way in enumerate(ways) if way in report.over_places]
        axes.plot(*zip(*means, strict=True), "_", color=ORANGE, markersize=26, markeredgewidth=3, label="mean")
        axes.set_xticks(range(len(ways)), ways)
        axes.set(xlim=(-0.3, len(ways) - 0.2 + 0.5), ylim=(0, 1.02))
        axes.set_title(f"{report.model} ({report.kind})", size=9, parse_math=False)
        axes.grid(axis="y", alpha=0.3)
    all_axes[0].set_ylabel("share named right")
    all_axes[0].legend(loc="lower left", frameon=False)
    return figure


def _drawn_ways(report: ModelReport) -> list[str]:
    ways = list(dict.fromkeys(way for place in report.places for way in shares_by_way(place)))
    taught = ways[2:]
    preferred = f"taught {DRAWN_SHOTS}"
    return ways[:2] + ([preferred] if preferred in taught else taught[-1:])
