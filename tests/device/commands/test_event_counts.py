"""`sortbin events`: filters, tables for spreadsheets, and counts by day, bin and label."""

import csv
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from device.cli import main
from device.commands.events import COLUMNS
from device.common.clock import Clock
from device.common.csv_output import harmless
from device.events import BinEmptied, Event, ItemRejected, ItemSorted, Jam
from device.ledger.ledger import Ledger
from device.ledger.reader import read_events

WAIT_S = 20.0
OLD = Path(__file__).parents[2] / "written_by_0_1" / "state"
FIRST_DAY_S = 1_772_359_200.0
"""2026-03-01 10:00 UTC"""


def item(label: str, to_bin: str = "paper", p_right: float = 0.75) -> ItemSorted:
    return ItemSorted(
        item="a", bin=to_bin, label=label, p=0.5, probabilities={label: 1.0}, frames=2, decided_s=0.4, moved_s=1.2, bundle="b", p_right=p_right
    )


def rejected(label: str) -> ItemRejected:
    return ItemRejected(**{**msgspec.structs.asdict(item(label, "other")), "reason": "unsure"})


DAYS: list[list[Event]] = [
    [item("card"), item("=cmd()"), rejected("card"), Jam(item="a", bin="paper", waited_s=8.0)],
    [item("纸"), item("card", "glass"), BinEmptied(bin="paper", by="command", items=3)],
]


@pytest.fixture(autouse=True)
def _zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A running ledger with events of two days, 1 and 2 March 2026, at noon local time."""
    wall_s = [FIRST_DAY_S]
    opened = Ledger(tmp_path / "state", "bin1", Clock(wall_s=lambda: wall_s[0]))
    for events in DAYS:
        for event in events:
            opened.record(event).result(WAIT_S)
        wall_s[0] += 86_400.0
    yield opened
    opened.close(WAIT_S)


Printed = Callable[..., str]


@pytest.fixture
def printed(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> Printed:
    def run(*options: str, status: int = 0) -> str:
        assert main(["events", "--state", str(ledger.file.parent), *options]) == status
        told = capsys.readouterr()
        return told.err if status else told.out

    return run


def table(text: str) -> list[dict[str, str]]:
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text[1:], newline="")))


def counts(row: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if value != "0" and not (name == "contamination" and value == "0.0")}


def test_counts_by_day_are_a_table_for_a_spreadsheet(printed: Printed) -> None:
    assert [counts(row) for row in table(printed("--by", "day", "--csv"))] == [
        {"day": "2026-03-01", "sorted": "2", "rejected": "1", "rejected_unsure": "1", "jams": "1", "contamination": "0.5"},
        {"day": "2026-03-02", "sorted": "2", "emptied": "1", "contamination": "0.5"},
    ]


def test_groups_may_be_combined(printed: Printed) -> None:
    rows = [json.loads(row) for row in printed("--by", "bin", "day", "--json").splitlines()]
    assert [(row["bin"], row["day"], row["sorted"], row["rejected"], row["reasons"]) for row in rows] == [
        ("glass", "2026-03-02", 1, 0, {}),
        ("other", "2026-03-01", 0, 1, {"unsure": 1}),
        ("paper", "2026-03-01", 2, 0, {}),
        ("paper", "2026-03-02", 1, 0, {}),
    ]


def test_counts_by_label_are_since_the_ledger_began_or_of_some_days(printed: Printed, ledger: Ledger) -> None:
    def by_label(*options: str) -> dict[str, tuple[int, int]]:
        rows = [json.loads(row) for row in printed("--by", "label", "--json", *options).splitlines()]
        return {row["label"]: (row["sorted"], row["rejected"]) for row in rows}

    assert by_label() == {"": (0, 0), "=cmd()": (1, 0), "card": (2, 1), "纸": (1, 0)}
    assert by_label("--after", "2026-03-02") == {"": (0, 0), "card": (1, 0), "纸": (1, 0)}
    assert by_label("--after", "2026-02-01", "--before", "2026-03-02") == {"": (0, 0), "=cmd()": (1, 0), "card": (1, 1)}
    assert by_label("--before", "2026-03-01") == {}
    assert printed("--by", "label").splitlines()[-1] == f"since {ledger.since}"


@pytest.mark.parametrize("form", [["--by", "bin"], []])
def test_a_month_that_ends_before_it_begins_is_refused(form: list[str], printed: Printed) -> None:
    said = printed(*form, "--after", "2026-03-02", "--before", "2026-03-01", status=2)
    assert said == "sortbin events: --before: expected a time after that of --after, 2026-03-02; found 2026-03-01\n"


def test_counts_for_people_are_aligned_whatever_the_script(printed: Printed) -> None:
    lines = printed("--by", "label", "day").splitlines()
    assert lines[0].split() == ["label", "day", "sorted", "rejected", "interrupted", "jams", "hazards", "emptied", "contamination"]
    assert lines[-2].split() == ["纸", "2026-03-02", "1", "0", "0", "0", "0", "0", "0.2"]
    assert lines[-2].index("2026") == lines[0].index("day") - 1


def test_a_listed_event_is_a_row_with_fixed_columns(printed: Printed) -> None:
    rows = table(printed("--csv"))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == sum(map(len, DAYS))
    assert [(row["seq"], row["type"], row["label"], row["p_right"]) for row in rows[:2]] == [
        ("1", "item_sorted", "card", "0.75"),
        ("2", "item_sorted", "'=cmd()", "0.75"),
    ]
    assert (rows[3]["type"], rows[3]["label"], rows[3]["text"]) == ("jam", "", "at the gate of paper, after 8.0 s")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "＝1", "\nx"])
def test_no_text_is_run_as_a_formula(text: str) -> None:
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("text", ["paper", "", "1=1", "纸", "a-b", "'quoted'"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--type", "jam", "item_rejected"], [3, 4]),
        (["--type", "jam", "--type", "item_rejected"], [3, 4]),
        (["--after", "2026-03-02"], [5, 6, 7]),
        (["--before", "2026-03-02"], [1, 2, 3, 4]),
        (["--before", "2026-03-02", "--type", "jam"], [4]),
        (["--after", "2026-03-01T10:00:00Z", "--before", "2026-03-01T10:00:00.001Z"], [1, 2, 3, 4]),
        (["--after", "2026-03-01T12:00:00.001"], [5, 6, 7]),
        (["--after", "2026-03-01T12:00:00+02:00", "--since", "6"], [7]),
    ],
)
def test_events_are_chosen_by_type_and_time(printed: Printed, options: list[str], numbers: list[int]) -> None:
    assert [json.loads(row)["seq"] for row in printed("--json", *options).splitlines()] == numbers


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--by", "day", "--type", "jam"], "--type: cannot be used with --by"),
        (["--by", "day", "--follow"], "--follow: cannot be used with --by"),
        (["--by", "day", "--after", "2026-03-01T10:00:00Z"], "--after: expected a day such as 2026-11-01 with --by"),
    ],
)
def test_options_that_do_not_fit_are_one_line(printed: Printed, options: list[str], said: str) -> None:
    told = printed(*options, status=2)
    assert told.startswith(f"sortbin events: {said}")
    assert told.count("\n") == 1


@pytest.mark.parametrize("time_", ["yesterday", "2026-13-01", "", "2026-02-30", "9999-12-31T23:59:59-23:59"])
def test_a_time_that_is_none_is_refused(printed: Printed, capsys: pytest.CaptureFixture[str], time_: str) -> None:
    with pytest.raises(SystemExit):
        printed("--after", time_)
    assert capsys.readouterr().err.splitlines()[-1].endswith("expected a day such as 2026-11-01, or a time such as 2026-11-01T08:00:00Z")


def test_a_ledger_of_an_earlier_version_says_that_it_has_no_days(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = shutil.copytree(OLD, tmp_path / "old")
    assert main(["events", "--state", str(state), "--by", "day"]) == 2
    told = capsys.readouterr().err
    assert "has no counts by day yet: an earlier version wrote it; start sortbin once" in told
    assert told.count("\n") == 1
    assert len(list(read_events(state))) == 19


def test_an_empty_ledger_has_no_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ledger.sqlite3").touch()
    assert main(["events", "--state", str(tmp_path), "--by", "day", "--csv"]) == 0
    assert table(capsys.readouterr().out) == []
