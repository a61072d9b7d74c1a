"""`training places`: measure models at real places."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.common.cli import int_range

if TYPE_CHECKING:
    from training.left_out.measure import Protocol
    from training.left_out.report import ModelReport

GROUP_BY_HELP = (
    "photos that belong together and are never both taught and asked about, at all places or at PLACE (a folder's name): filename-block:N "
    "(N successive numbers in the names), filename-prefix (the name up to its last number) or FILE.csv:COLUMN in the place's folder, whose "
    "first column is LABEL/NAME; may be repeated (default: groups.csv:group where a place has it). Near-duplicates belong together in any case"
)


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `places` to the command line."""
    parser = commands.add_parser(
        "places",
        help="measure models at real places",
        description="Measure models at places: folders of photos from one site, with a folder for each label. For each place, and as mean and "
        "spread over places: the share named right with nothing told, with the place's labels named, and taught with a few photos of each; the "
        "largest share that could go to its bin with .95 of it right; the share that a bin would send to one by its own thresholds, and how much "
        "of that is right. Labels that a model lacks are not counted. Each place says whether the model was trained on it. Writes places.json and "
        "places.png. "
        "Exit status: 0 measured, 2 bad usage or input.",
        epilog="example: training places trashnet runs/mine --data dataset --places kitchen canteen --group-by canteen=filename-block:20",
    )
    parser.add_argument("models", nargs="+", type=str, metavar="RUN|BUNDLE", help="runs, bundles, or the names of bundles that Sortbin comes with")
    parser.add_argument(
        "--data", type=Path, metavar="DATASET", help="the photos that runs were trained on: with them a run is calibrated, and can be taught"
    )
    parser.add_argument(
        "--report", type=Path, default=Path("evaluation", "places"), metavar="DIR", help="folder of the report (default: %(default)s)"
    )
    add_place_options(parser)
    parser.set_defaults(run=run)


def add_place_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which places are measured, and how."""
    option = parser.add_argument
    option("--places", nargs="+", type=Path, required=True, metavar="DIR", help="places: folders with a folder of photos for each label")
    option("--group-by", action="append", default=[], metavar="[PLACE=]RULE", help=GROUP_BY_HELP)
    option("--most", type=int_range(2), metavar="N", help="at most N photos of each label at each place, evenly spaced (default: all)")
    option("--shots", type=int_range(1), nargs="+", default=[5, 10, 20], metavar="N", help="photos of each label to teach (default: 5 10 20)")
    option("--draws", type=int_range(1), default=4, metavar="N", help="how often photos to teach are drawn at each place (default: %(default)s)")
    option("--rules", metavar="PACK", help="rule pack that says which bin a label belongs in (default: trashnet, others in bins of their own)")
    option("--seed", type=int_range(0), default=0, metavar="N", help="seed of the draws (default: %(default)s)")
    option("--json", action="store_true", help="print places.json instead of tables")


def run(arguments: argparse.Namespace) -> int:
    """Measure. Returns the exit status."""
    from converter.common.progress import Progress
    from device.vision.inference.bundle import find_bundle
    from training.left_out.at_places import measure_at, open_judging
    from training.left_out.place import read_places
    from training.left_out.report import model_report

    progress, reports = Progress(), []
    try:
        protocol = protocol_of(arguments)
        opened = [(named, *open_judging(find_bundle(named), arguments.data, progress)) for named in arguments.models]
        places = read_places(arguments.places, arguments.group_by, progress, arguments.most)
        for named, model, judging in opened:
            measured = [measure_at(model, judging, place, protocol, progress) for place in places]
            reports.append(model_report(named, model.kind, measured))
    finally:
        progress.close()
    write_and_print(reports, arguments.report, as_json=arguments.json)
    return 0


def protocol_of(arguments: argparse.Namespace) -> "Protocol":
    """How places are measured, by the options of `add_place_options`. Raises RulesError."""
    from device.policy.rules import RulePack, default_pack, find_rules, read_rules
    from training.left_out.measure import Protocol

    def pack(labels: tuple[str, ...]) -> RulePack:
        return read_rules(find_rules(arguments.rules), labels) if arguments.rules else default_pack(labels)

    return Protocol(tuple(arguments.shots), arguments.draws, arguments.seed, pack)


def write_and_print(reports: "list[ModelReport]", folder: Path, *, as_json: bool) -> None:
    """Write the reports into a folder, and print them. Raises OutputError."""
    from training.left_out.report import encode, tables, write_reports

    write_reports(reports, folder)
    if as_json:
        print(encode(reports).decode(), end="")
        return
    for report in reports:
        print("\n".join(tables(report)), end="\n\n")
    print(f"wrote {folder / 'places.json'} and places.png")
