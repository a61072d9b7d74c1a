"""The result of a benchmark: `report.json`, and a table of it."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from converter.benchmark.machine import Machine, MachineState
from converter.benchmark.measure_runtime import Measurement
from converter.common.proportion import Proportion
from device.common.wording import fixed_point

State = Literal["measured", "failed", "missing"]


class BenchmarkRow(msgspec.Struct, frozen=True):
    """One format on one runtime. why: the reason if it was not measured. batch, threads: 0 if it is missing.

    file, size_bytes, sha256: of the file that was run. accuracy: of the same file on the same runtime. agreement: the share of photos with the same
    label as the float network in Keras. differs: the largest difference from that network's logits.
    """

    format: str
    runtime: str
    batch: int
    threads: int
    state: State
    why: str = ""
    file: str = ""
    size_bytes: int | None = None
    sha256: str = ""
    measured: Measurement | None = None
    accuracy: Proportion | None = None
    agreement: float | None = None
    differs: float | None = None


class BenchmarkReport(msgspec.Struct, frozen=True):
    """subject: name of the bundle or run. data, photos: name and number of the photos for accuracy, None and 0 without. queries, seconds: at least,
    for each row. mlperf: whether every measured row follows the rules of MLPerf's mobile suite. before, after: the computer's state. notes: for
    readers.
    """

    subject: str
    data: str | None
    photos: int
    queries: int
    seconds: float
    mlperf: bool
    machine: Machine
    before: MachineState
    after: MachineState
    notes: list[str]
    rows: list[BenchmarkRow]

    def with_state(self, state: State) -> list[BenchmarkRow]:
        """The rows of one state."""
        return [row for row in self.rows if row.state == state]


HEAD = (
    "format",
    "runtime",
    "batch",
    "threads",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "speed-up",
    "images/s",
    "import ms",
    "load + first ms",
    "file MB",
    "peak MiB",
    "accuracy",
    "as float",
)
REFERENCES = ("Keras float32", "TFLite float32")
WORDS = 2
"""number of columns with text; the others hold numbers"""


def text(report: BenchmarkReport) -> str:
    """A Markdown table, aligned for a terminal, then what failed, what is missing, and the notes."""
    measured = report.with_state("measured")
    reference = reference_row(measured)
    parts = [_markdown_table([HEAD, *(_row_cells(row, speed_up(row, measured, reference)) for row in measured)])]
    failed = [f"failed: {row.format} on {row.runtime}, batch {row.batch}, threads {row.threads}: {row.why}" for row in report.with_state("failed")]
    against = [f"speed-up against {reference.format} on {reference.runtime}, by p90, at the same batch and threads"] if reference else []
    parts += [
        "\n".join(lines)
        for lines in (failed, _missing_lines(report.with_state("missing")), [*against, *_machine_lines(report), *report.notes])
        if lines
    ]
    return "\n\n".join(parts)


def reference_row(rows: Sequence[BenchmarkRow]) -> BenchmarkRow | None:
    """The row that speed-up is relative to: the float network in Keras, else the first float TFLite; None without either."""
    return next((row for name in REFERENCES for row in rows if row.format == name), None)


def speed_up(row: BenchmarkRow, rows: Sequence[BenchmarkRow], reference: BenchmarkRow | None) -> float | None:
    """The speed relative to the reference, by the 90th percentile at the same batch and threads; None if that was not measured."""
    place = reference and (reference.format, reference.runtime, row.batch, row.threads)
    other = next((one for one in rows if (one.format, one.runtime, one.batch, one.threads) == place), None)
    return other.measured.p90_ms / row.measured.p90_ms if other and other.measured and row.measured else None


def _row_cells(row: BenchmarkRow, faster: float | None) -> tuple[str, ...]:
    found = row.measured
    assert found is not None and row.size_bytes is not None
    return (
        row.format,
        found.runtime,
        str(row.batch),
        str(row.threads),
        *(f"{value:.2f}" for value in (found.p50_ms, found.p90_ms, found.p99_ms)),
        fixed_point(faster, 2, "-"),
        f"{found.images_per_s:.1f}",
        f"{found.import_ms:.0f}",
        f"{found.load_ms + found.first_ms:.0f}",
        f"{row.size_bytes / 1e6:.2f}",
        fixed_point(found.peak_mib, 0, "-"),
        "-" if row.accuracy is None else f"{row.accuracy.share:.4f}",
        fixed_point(row.agreement, missing="-"),
    )


def _missing_lines(rows: Sequence[BenchmarkRow]) -> list[str]:
    """One line for each reason, with the formats and runtimes that were not measured for it."""
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        by_reason.setdefault(f"missing: {row.why}", []).append(f"{row.format} on {row.runtime}")
    return [f"{reason} ({', '.join(names)})" for reason, names in by_reason.items()]


def _machine_lines(report: BenchmarkReport) -> list[str]:
    machine, before, after = report.machine, report.before, report.after
    memory = f", {machine.memory_mib} MiB" if machine.memory_mib else ""
    governor = ", ".join(before.governors) if before.governors else "unknown"
    judged = f"accuracy on {report.photos} photos ({report.data})" if report.data else "time only, on noise: name photos with --data"
    return [
        f"{machine.cpu}, {machine.cores} cores{memory}, {machine.system}, Python {machine.python}",
        (
            f"governor {governor}; temperature {_temperature_text(before)} before, {_temperature_text(after)} after; "
            f"load {_load_text(before)} before, {_load_text(after)} after"
        ),
        f"at least {report.queries} queries and {report.seconds:g} s each, one at a time, each row in a process of its own; {judged}",
    ]


def _temperature_text(now: MachineState) -> str:
    return "unknown" if now.temperature_c is None else f"{now.temperature_c:.0f} °C"


def _load_text(now: MachineState) -> str:
    return fixed_point(now.load, 1, "unknown")


def _markdown_table(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    rule = ["-" * width if column < WORDS else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    padded = [_pad_cells(line, widths) for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def _pad_cells(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.ljust(width) if column < WORDS else cell.rjust(width) for column, (cell, width) in enumerate(zip(line, widths, strict=True))]
