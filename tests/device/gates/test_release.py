"""Gates read from a settings file with mistakes in it."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.gates.claimed_outputs import FILE, clear_claim, read_claim, write_claim
from device.gates.gpio_line import LineSettings
from device.gates.release import read_gates
from device.gates.servo import ServoSettings

TEXT = (Path(__file__).parents[3] / "config" / "sortbin.toml").read_text(encoding="utf-8")
LINE = LineSettings(bin="glass", line="GPIO18", active_low=True)


def read(text: str) -> "tuple[list[str], int]":
    """The bins whose gates are found, and how many mistakes are named."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "sortbin.toml")
        file.write_text(text, encoding="utf-8", errors="surrogateescape")
        found = read_gates(file)
    return [gate.bin for gate in found.gates], len(found.mistakes)


def test_all_gates_of_the_shipped_settings_are_found() -> None:
    assert read(TEXT) == (["paper", "glass", "metal", "plastic", "trash"], 0)


@pytest.mark.parametrize("broken", ["[mqtt", "host = ", 'id = "bin', "[[gate", "\x00"])
def test_a_mistake_in_another_table_hides_no_gate(broken: str) -> None:
    bins, mistakes = read(f"{TEXT}\n[other]\n{broken}\n")
    assert bins == ["paper", "glass", "metal", "plastic", "trash"]
    assert mistakes == 1


@pytest.mark.parametrize("line", ["channel = 0\n", 'kind = "servo"\n'])
def test_a_mistake_in_one_gate_hides_only_that_gate(line: str) -> None:
    bins, mistakes = read(TEXT.replace(line, line.replace(" ", "", 1).replace("=", "= ,", 1), 1))
    assert bins == ["glass", "metal", "plastic", "trash"]
    assert mistakes >= 1


@settings(max_examples=100)
@given(at=st.integers(0, len(TEXT)), length=st.integers(0, 400), put=st.text(max_size=40))
def test_reading_gates_never_raises(at: int, length: int, put: str) -> None:
    bins, _ = read(TEXT[:at] + put.encode("utf-8", "replace").decode() + TEXT[at + length :])
    assert len(bins) <= 6


def test_endless_nesting_hides_no_gate() -> None:
    assert read(f"{TEXT}\n[other]\nx = {'[' * 5000}\n")[0] == ["paper", "glass", "metal", "plastic", "trash"]


def test_a_claim_is_stored_until_it_is_cleared(tmp_path: Path) -> None:
    gates = (LINE, ServoSettings(bin="paper", channel=1, closed_us=1000, open_us=2000))
    assert read_claim(tmp_path) == ()
    write_claim(tmp_path, gates)
    assert read_claim(tmp_path) == gates
    clear_claim(tmp_path)
    assert read_claim(tmp_path) == ()


def test_a_claim_from_before_a_reboot_is_ignored(tmp_path: Path) -> None:
    """By now the pin may be wired to something else."""
    write_claim(tmp_path, (LINE,))
    said = (tmp_path / FILE).read_text()
    kernel = said.split('"')[3]
    (tmp_path / FILE).write_text(said.replace(kernel, "0" * len(kernel)))
    assert read_claim(tmp_path) == ()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kernel":1}', "\x00"])
def test_a_damaged_claim_is_ignored(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content)
    assert read_claim(tmp_path) == ()


def test_a_claim_that_cannot_be_stored_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_claim(tmp_path / "missing", (LINE,))
    assert "only the gates that the settings then name can be made safe" in caplog.text
