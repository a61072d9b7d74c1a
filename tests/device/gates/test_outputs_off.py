"""Outputs are off in the end, whatever ends the process that holds them. Separate processes, with lines that keep their level as a Pi's do."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

from device.gates.claimed_outputs import FILE
from device.vision.inference.bundle import Bundle
from device.vision.inference.preprocess import Pixels

pytestmark = pytest.mark.slow

LINES_ON_DISK = Path(__file__).parent / "lines_on_disk"
BINS = ("paper", "glass", "metal", "plastic", "trash")

Sortbin = Callable[..., "subprocess.Popen[str]"]


def line_of(name: str) -> str:
    return f"GPIO{17 + BINS.index(name)}"


def gate(name: str, line: str = "") -> str:
    return f'[[gate]]\nkind = "line"\nbin = "{name}"\nline = "{line or line_of(name)}"\nchip = "/dev/gpiochip0"\ntravel_s = 0.05\nmax_on_s = 60\n'


@pytest.fixture
def config(tmp_path: Path, tiny_bundle: Bundle, painted: Callable[..., Pixels]) -> Path:
    """Settings of a bin whose camera sees an empty tray for three seconds, and then glass on it."""
    (tmp_path / "pictures").mkdir()
    empty, with_item = painted("", 60, 80), painted("", 60, 80).copy()
    with_item[15:45, 20:60] = painted("glass", 30, 40)
    for number, pixels in enumerate([*[empty] * 10, *[with_item] * 40]):
        cv2.imwrite(str(tmp_path / "pictures" / f"{number:02}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    file = tmp_path / "sortbin.toml"
    file.write_text(
        f'[device]\nid = "bench"\nstate = "{tmp_path / "state"}"\n[model]\nbundle = "{tiny_bundle.folder}"\n'
        f'[camera]\nkind = "replay"\npath = "{tmp_path / "pictures"}"\nhold_s = 0.3\n[presence]\nlearn_frames = 3\n'
        + "".join(gate(name) for name in BINS),
        encoding="utf-8",
    )
    return file


@pytest.fixture
def sortbin(tmp_path: Path, config: Path) -> Iterator[Sortbin]:
    """`sortbin(ARGUMENT, ...)` starts a command with that file."""
    (tmp_path / "lines").mkdir()
    environment = os.environ | {"PYTHONPATH": str(LINES_ON_DISK), "LINES_ON_DISK": str(tmp_path / "lines")}
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, prefix: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        command = [*prefix, sys.executable, "-m", "device.cli", *arguments, "--config", str(config)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=10)


@pytest.fixture
def is_on(tmp_path: Path) -> Callable[[str], bool]:
    """`is_on(BIN)`: whether the line of its gate is high."""
    return lambda name: (tmp_path / "lines" / line_of(name)).read_text() == "high"


def opened(sortbin: Sortbin, *arguments: str, prefix: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    process = sortbin("gate", "paper", "--open", "--seconds", "50", *arguments, prefix=prefix)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("paper: open after")
    return process


def killed_with_a_gate_open(sortbin: Sortbin, is_on: Callable[[str], bool]) -> None:
    """Kill a bin while a gate is open: it is unsure of the item, which goes to the residual bin."""
    process = sortbin("run")
    while not (process.poll() is not None or _on(is_on, "trash")):
        time.sleep(0.01)
    process.kill()
    process.wait(10)
    assert is_on("trash")


def _on(is_on: Callable[[str], bool], name: str) -> bool:
    try:
        return is_on(name)
    except FileNotFoundError:
        return False


def released(sortbin: Sortbin) -> tuple[int, str]:
    process = sortbin("gate", "--release")
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGTSTP", "SIGUSR1", "SIGALRM", "SIGRTMIN"])
def test_a_signal_switches_the_gate_off(name: str, sortbin: Sortbin, is_on: Callable[[str], bool]) -> None:
    process = opened(sortbin)
    assert is_on("paper")
    process.send_signal(signal.Signals[name])
    assert process.wait(10) == 0
    assert not is_on("paper")


def test_under_nohup_a_lost_connection_changes_nothing(sortbin: Sortbin, is_on: Callable[[str], bool]) -> None:
    process = opened(sortbin, prefix=("nohup",))
    process.send_signal(signal.SIGHUP)
    assert process.poll() is None and is_on("paper")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert not is_on("paper")


def test_a_closed_standard_output_switches_the_gate_off(sortbin: Sortbin, is_on: Callable[[str], bool]) -> None:
    process = sortbin("gate", "paper", "--times", "1000")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    assert process.wait(10) == 0
    assert not is_on("paper")


@pytest.mark.parametrize("name", ["SIGHUP", "SIGQUIT"])
def test_a_signal_ends_the_bin_cleanly_with_its_gates_off(name: str, sortbin: Sortbin, is_on: Callable[[str], bool], tmp_path: Path) -> None:
    process = sortbin("run")
    while process.poll() is None and not _on(is_on, "trash"):
        time.sleep(0.01)
    assert (tmp_path / "state" / FILE).exists()
    process.send_signal(signal.Signals[name])
    assert process.wait(10) == 0
    assert not any(is_on(each) for each in BINS)
    assert not (tmp_path / "state" / FILE).exists()


EDITS: dict[str, Callable[[str], str]] = {
    "none": lambda text: text,
    "another table is misspelt": lambda text: text.replace("[model]", "[modle]"),
    "no TOML any more": lambda text: text.replace("[model]", "[model"),
    "the gate moved to another line": lambda text: text.replace(line_of("trash"), "GPIO3"),
    "the gate has another name": lambda text: text.replace('bin = "trash"', 'bin = "bottles"'),
    "the gate is gone": lambda text: text.replace(gate("trash"), ""),
    "every gate is misspelt": lambda text: text.replace("travel_s = 0.05", "travel = 0.05"),
}


def test_after_a_crash_release_finds_the_output_despite_changed_settings(
    config: Path, sortbin: Sortbin, is_on: Callable[[str], bool], tmp_path: Path
) -> None:
    killed_with_a_gate_open(sortbin, is_on)
    settings, claim = config.read_text(), (tmp_path / "state" / FILE).read_bytes()
    for name, edit in EDITS.items():
        (tmp_path / "state" / FILE).write_bytes(claim)
        (tmp_path / "lines" / line_of("trash")).write_text("high")
        config.write_text(edit(settings))
        status, said = released(sortbin)
        assert not is_on("trash"), name
        assert status == 0, (name, said)
        assert "Traceback" not in said


def test_release_reads_gates_past_mistakes_and_names_the_mistakes(config: Path, sortbin: Sortbin, is_on: Callable[[str], bool]) -> None:
    process = opened(sortbin)
    process.kill()
    process.wait(10)
    config.write_text(f"[camera\n{config.read_text()}".replace(gate("metal"), gate("metal").replace("line =", "lnie =")))
    status, said = released(sortbin)
    assert not is_on("paper")
    assert status == 1
    assert "Traceback" not in said and said.count("\n") == 2
    assert "unknown key lnie" in said or "missing key line" in said


def test_release_imports_nothing_for_camera_or_model(tmp_path: Path) -> None:
    script = "import sys; from device.cli import main; main(['gate', '--release', '--config', sys.argv[1]]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "none.toml"], capture_output=True, text=True, timeout=60, check=True)
    assert "device.gates.release" in done.stdout.split()
    assert not {"numpy", "cv2", "sqlite3", "ai_edge_litert"} & set(done.stdout.split())


def test_the_next_start_makes_leftover_outputs_safe(config: Path, sortbin: Sortbin, is_on: Callable[[str], bool]) -> None:
    killed_with_a_gate_open(sortbin, is_on)
    config.write_text(config.read_text().replace(line_of("trash"), "GPIO3"))
    process = sortbin("run")
    assert process.stderr is not None
    while is_on("trash"):
        assert process.poll() is None, process.stderr.read()
