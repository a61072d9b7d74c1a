"""Parsing of what Coral's compiler prints and logs."""

import pytest

from converter.edgetpu.report import CompilerRow, ReportError, parse_report
from tests.converter.edgetpu.conftest import ALL_MAPPED, PRINTED, table

STATUSES = [
    "Mapped to Edge TPU",
    "More than one subgraph is not supported",
    "Operation is working on an unsupported data type",
    "Operation is otherwise supported, but not mapped due to some unspecified limitation",
    "Operation version not supported",
    "Filter, bias, or other param is not constant at compile-time",
    "Operation not supported",
    "Tensor has unsupported rank (up to 3 innermost dimensions mapped)",
    "Image-interpolation layer won't run precisely enough on Edge TPU",
    "For example, a fully-connected or softmax layer with 2D output",
]
LOG = """Edge TPU Compiler version 16.0.384591198
Input: model_int8.tflite
Output: model_int8_edgetpu.tflite

{table}
"""


@pytest.mark.parametrize("status", STATUSES)
def test_every_observed_status_is_parsed(status: str) -> None:
    report = parse_report(LOG.format(table=table({("RESIZE_NEAREST_NEIGHBOR", status): 12})))
    assert report.rows == (CompilerRow("RESIZE_NEAREST_NEIGHBOR", 12, status),)
    assert (report.mapped, report.on_cpu) == ((12, 0) if status == "Mapped to Edge TPU" else (0, 12))


def test_counts_version_and_memory_are_parsed() -> None:
    rows = {**ALL_MAPPED, ("ADD", "More than one subgraph is not supported"): 6, ("CUSTOM", "Operation is working on an unsupported data type"): 1}
    report = parse_report(PRINTED.format(table=table(rows)))
    assert report.version == "16.0.384591198"
    assert (report.mapped, report.on_cpu, len(report.rows)) == (76, 7, 9)
    assert (report.on_chip_bytes, report.remaining_bytes, report.off_chip_bytes) == (2516582, 4676649, 0)


def test_wide_counts_and_trailing_spaces_are_parsed() -> None:
    text = "Operator                       Count      Status   \r\n\r\nUNIDIRECTIONAL_SEQUENCE_LSTM   1234567890 Mapped to Edge TPU   \r\n"
    assert parse_report(text).rows == (CompilerRow("UNIDIRECTIONAL_SEQUENCE_LSTM", 1234567890, "Mapped to Edge TPU"),)


def test_only_the_last_table_counts() -> None:
    screen, log = PRINTED.format(table=table({("ADD", STATUSES[0]): 10})), LOG.format(table=table(ALL_MAPPED))
    assert parse_report(screen + log).mapped == 76
    assert parse_report(screen + log).on_chip_bytes == 2516582


def test_sizes_in_all_units_are_parsed() -> None:
    text = PRINTED.format(table=table(ALL_MAPPED)).replace("2.40MiB", "7.75KiB").replace("0.00B", "1.00GiB")
    assert (parse_report(text).on_chip_bytes, parse_report(text).off_chip_bytes) == (7936, 1024**3)


def test_a_table_without_version_and_sizes_is_parsed() -> None:
    report = parse_report(table(ALL_MAPPED))
    assert (report.version, report.on_chip_bytes, report.mapped) == ("", None, 76)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", "it printed: nothing"),
        ("Edge TPU Compiler version 16.0.384591198\n\nInternal compiler error. Aborting! \n", "Internal compiler error. Aborting!"),
        ("ERROR: Didn't find op for builtin opcode 'CONV_2D' version '6'\n", "opcode 'CONV_2D' version '6'"),
        ("Operator                       Count      Status\n\nCompilation failed! \n", "Compilation failed!"),
    ],
)
def test_text_without_a_table_is_quoted(text: str, quoted: str) -> None:
    with pytest.raises(ReportError) as raised:
        parse_report(text)
    assert quoted in str(raised.value) and "\n" not in str(raised.value)
