"""Sortbin installed from its wheel, not from a checkout: nothing that a command needs is left behind."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.vision.inference.bundle import shipped_bundles

ROOT = Path(__file__).parents[1]
PARTS = ("pyproject.toml", "README.md", "LICENSE", "device", "converter", "training", "config")
COMMANDS = ("sortbin", "converter", "training")
ITEM = ROOT / "device/simulation/items/metal/drinks-can-00.webp"


def documented() -> list[str]:
    """The first line that the docs give of each command."""
    first: dict[tuple[str, ...], str] = {}
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("sudo -u sortbin "), comments=True)
                if words and words[0] in COMMANDS:
                    first.setdefault(tuple(words[:2]), shlex.join(words))
    return sorted(first.values())


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment of its own that holds the wheel; it borrows what Sortbin depends on from this one.

    Beside the default bundle, the wheel is built with a second one, `another`.
    """
    folder = tmp_path_factory.mktemp("wheel")
    source, environment = folder / "source", folder / "environment"
    for part in PARTS:
        path = ROOT / part
        if path.is_dir():
            shutil.copytree(path, source / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            source.mkdir(exist_ok=True)
            shutil.copy(path, source / part)
    shutil.copytree(source / "device/models/trashnet", source / "device/models/another")
    done("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    done("-m", "venv", "--without-pip", environment)
    (wheel,) = folder.glob("*.whl")
    done("-m", "pip", "--python", environment / "bin/python", "install", "--quiet", "--no-deps", "--no-index", wheel)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return environment / "bin"


def done(*arguments: str | Path) -> None:
    ran = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr


NEED_NOTHING = ("sortbin cmd --list",)
"""commands that succeed on an empty machine; all others name what is missing"""


def run(scripts: Path, line: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    program, *arguments = shlex.split(line)
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")} | {"HOME": str(folder)}
    return subprocess.run([scripts / program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False)


def test_the_docs_name_each_command() -> None:
    named = {tuple(line.split()[:2]) for line in documented()}
    assert {("sortbin", "check"), ("training", "fit"), ("training", "tune"), ("training", "compare"), ("converter", "quantize")} <= named


@pytest.mark.parametrize("line", documented())
def test_a_documented_command_misses_nothing_but_what_its_user_has_to_bring(scripts: Path, tmp_path: Path, line: str) -> None:
    ran = run(scripts, line, tmp_path)
    assert ran.returncode in ((0,) if line in NEED_NOTHING else (1, 2))
    assert "Traceback" not in ran.stderr
    assert "usage:" not in ran.stderr
    assert str(scripts.parent) not in ran.stderr


def test_a_plain_installation_names_the_extra_that_a_command_needs(scripts: Path, tmp_path: Path) -> None:
    for label in ("can", "jar"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(4):
            cv2.imwrite(str(tmp_path / "photos" / label / f"{number}.png"), np.full((32, 32, 3), 40 * number + len(label), np.uint8))
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "__init__.py").write_text("raise ModuleNotFoundError(name='keras')", encoding="utf-8")
    command = [scripts / "training", "fit", "--data", "photos", "--weights", "none", "--out", "run"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1] == 'training fit: keras is not installed: pip install "sortbin[training]"'
    assert "Traceback" not in ran.stderr


def test_what_comes_along_is_found_by_name(scripts: Path, tmp_path: Path) -> None:
    judged = run(scripts, f"sortbin classify {shlex.quote(str(ITEM))} --bundle trashnet --rules recyclable", tmp_path)
    assert judged.returncode == 0
    assert re.match(r"metal +\d+\.\d% +-> recyclable", judged.stdout)
    for line, named in (
        ("training fit --data none --weights none --recipe nonesuch --out run", "features, int8, trashnet"),
        ("training tune --data none --weights none --space nonesuch --out run", "fine-tuning, scratch-cnn"),
        ("training compare nonesuch --data none --weights none --out run", "features, int8, trashnet"),
    ):
        ran = run(scripts, line, tmp_path)
        assert ran.returncode == 2
        assert f"nonesuch: expected the file of a {'search space' if 'tune' in line else 'recipe'}, or the name of one" in ran.stderr
        assert named in ran.stderr


def test_every_bundle_beside_the_default_one_is_named_and_found(scripts: Path, tmp_path: Path) -> None:
    judged = run(scripts, f"sortbin classify {shlex.quote(str(ITEM))} --bundle another", tmp_path)
    assert judged.returncode == 0 and judged.stdout.startswith("metal")
    settings = tmp_path / "sortbin.toml"
    gate = '[[gate]]\nbin = "trash"\nkind = "line"\nline = "GPIO22"\n'
    settings.write_text(f'[model]\nbundle = "nonesuch"\n[camera]\nkind = "v4l2"\n{gate}', encoding="utf-8")
    names = ", ".join(sorted(["another", *shipped_bundles()]))
    for line in (f"sortbin classify {shlex.quote(str(ITEM))} --bundle nonesuch", f"sortbin check --config {settings}"):
        ran = run(scripts, line, tmp_path)
        assert f"or the name of one that Sortbin comes with ({names})" in ran.stdout + ran.stderr, line
