"""A prediction as lines for a terminal, and its differences from the compiler's report."""

from collections.abc import Iterator

from converter.common.table import columns
from converter.edgetpu.prediction import ON_CHIP_BYTES, Fate, Prediction
from converter.edgetpu.report import CompilerReport
from device.common.wording import byte_size, listed

_SHOWN_NUMBERS = 6


def prediction_lines(prediction: Prediction) -> Iterator[str]:
    """The operations by status, the reasons for those on the CPU, cautions, and a summary."""
    yield "Edge TPU, predicted without its compiler"
    counts = [(name, count, words) for (name, words), count in prediction.counts().items()]
    yield from columns(("operation", "count", "status"), counts, right=("count",))
    yield ""
    if prediction.on_cpu:
        yield "on the CPU, by place in the graph"
        yield from columns(("operation", "places", "why"), list(_reason_rows(prediction.on_cpu)))
        yield ""
    yield from (f"caution: {caution}" for caution in prediction.cautions)
    beyond = "" if prediction.fits else ": the rest is fetched again for every picture"
    yield (
        f"{prediction.mapped} of {len(prediction.fates)} operations on the Edge TPU; their parameters take {byte_size(prediction.parameter_bytes)} "
        f"of about {byte_size(ON_CHIP_BYTES)} on the chip{beyond}"
    )


def mapping_differences(prediction: Prediction, report: CompilerReport) -> str:
    """One line with the operations that the compiler mapped differently than predicted; empty if there are none."""
    predicted = {name: 0 for name, _ in prediction.counts()}
    for fate in prediction.fates:
        predicted[fate.name] += fate.mapped
    found = dict.fromkeys(predicted, 0)
    for row in report.rows:
        found[row.operation] = found.get(row.operation, 0) + row.count * row.mapped
    wrong = [f"{name} {predicted.get(name, 0)} predicted, {count} mapped" for name, count in found.items() if count != predicted.get(name, 0)]
    return ", ".join(wrong)


def _reason_rows(fates: tuple[Fate, ...]) -> Iterator[tuple[str, str, str]]:
    grouped: dict[tuple[str, str], list[int]] = {}
    for fate in fates:
        grouped.setdefault((fate.name, fate.reason), []).append(fate.number)
    for (name, reason), numbers in grouped.items():
        yield name, listed(numbers, _SHOWN_NUMBERS), reason
