"""The report of an evaluation: `report.html` for people, `report.json` for programs, `photos.csv`, and every picture as a file."""

import csv
import io
from pathlib import Path

import msgspec
import numpy as np
from matplotlib.figure import Figure

from converter.common.atomic_directory import OutputError
from converter.common.progress import Progress
from converter.common.proportion import Proportion
from converter.data.isolated_view import PhotoView
from converter.data.photos import Photo
from device.common.wording import fixed_point
from training.evaluate import plots
from training.evaluate.evaluation import DataInfo, Evaluation, EvaluationReport, PhotoPrediction
from training.evaluate.photo_grid import Tile, tile_grid
from training.evaluate.selective import OperatingPoint, thin_curve
from training.fit.curves import add_curves, render_curves
from training.fit.history import History, read_history
from training.report import fonts
from training.report.page import Page

MISTAKES, SAMPLES = 36, 36
COLUMNS = 6
PAIRS = 15
DPI = 110
CURVES = "curves.png"


def encode_report(report: EvaluationReport) -> bytes:
    """The bytes of `report.json`: UTF-8, indented, with at most 200 points of the risk-coverage curve."""
    curve = msgspec.structs.replace(report.selective, curve=thin_curve(report.selective.curve))
    return msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(report, selective=curve)), indent=1) + b"\n"


def write_report(evaluation: Evaluation, folder: Path, seed: int, progress: Progress) -> Path:
    """Write the report into `folder`, over an earlier one, and return the path of the page. seed: of the sample of photos. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = _pictures(evaluation, seed, progress)
        history = read_history(Path(evaluation.report.model.path))
        if history is not None:
            pictures[CURVES] = render_curves({"": history})
        for name, content in pictures.items():
            (folder / name).write_bytes(content)
        (folder / "report.json").write_bytes(encode_report(evaluation.report))
        (folder / "photos.csv").write_text(_table(evaluation), encoding="utf-8", newline="")
        page = folder / "report.html"
        page.write_text(_page(evaluation.report, pictures, history), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{error.filename or folder}: {error.strerror}; expected a folder that can be written to") from error
    return page


def summary(report: EvaluationReport) -> str:
    """The report in a few lines for a terminal."""
    calibration, data, selective = report.calibration, report.data, report.selective
    lines = [
        f"{report.model.path} ({report.model.kind}, {report.model.runtime}) on {data.name}, split {data.split}",
        f"accuracy     {report.accuracy}{_alone(data)}",
        *(f"top-{k:<9}{found}" for k, found in report.top.items() if k > 1),
        f"macro        F1 {report.macro_f1:.4f}, recall {report.macro_recall:.4f}, n {data.n}",
        (
            f"calibration  ECE {calibration.before.ece:.4f} -> {calibration.after.ece:.4f}, nll {calibration.before.nll:.4f} -> "
            f"{calibration.after.nll:.4f} with temperature {calibration.temperature:g} ({calibration.source}), n {data.n}"
        ),
        f"error {selective.wanted_error:<7.3g}{_reached(selective.reached)}",
        *(f"sets {1 - found.alpha:<8.0%}{found.mean_size:.2f} labels, hold the true one: {found.coverage}" for found in report.conformal),
    ]
    if report.sorting is not None:
        sorted_ = report.sorting
        lines.append(f"bins         right {sorted_.decided.right}; cost {sorted_.decided.mean_cost:.4f} an item under {sorted_.pack}")
    if report.robustness is not None:
        robustness = report.robustness
        lines.append(f"corrupted    mean {robustness.corrupted:.4f}, with clean {robustness.both:.4f}, {robustness.n} photos of each kind")
    if data.trained_on:
        lines.append(f"beware       the model was trained on {data.trained_on} of these {data.n} photos")
    return "\n".join(lines)


def _alone(data: DataInfo) -> str:
    return "" if data.isolated is None else f", {data.isolated} of the {data.n} photos isolated"


def _reached(point: OperatingPoint | None) -> str:
    if point is None:
        return "cannot be reached by rejecting"
    return f"from probability {point.threshold:.3f}: coverage {point.coverage}"


def _pictures(evaluation: Evaluation, seed: int, progress: Progress) -> dict[str, bytes]:
    progress.step("drawing")
    with fonts.drawn_in_our_fonts():
        drawn = {f"{name}.png": _drawn(figure, "png") for name, figure in plots.figures(evaluation)}
        wrong = [i for i, entry in enumerate(evaluation.named) if entry.label != entry.named]
        worst = sorted(wrong, key=lambda i: evaluation.named[i].p_label)[:MISTAKES]
        rng = np.random.default_rng(seed)
        sample = sorted(rng.choice(len(evaluation.photos), min(SAMPLES, len(evaluation.photos)), replace=False).tolist())
        for name, chosen in (("mistakes.jpg", worst), ("samples.jpg", sample)):
            if chosen:
                tiles = [tile(evaluation.photos[i], evaluation.named[i], evaluation.shown) for i in chosen]
                drawn[name] = _drawn(tile_grid(tiles, COLUMNS), "jpeg")
    return drawn


def tile(photo: Photo, named: PhotoPrediction, shown: PhotoView) -> Tile:
    """The view that the model was given, with the predicted label and, where that is wrong, the true one."""
    if named.label == named.named:
        return Tile(shown(photo), True, (f"{named.named} {named.p_named:.0%}",))
    return Tile(shown(photo), False, (f"{named.named} {named.p_named:.0%}", f"is {named.label} {named.p_label:.0%}"))


def _drawn(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI, pil_kwargs={"quality": 85} if kind == "jpeg" else None)
    return buffer.getvalue()


def _table(evaluation: Evaluation) -> str:
    written = io.StringIO()
    rows = csv.writer(written)
    rows.writerow(["photo", "label", "named", "right", "p_label", "p_named", *evaluation.report.model.labels])
    for entry, row in zip(evaluation.named, evaluation.probabilities, strict=True):
        cells = [entry.photo, entry.label, entry.named, int(entry.label == entry.named), f"{entry.p_label:.6f}", f"{entry.p_named:.6f}"]
        rows.writerow(cells + [f"{p:.6f}" for p in row])
    return written.getvalue()


def _page(report: EvaluationReport, pictures: dict[str, bytes], history: History | None) -> str:
    model, data = report.model, report.data
    page = Page(f"{Path(model.path).name} on {data.name}, {data.split}")
    page.figure(f"{report.accuracy.share:.2%}", f"right: {_share(report.accuracy)}")
    page.note(
        f"{model.path}: {model.kind}, {model.runtime}, {model.size_px} px. Data: sha256 {data.sha256[:16]}… over {data.n} photos. "
        f"Sortbin {report.sortbin}. Intervals are 95 % (Wilson)."
    )
    if data.isolated is not None:
        page.paragraph(
            f"The items of {data.isolated} photos were shown by themselves, as a bin shows them that knows its empty view; "
            f"the other {data.n - data.isolated} whole, because their items cannot be isolated."
        )
    if data.trained_on:
        page.paragraph(f"Beware: the model was trained on {data.trained_on} of these {data.n} photos.")
    if data.left_out:
        page.paragraph(f"Left out, {len(data.left_out)}: {'; '.join(data.left_out[:10])}")
    if missing := fonts.missing_signs("".join(model.labels)):
        page.paragraph(f"The pictures show boxes for signs of the labels that no font here has: {missing}")
    _accuracy(page, report, pictures)
    _calibration(page, report, pictures)
    _rejection(page, report, pictures)
    _sorting(page, report)
    _robustness(page, report, pictures)
    if history is not None:
        add_curves(page, history, pictures[CURVES])
    if "mistakes.jpg" in pictures:
        page.heading("Worst mistakes")
        page.note(f"The least likely truths first, {min(MISTAKES, len(report.mistakes))} of {len(report.mistakes)} mistakes.")
        page.picture(pictures["mistakes.jpg"], "jpeg", "photos that were named wrong, with the label given and the true one")
    page.heading("A sample")
    page.note(f"{min(SAMPLES, data.n)} photos drawn by chance: green and ✓ is right, red and ✗ is wrong.")
    page.picture(pictures["samples.jpg"], "jpeg", "photos drawn by chance with the label given, framed green where right, red where wrong")
    return page.html()


def _accuracy(page: Page, report: EvaluationReport, pictures: dict[str, bytes]) -> None:
    page.heading("Accuracy")
    page.table(("true label among", "share"), [(f"the {k} most likely", _share(found)) for k, found in report.top.items()])
    page.paragraph(f"Every label counted the same: F1 {report.macro_f1:.4f}, recall {report.macro_recall:.4f} ({report.data.n} photos).")
    rows = [
        (
            entry.label,
            str(entry.n),
            _share(entry.precision),
            _share(entry.recall),
            fixed_point(entry.f1, missing="none"),
            fixed_point(entry.entropy_bits, 3, "none"),
        )
        for entry in report.labels
    ]
    page.table(("label", "photos", "precision", "recall", "F1", "entropy, bits"), rows)
    page.picture(pictures["labels.png"], "png", "bars of precision, recall and F1 for each label")
    page.picture(pictures["confusion.png"], "png", "confusion matrix: photos by true label and named label")
    if report.confused:
        page.table(
            ("confused most", "photos", "first named second", "second named first"),
            [
                (f"{pair.first} – {pair.second}", str(pair.total), str(pair.first_as_second), str(pair.second_as_first))
                for pair in report.confused[:PAIRS]
            ],
        )
    page.picture(pictures["entropy.png"], "png", "entropy of the prediction of each photo, by label")


def _calibration(page: Page, report: EvaluationReport, pictures: dict[str, bytes]) -> None:
    calibration = report.calibration
    page.heading("Calibration")
    page.table(
        ("", "ECE", "nll, nats", "photos"),
        [
            ("temperature 1", f"{calibration.before.ece:.4f}", f"{calibration.before.nll:.4f}", str(calibration.before.n)),
            (
                f"temperature {calibration.temperature:g}, {calibration.source}",
                f"{calibration.after.ece:.4f}",
                f"{calibration.after.nll:.4f}",
                str(calibration.after.n),
            ),
        ],
    )
    if calibration.source == "fitted":
        page.note("A fitted temperature is judged on photos that it was not fitted to: five folds.")
    page.picture(pictures["reliability.png"], "png", "reliability before and after temperature")


def _rejection(page: Page, report: EvaluationReport, pictures: dict[str, bytes]) -> None:
    selective = report.selective
    page.heading("Rejecting what is unsure")
    rows = [
        (meaning, f"{point.threshold:.4f}", _share(point.coverage), _share(point.risk))
        for meaning, point in (("on these photos", selective.reached), ("promised with 95 % certainty", selective.promised))
        if point is not None
    ]
    if rows:
        page.table((f"error of at most {selective.wanted_error:.3g}", "least probability", "accepted", "wrong among them"), rows)
    else:
        page.paragraph(f"No threshold brings the error to {selective.wanted_error:.3g}.")
    if selective.promised is None:
        page.note(f"{selective.n} photos are too few, or too many are wrong, to promise an error of {selective.wanted_error:.3g}.")
    page.picture(pictures["risk_coverage.png"], "png", "risk against coverage")
    page.paragraph("Sets of labels that hold the true one as often as promised:")
    page.table(
        ("promised", "least probability", "hold it", "mean size", "sets by size"),
        [
            (
                f"{1 - found.alpha:.0%}",
                f"{found.least:.4f}",
                _share(found.coverage),
                f"{found.mean_size:.3f}",
                ", ".join(f"{size}: {count}" for size, count in enumerate(found.sizes) if count),
            )
            for found in report.conformal
        ],
    )


def _sorting(page: Page, report: EvaluationReport) -> None:
    measured = report.sorting
    if measured is None:
        return
    page.heading(f"In the bin: rule pack {measured.pack}, version {measured.version}")
    page.table(
        ("choice of bin", "right", "mean cost of an item"),
        [
            (name, _share(policy.right), f"{policy.mean_cost:.4f}")
            for name, policy in (
                (f"as the bin decides, residual below {measured.reject_below:g}", measured.decided),
                ("the bin of the most likely label", measured.likeliest),
                ("the second head's bin", measured.bin_head),
                ("everything to the residual bin", measured.all_residual),
            )
            if policy is not None
        ],
    )
    page.paragraph(f"Contamination of what went to any other bin than {measured.residual}: {_share(measured.contamination)}.")
    page.table(
        ("bin", "photos", "got there", "to the residual bin", "belongs, of what got there"),
        [
            (f"{entry.bin} ({entry.title})", str(entry.n), _share(entry.right), _share(entry.residual), _share(entry.purity))
            for entry in measured.bins
        ],
    )
    names = [entry.bin for entry in measured.bins]
    rows = [(name, *map(str, row)) for name, row in zip(names, measured.flows, strict=True)]
    page.table(("belongs in, goes to", *names), rows)


def _robustness(page: Page, report: EvaluationReport, pictures: dict[str, bytes]) -> None:
    measured = report.robustness
    if measured is None:
        return
    page.heading("Corrupted photos")
    page.figure(f"{measured.corrupted:.2%}", f"mean over the corruptions, {measured.n} photos of each kind; with clean {measured.both:.2%}")
    rows = [("clean", "", _share(measured.clean), ""), ("cut out and pasted back", "", _share(measured.laid_back), "")]
    for corruption in measured.corruptions:
        for number, entry in enumerate(corruption.levels):
            first = number == 0
            rows.append(
                (
                    corruption.name if first else "",
                    f"{corruption.meaning} {entry.level:g}" if first else f"{entry.level:g}",
                    _share(entry.accuracy),
                    f"{corruption.mean:.4f}" if first else "",
                )
            )
    page.table(("corruption", "level", "accuracy", "mean"), rows)
    page.picture(pictures["robustness.png"], "png", "accuracy at each level of each corruption")
    page.note(
        "For other backgrounds a simple mask cuts the item off its white card. Clear and pale items lose parts by that; the second line measures "
        "this loss. Moved items keep their shadow and a rim of their card."
    )


def _share(found: Proportion | None) -> str:
    if found is None:
        return "none"
    return f"{found.share:.4f} ({found.right} of {found.n}; {found.interval()})"
