"""A disk that fills up: one line, nothing half-written, and the same command goes on."""

import resource
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.training.prepare.pictures import fill, rows
from tests.training.prepare.test_resume import COMMAND, ROOT
from training.prepare.options import PrepareError

ON_A_SMALL_DISK = """
mount -t tmpfs -o size=300k none "$1" || exit 77
"$2" -c "$3" prepare "$4" --out "$1/set"
status=$?
ls -A "$1/set"
mount -o remount,size=64m "$1"
"$2" -c "$3" prepare "$4" --out "$1/set" && cp "$1/set/manifest.csv" "$5"
exit $status
"""
"""arguments: folder for the disk, python, command, source, where to put the manifest"""


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """As on a full disk, writing stops in the middle of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_the_command_can_resume(tmp_path: Path) -> None:
    source = fill(tmp_path / "photos", per_label=60)
    disk = tmp_path / "disk"
    disk.mkdir()
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare to make a small disk with")
    arguments = [str(disk), sys.executable, COMMAND, str(source), str(tmp_path / "manifest.csv")]
    done = subprocess.run(
        [unshare, "--user", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK, "sh", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("may not mount a small disk")
    refused = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1, done.stderr  # Python's own, for the error that `training` prints as one line
    assert refused.startswith("training.prepare.options.PrepareError: ")
    assert "No space left on device" in refused or "disk is full" in refused
    assert refused.endswith(("run the same command again: it goes on where it stopped", "run the same command again: it goes on"))
    assert "dataset.json" not in done.stdout.splitlines()
    assert len((tmp_path / "manifest.csv").read_text().splitlines()) == 181


@pytest.mark.parametrize("size_bytes", [0, 3000, 100_000])
def test_wherever_writing_fails_it_is_said_and_made_good(prepare, tmp_path: Path, out: Path, size_bytes: int) -> None:
    source = fill(tmp_path / "photos", per_label=30)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for file in sorted(source.rglob("*.png")):
            archive.write(file, file.relative_to(source).as_posix())
    with files_of_at_most(size_bytes), pytest.raises(PrepareError, match=r"run the same command again: it goes on"):
        prepare(tmp_path / "photos.zip", "--out", out)
    assert not (out / "dataset.json").exists()
    for file in (out / "images").rglob("*.png"):
        assert file.read_bytes() == (source / file.relative_to(out / "images")).read_bytes()
    assert prepare(tmp_path / "photos.zip", "--out", out) == 0
    assert len(rows(out)) == 90
