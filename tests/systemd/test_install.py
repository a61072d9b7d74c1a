"""`systemd/install` and `systemd/uninstall`, with a stand-in for Python that makes an environment without downloads."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """#!/bin/sh
# Used by the installer: `-m venv DIR` makes DIR/bin/python, and `-m pip install ... SOURCE` builds in SOURCE and writes scripts that name it.
case "$1 $2" in
"-m venv")
    for made; do :; done
    mkdir -p "$made/bin" && cp "$0" "$made/bin/python"
    echo "command = python3 -m venv $made" > "$made/pyvenv.cfg" ;;
"-m pip")
    for source; do :; done
    echo "Collecting numpy"
    test -f "$source/pyproject.toml" -a -f "$source/device/cli.py" -a -f "$source/config/sortbin.toml" || exit 3
    mkdir "$source/build" "$source/sortbin.egg-info" || exit 4
    printf '#!%s\nimport device.cli\n' "$0" > "$(dirname "$0")/sortbin"
    echo "$source" > "$(dirname "$0")/../built-from" ;;
esac
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    program = tmp_path / "python3"
    program.write_text(PYTHON, encoding="utf-8")
    program.chmod(0o755)
    return program


@pytest.fixture
def below(tmp_path: Path) -> Path:
    return tmp_path / "packaged"


def run(script: str, below: Path | str, python: Path | None = None, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"DESTDIR": str(below), "PYTHON": str(python)}
    command = [ROOT / "systemd" / script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def installed(below: Path, python: Path) -> None:
    done = run("install", below, python)
    assert (done.returncode, done.stderr) == (0, "")


def test_installing_does_not_change_the_checkout(below: Path, python: Path) -> None:
    before = sorted(ROOT.iterdir())
    installed(below, python)
    built_from = Path((below / "opt/sortbin/built-from").read_text(encoding="utf-8").strip())
    assert not built_from.is_relative_to(ROOT)
    assert not built_from.exists(), "the copy is gone"
    assert sorted(ROOT.iterdir()) == before


def test_the_output_of_pip_is_shown(below: Path, python: Path) -> None:
    done = run("install", below, python)
    first, *others = done.stdout.splitlines()
    assert first == f"installing Sortbin into {below}/opt/sortbin: some minutes the first time"
    assert "Collecting numpy" in others


def test_a_32_bit_system_is_refused_in_one_line(below: Path, tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\ncase "$2" in *"sys.exit(sys.maxsize < 2**32)") exit 1 ;; esac\n', encoding="utf-8")
    python.chmod(0o755)
    done = run("install", below, python)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"install: {python} is a 32-bit program")
    assert not below.exists()


def test_scripts_name_their_final_path(below: Path, python: Path) -> None:
    installed(below, python)
    assert (below / "opt/sortbin/bin/sortbin").read_text(encoding="utf-8").startswith("#!/opt/sortbin/bin/python\n")
    assert (below / "opt/sortbin/pyvenv.cfg").read_text(encoding="utf-8") == "command = python3 -m venv /opt/sortbin\n"


def test_the_command_is_linked_and_the_state_folder_made(below: Path, python: Path) -> None:
    installed(below, python)
    assert (below / "usr/local/bin/sortbin").readlink() == Path("/opt/sortbin/bin/sortbin")
    assert (below / "var/lib/sortbin").stat().st_mode & 0o777 == 0o755
    assert (below / "etc/systemd/system/sortbin.service").read_bytes() == (ROOT / "systemd/sortbin.service").read_bytes()


def test_an_upgrade_does_not_change_user_files(below: Path, python: Path) -> None:
    installed(below, python)
    link, settings = below / "usr/local/bin/sortbin", below / "etc/sortbin/sortbin.toml"
    link.unlink()
    link.write_text("my own")
    settings.write_text("# mine")
    installed(below, python)
    assert link.read_text() == "my own"
    assert settings.read_text() == "# mine"
    assert (below / "etc/sortbin/sortbin.toml.example").read_bytes() == (ROOT / "config/sortbin.toml").read_bytes()


@pytest.mark.parametrize("arguments", [(), ("--purge",)])
def test_uninstalling_keeps_data_unless_purged(below: Path, python: Path, arguments: tuple[str, ...]) -> None:
    installed(below, python)
    (below / "var/lib/sortbin/ledger.sqlite3").touch()
    done = run("uninstall", below, None, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    left = {str(path.relative_to(below)) for path in below.rglob("*") if not path.is_dir()}
    assert left == (set() if arguments else {"etc/sortbin/sortbin.toml", "var/lib/sortbin/ledger.sqlite3"})


def test_uninstalling_keeps_a_command_of_another_program(below: Path, python: Path) -> None:
    installed(below, python)
    link = below / "usr/local/bin/sortbin"
    link.unlink()
    link.write_text("my own")
    assert run("uninstall", below).returncode == 0
    assert link.read_text() == "my own"


@pytest.mark.parametrize(
    ("script", "below", "arguments", "said"),
    [
        ("install", "packaged", (), "install: DESTDIR=packaged: expected an absolute path\n"),
        ("uninstall", "/nowhere", ("--all",), "uninstall: expected nothing or --purge, found --all\n"),
    ],
)
def test_a_mistake_is_one_line(script: str, below: str, arguments: tuple[str, ...], said: str, python: Path) -> None:
    done = run(script, below, python, *arguments)
    assert (done.returncode, done.stderr) == (1, said)
