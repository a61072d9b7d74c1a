"""`training render`: pictures of waste in bins that were never built."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.common.cli import float_range, int_range

if TYPE_CHECKING:
    from training.render.catalogue import Kind
    from training.render.shots import Shot

MISSING = (
    "needs Blender's Python module and Pillow: pip install 'sortbin[render]' on Python 3.11, the only version that bpy 4.2 is made for ({error})"
)


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `render` to the command line."""
    parser = commands.add_parser(
        "render",
        help="render labelled items in made-up bins, with exact masks",
        description="Render labelled waste items in places described by numbers: bins, belts, rails, tables, with their lamps and cameras. Every "
        "place has empty views beside its pictures, every picture of an item its exact mask. Needs the extra `render`.",
    )
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    goes_on = (
        "A picture is a function of the seed and its number. The same command goes on where it was stopped. "
        "Exit status: 0 done, 2 bad usage or input, 130 interrupted."
    )

    places = what.add_parser(
        "places",
        help="training material: many places drawn by chance",
        description="Render items in places drawn by chance, one place after the other. Leaves out the kinds of item that the bench holds out. "
        + goes_on,
    )
    _common(places, size=(320, 240), detail=1.0, empties=2, seed=1)
    places.add_argument("--count", type=int_range(1), required=True, metavar="N", help="pictures of items")
    places.add_argument("--places", type=int_range(1), metavar="M", help="places they are spread over (default: one for every six pictures)")
    places.add_argument(
        "--cut-off", type=float_range(ge=0, le=1), default=0.2, metavar="SHARE", help="of items that the frame cuts off (default: %(default)s)"
    )
    places.set_defaults(series=_places)

    bench = what.add_parser(
        "bench",
        help="a bench: twelve unlike places, half of the items of kinds that training never shows",
        description="Render the bench: twelve places that are always the same, and as many items of kinds held out as of others. All places in turn, "
        "so that a run cut short has some of each. " + goes_on,
    )
    _common(bench, size=(640, 480), detail=0.625, empties=4, seed=None)
    bench.add_argument("--per-label", type=int_range(1), default=6, metavar="N", help="pictures of each label in each place (default: %(default)s)")
    bench.add_argument(
        "--place", action="append", default=[], metavar="NAME", help="of this place alone; may be given again; the others can be added later"
    )
    bench.add_argument(
        "--kind",
        action="append",
        default=[],
        metavar="NAME",
        help="items of this kind alone; may be given again: drinks-can and pet-bottle are what a machine sees that takes back cans and bottles",
    )
    bench.set_defaults(series=_bench, cut_off=0.1)
    parser.set_defaults(run=run)


def _common(parser: argparse.ArgumentParser, *, size: tuple[int, int], detail: float, empties: int, seed: int | None) -> None:
    option = parser.add_argument
    option("--out", type=Path, required=True, metavar="DIR", help="folder to write; of an earlier run with the same options, to go on")
    if seed is not None:
        option("--seed", type=int_range(0), default=seed, metavar="S", help="the series (default: %(default)s)")
    option("--size", type=_size, default=size, metavar="WxH", help=f"of a picture, pixels (default: {size[0]}x{size[1]})")
    option(
        "--detail",
        type=float_range(ge=0.1, le=1),
        default=detail,
        metavar="SHARE",
        help="of each side that is traced, then enlarged (default: %(default)s)",
    )
    option("--samples", type=int_range(1), default=12, metavar="K", help="light paths per traced pixel, then denoised (default: %(default)s)")
    option("--empties", type=int_range(1), default=empties, metavar="N", help="empty views of each place (default: %(default)s)")
    option("--processes", type=int_range(1), default=1, metavar="P", help="pictures at a time, a core and 1 GiB each (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Render what is missing. Returns the exit status."""
    from converter.common.progress import Progress

    try:
        from training.render import album
        from training.render import benchmark_places as bench
        from training.render import take_picture as taking
    except ImportError as error:
        print(f"training render: {MISSING.format(error=error)}", file=sys.stderr)
        return 2
    studio = taking.Studio(arguments.size, arguments.detail, arguments.samples, arguments.cut_off)
    shots, order = arguments.series(arguments)
    order |= {"size": list(studio.size), "detail": studio.detail, "samples": studio.samples, "cut_off": studio.cut_off}
    order["held_out"] = {label: list(names) for label, names in bench.HELD_OUT.items()}
    progress = Progress()
    try:
        filled = album.fill(arguments.out, order, shots, studio, arguments.processes, progress)
    except KeyboardInterrupt:
        progress.close()
        print("training render: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    finally:
        progress.close()
    if filled.left_out:
        print(f"left out {filled.left_out}: the item could not be brought into view")
    print(f"wrote {arguments.out}: {len(shots) - filled.left_out} pictures, {filled.taken} of them now")
    return 0


def _places(arguments: argparse.Namespace) -> "tuple[list[Shot], dict[str, Any]]":
    from training.render import random_places as anywhere
    from training.render import shots

    count = arguments.places or max(1, arguments.count // 6)
    places = [anywhere.place(arguments.seed, number) for number in range(count)]
    items = shots.dealt(places, _kinds(held_out=False), arguments.count, arguments.seed)
    views = shots.empties(places, arguments.empties, arguments.seed)
    together = [shot for place in places for shot in (*views, *items) if shot.place is place]
    return together, {"series": "places", "seed": arguments.seed, "count": arguments.count, "places": count}


def _bench(arguments: argparse.Namespace) -> "tuple[list[Shot], dict[str, Any]]":
    from training.render import benchmark_places as bench
    from training.render import catalogue, shots

    places, asked = bench.places(), bench.names_of(arguments.place)
    held, shown = _kinds(held_out=True), _kinds(held_out=False)
    by_turns = {label: shots.alternating(held[label], shown[label]) for label in shown}
    if arguments.kind:
        by_turns = catalogue.named(arguments.kind)
    views = shots.empties(places, arguments.empties, bench.SEED)
    series = [*views, *shots.in_turn(places, by_turns, arguments.per_label, bench.SEED)]
    order: dict[str, Any] = {"series": "bench"} | ({"kinds": sorted(set(arguments.kind))} if arguments.kind else {})
    return [shot for shot in series if shot.place.name in asked], order


def _kinds(*, held_out: bool) -> "dict[str, list[Kind]]":
    from training.render import benchmark_places as bench
    from training.render import catalogue

    return {label: [kind for kind in catalogue.kinds(label) if (kind.name in bench.HELD_OUT[label]) is held_out] for label in bench.HELD_OUT}


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and 32 <= int(width) <= 4096 and 32 <= int(height) <= 4096):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT in pixels, each 32 to 4096, for example 640x480, got {text}")
    return int(width), int(height)
