"""Killed at any moment and repeated, the command gives what it would have given."""

import contextlib
import os
import pty
import select
import signal
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.training.prepare.pictures import fill, rows
from training.prepare.options import PrepareError
from training.prepare.records import Records

COMMAND = """
import argparse, sys
from training.commands import prepare
parser = argparse.ArgumentParser()
prepare.add_parser(parser.add_subparsers())
arguments = parser.parse_args(sys.argv[1:])
sys.exit(arguments.run(arguments))
"""
ROOT = Path(__file__).parents[3]
WAIT_S = 60.0


def killed_when_it_says(said: str, *arguments: object) -> bytes:
    """Run the command on a terminal of its own and kill it as soon as its progress line says so. Returns all it said."""
    terminal, its_end = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", COMMAND, "prepare", *map(str, arguments)], cwd=ROOT, stdout=its_end, stderr=its_end)
    os.close(its_end)
    heard = b""
    try:
        while said.encode() not in heard:
            assert select.select([terminal], [], [], WAIT_S)[0], f"silent for {WAIT_S} s after {heard!r}"
            try:
                heard += os.read(terminal, 4096)
            except OSError:
                break
    finally:
        process.kill()
        status = process.wait(WAIT_S)
        os.close(terminal)
    assert status == -signal.SIGKILL, heard
    return heard


@pytest.mark.parametrize("moment", ["looking through the source: 50", "inspecting 64/", "writing"])
def test_killed_while_it_works_on_a_folder(prepare, tmp_path: Path, out: Path, moment: str, capsys) -> None:
    source = fill(tmp_path / "photos", per_label=30)
    options = ["--folds", "3", "--group-by", "filename-block:4", "--cap", "25"]
    heard = killed_when_it_says(moment, source, "--out", out, *options)
    assert moment.encode() in heard
    assert not (out / "dataset.json").exists()
    assert prepare(source, "--out", out, *options) == 0
    resumed = "pictures had been inspected before" in capsys.readouterr().out
    assert resumed == (not moment.startswith("looking"))
    assert prepare(source, "--out", tmp_path / "straight", *options) == 0
    for name in ("manifest.csv", "dataset.json"):
        assert (out / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_killed_while_it_brings_pictures(prepare, tmp_path: Path, out: Path) -> None:
    source = fill(tmp_path / "photos", per_label=30)
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(source, ".")
    killed_when_it_says("bringing the pictures: 40", tmp_path / "photos.tar", "--out", out)
    brought = {file: file.stat().st_mtime_ns for file in out.rglob("shot_*.png")}
    assert len(brought) >= 40
    assert all(file.read_bytes() == (source / file.relative_to(out / "images")).read_bytes() for file in brought)
    assert prepare(tmp_path / "photos.tar", "--out", out) == 0
    assert {file: file.stat().st_mtime_ns for file in brought} == brought
    assert len(rows(out)) == 90
    assert sorted(file.name for file in out.iterdir()) == ["dataset.json", "images", "manifest.csv", "records.sqlite3", "report", "report.html"]


def test_two_at_once_do_not_mix(prepare, source: Path, out: Path) -> None:
    out.mkdir()
    with Records(out), pytest.raises(PrepareError, match=r"set: another `training prepare` is at work here"):
        prepare(source, "--out", out)
    assert prepare(source, "--out", out) == 0


def test_damaged_records_are_named(prepare, source: Path, out: Path) -> None:
    assert prepare(source, "--out", out) == 0
    (out / "records.sqlite3").write_bytes(b"no database at all" * 100)
    with pytest.raises(PrepareError, match=r"records.sqlite3: file is not a database; delete .*set and prepare it anew"):
        prepare(source, "--out", out)


def test_pictures_that_another_version_looked_at_are_inspected_anew(prepare, source: Path, out: Path, capsys) -> None:
    assert prepare(source, "--out", out) == 0
    before = (out / "manifest.csv").read_bytes()
    with contextlib.closing(sqlite3.connect(out / "records.sqlite3")) as database:
        database.execute("ALTER TABLE picture DROP COLUMN transparent")
        database.execute("DELETE FROM about WHERE key = 'reader'")
        database.execute("UPDATE picture SET width = 1")
        database.commit()
    capsys.readouterr()
    assert prepare(source, "--out", out) == 0
    assert (out / "manifest.csv").read_bytes() == before
    assert "had been inspected before" not in capsys.readouterr().out
