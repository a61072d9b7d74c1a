"""A disk that fills up during training: one clear line, earlier files stay whole, and the same command resumes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from training.cli import main

RECIPE = """
backbone = "scratch_cnn"
scratch = { layers = 3, features = 32, kernel = 3, activation = "relu" }

[[stage]]
size = 32
epochs = 3
learning_rate = 1e-3
"""

ON_A_SMALL_DISK = """
mount -t tmpfs -o size=330k none "$1" || exit 77
"$2" -m training.cli fit --data "$3" --weights none --out "$1/run" --recipe "$4"
status=$?
ls -A "$1/run" >&2
mount -o remount,size=64m "$1"
"$2" -m training.cli fit --data "$3" --weights none --out "$1/run" --recipe "$4" && cp "$1/run/model.keras" "$5"
exit $status
"""
"""arguments: folder for the disk, python, data, recipe, where to put the network"""


def test_a_full_disk_gives_one_line_and_the_run_can_resume(shapes: Path, tmp_path: Path) -> None:
    disk, recipe = tmp_path / "disk", tmp_path / "recipe.toml"
    disk.mkdir()
    recipe.write_text(RECIPE)
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare to make a small disk with")
    arguments = [str(disk), sys.executable, str(shapes), str(recipe), str(tmp_path / "model.keras")]
    done = subprocess.run(
        [unshare, "--user", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK, "sh", *arguments], capture_output=True, text=True, timeout=300
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no small disk may be mounted here")
    assert done.returncode == 2, done.stderr
    assert "No space left on device; make room and give the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert ".new" not in done.stderr and ".saving-" not in done.stderr, "nothing half-written stays"
    assert (tmp_path / "model.keras").is_file(), "the same command finished with more room"


@pytest.mark.parametrize(
    ("extra", "said"),
    [({"lone": 1}, "lone: expected at least two photos of lone, found one"), ({"empty": 0}, None)],
)
def test_a_label_needs_two_photos_and_empty_folders_are_ignored(
    extra: dict[str, int], said: str | None, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, recipe = Path(shutil.copytree(shapes, tmp_path / "data")), tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    for label, count in extra.items():
        (data / label).mkdir()
        for number in range(count):
            shutil.copy(shapes / "red box" / "00.png", data / label / f"{number}.png")
    status = main(["fit", "--data", str(data), "--weights", "none", "--out", str(tmp_path / "run"), "--recipe", str(recipe)])
    told = capsys.readouterr()
    if said is None:
        assert status == 0
        assert (tmp_path / "run" / "labels.txt").read_text().split("\n")[:-1] == ["blue can", "green jar", "red box"]
        assert "empty" in told.err and told.err.count("\n") == 1
    else:
        assert status == 2
        assert said in told.err and told.err.count("\n") == 1
        assert not (tmp_path / "run").exists()


def test_a_label_missing_in_the_rule_pack_is_named(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, pack = tmp_path / "recipe.toml", tmp_path / "pack.toml"
    shipped = Path(__file__).parents[3] / "config" / "rules" / "trashnet.toml"
    pack.write_text(shipped.read_text())
    recipe.write_text(f'rules = "{pack}"\n{RECIPE}')
    assert main(["fit", "--data", str(shapes), "--weights", "none", "--out", str(tmp_path / "run"), "--recipe", str(recipe)]) == 2
    error = capsys.readouterr().err
    assert "pack.toml" in error and "label" in error and error.count("\n") == 1
