"""Commands run from a folder that their user may not read, as `sudo -u sortbin sortbin check` in a private home."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.policy.rules import find_rules
from device.vision.inference.bundle import find_bundle


@pytest.fixture
def from_a_private_home(tmp_path: Path, without_privileges: Callable[[], None]) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs a sortbin command in a folder that it may not read."""
    home = tmp_path / "home"
    home.mkdir()

    def enter() -> None:
        os.chdir(home)
        home.chmod(0)
        without_privileges()

    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "device.cli", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=enter, check=False)
        home.chmod(0o700)
        return done

    return run


def test_the_first_command_of_the_readme_works(tmp_path: Path, from_a_private_home: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    cv2.imwrite(str(tmp_path / "tray.png"), np.full((240, 320, 3), 200, np.uint8))
    gates = "".join(f'[[gate]]\nkind = "simulated"\nbin = "{name}"\n' for name in ("paper", "glass", "metal", "plastic", "trash"))
    (tmp_path / "sortbin.toml").write_text(
        f'[device]\nid = "bench"\nstate = "{tmp_path / "state"}"\n[model]\nbundle = "trashnet"\nrules = "trashnet"\n'
        f'[camera]\nkind = "replay"\npath = "{tmp_path / "tray.png"}"\n{gates}',
        encoding="utf-8",
    )
    done = from_a_private_home("check", "--config", tmp_path / "sortbin.toml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "--config", "mine.toml"),
        ("classify", "photo.png"),
        ("classify", "--bundle", "mine", "/proc/self/exe"),
        ("classify", "--rules", "mine", "/proc/self/exe"),
        ("demo", "--images", "photos"),
        ("demo", "--replay", "photos"),
        ("demo", "--state", "state"),
        ("events", "--state", "state"),
        ("teach", "--from", "photos", "--out", "taught.npz"),
        ("gate", "--config", "mine.toml"),
        ("run", "--config", "mine.toml"),
    ],
)
def test_a_path_that_this_user_may_not_read_is_one_line(
    arguments: tuple[str, ...], from_a_private_home: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    done = from_a_private_home(*arguments)
    assert done.returncode == 2
    assert "Permission denied" in done.stderr or "may not be read by this user" in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("sortbin ")]) == 1


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trashnet").mkdir()
    assert find_bundle("trashnet").is_absolute() and find_rules("trashnet").is_absolute()
    assert find_bundle("./trashnet") == Path("trashnet")
