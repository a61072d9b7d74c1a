"""`sortbin teach` for a bin: from photos or the camera to the state folder, listing and undoing."""

import fcntl
import io
import json
import os
import resource
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from device.adaptation.fewshot_head_store import head_files
from device.cli import main
from device.daemon.startup import open_parts
from device.ledger.lock import LOCK
from device.settings import read_settings
from device.simulation.hardware import virtual_hardware
from device.simulation.narrator import Narrator
from device.vision.fewshot.fewshot_head import TeachingError
from device.vision.inference.bundle import Bundle, write_bundle
from tests.device.commands.conftest import ORANGE, PACK, plain, save

pytestmark = pytest.mark.slow


def test_an_unusable_state_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TeachingError, match=r"File name too long; expected device\.state, a folder"):
        head_files(tmp_path / ("x" * 300))


def test_teaching_a_folder_twice_changes_nothing(
    photos: Path, config: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["teach", "--from", str(photos), "--config", str(config(photos)), "--json"]) == 0
    out, err = capsys.readouterr()
    once, again = map(json.loads, out.splitlines())
    assert (once["copies"], again["copies"]) == (0, 16)
    assert "16 of the photos are copies" in err
    first, second = (file.read_bytes() for file in head_files(tmp_path / "state"))
    assert first == second


def test_composed_and_decomposed_labels_are_one(
    bundle: Bundle, photos: Path, config: Callable[..., Path], pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written, typed = unicodedata.normalize("NFC", "bière"), unicodedata.normalize("NFD", "bière")
    (photos / "can").rename(photos / typed)
    (photos / "pot").rename(photos / written)
    pack.write_text(PACK.replace('"can", "pot"', f'"{written}"'), encoding="utf-8")
    assert main(["teach", "--from", str(photos), "--config", str(config(photos)), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["photos"] == {written: 16}
    assert main(["teach", typed, "--frames", "1", "--config", str(config(tmp_path / "gone"))]) == 2
    assert "no bin for the label" not in capsys.readouterr().err


def test_mistakes_give_one_line_and_status_2(
    bundle: Bundle, photos: Path, pack: Path, config: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nothing").mkdir()
    settings = str(config(photos))
    out = ["--out", str(tmp_path / "x.npz"), "--bundle", str(bundle.folder)]
    for arguments, message in (
        ([], "expected one of LABEL, --from, --list and --undo, got none"),
        (["can", "--list", "--config", settings], "got LABEL and --list"),
        (["can", "--out", "x"], "--out: goes with --from"),
        (["--from", str(tmp_path / "gone"), *out], "gone: expected a folder with a folder of photos for each label"),
        (["--from", str(tmp_path / "nothing"), *out], "nothing: expected a folder of photos for each label in it"),
        (["--from", str(photos), *out, "--rules", "trashnet"], "trashnet.toml: bins: no bin for the label can; add it to one bin's labels"),
        (
            ["--from", str(photos), "--out", str(tmp_path / "no" / "x.npz"), "--bundle", str(bundle.folder)],
            "x.npz: expected a file in an existing folder",
        ),
        (["--from", str(photos), "--out", str(photos), "--bundle", str(bundle.folder)], f"--out {photos}: expected a file in an existing folder"),
        (["tin", "--config", settings], "mine.toml: bins: no bin for the label tin"),
        (["--undo", "--config", settings], "nothing was taught that could be undone"),
        (["--from", str(photos), "--config", settings, "--rules", "mine"], "--rules: goes with --out, not with --from alone"),
        (["--from", str(photos), "--config", settings, "--bundle", str(bundle.folder)], "--bundle: goes with --out, not with --from alone"),
        (["--from", str(photos), *out, "--config", settings], "--config: goes with LABEL or --from or --list or --undo, not with --out"),
        (["--from", str(photos), *out, "--frames", "3"], "--frames: goes with LABEL, not with --out"),
        (["can", "--config", settings, "--background", str(photos)], "--background: goes with --from or --out, not with LABEL"),
        (["--list", "--config", settings, "--only"], "--only: goes with LABEL or --from or --out, not with --list"),
        (["--undo", "--config", settings, "--json"], "--json: goes with LABEL or --from or --out or --list, not with --undo"),
        (["--from", str(photos / ("long" * 80)), *out], "File name too long; expected a folder with a folder of photos for each label"),
        (["--from", str(photos), *out, "--background", str(photos / ("long" * 80))], "File name too long; expected a picture or a folder"),
    ):
        assert main(["teach", *arguments]) == 2, arguments
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sortbin teach: ")]
        assert len(lines) == 1 and message in lines[0], (arguments, lines)


def test_lessons_add_up_are_listed_and_undone(photos: Path, config: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings, state = str(config(photos)), tmp_path / "state"
    assert main(["teach", "--list", "--config", settings]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"{state / 'taught'}: nothing was taught"
    (pots := tmp_path / "later").mkdir()
    (photos / "pot").rename(pots / "pot")
    assert main(["teach", "--from", str(photos), "--config", settings]) == 0
    first = head_files(state)[-1].read_bytes()
    assert main(["teach", "--from", str(pots), "--config", settings]) == 0
    capsys.readouterr()
    assert main(["teach", "--list", "--config", settings, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["photos"] for line in lines] == [{"can": 8}, {"can": 8, "pot": 8}]
    assert main(["teach", "--undo", "--config", settings]) == 0
    assert [file.read_bytes() for file in head_files(state)] == [first]
    assert main(["teach", "--undo", "--config", settings]) == 0
    assert head_files(state) == []


def test_a_full_disk_leaves_earlier_lessons_untouched(
    photos: Path, config: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = str(config(photos))
    assert main(["teach", "--from", str(photos), "--config", settings]) == 0
    first = head_files(tmp_path / "state")[-1]
    kept, before = first.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    capsys.readouterr()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) // 2, before[1]))
        assert main(["teach", "--from", str(photos), "--config", settings]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "0002.npz: File too large; expected a state folder that this user can write to" in capsys.readouterr().err
    assert [(file.name, file.read_bytes()) for file in (tmp_path / "state" / "taught").iterdir()] == [(first.name, kept)]


def test_items_shown_to_the_camera_are_taught(config: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tray = tmp_path / "tray"
    empty = plain((90, 90, 95), 1)
    save(tray / "00.png", empty)
    for number in range(3):
        shown = empty.copy()
        shown[20:80, 20 + 20 * number : 70 + 20 * number] = plain(ORANGE, number, 60, 50)
        save(tray / f"{number + 1:02}.png", shown)
    settings = str(config(tray))
    assert main(["teach", "can", "--frames", "3", "--config", settings, "--json"]) == 0
    said, err = capsys.readouterr()
    assert json.loads(said)["photos"] == {"can": 3}
    prompts = ["leave the tray empty", "1 of 3: lay an item on the tray", "2 of 3: turn it, or lay another", "3 of 3: turn it, or lay another"]
    assert [line for line in err.splitlines() if line in prompts] == prompts
    assert "3 of 3 photos isolated from the empty view" in err.splitlines()
    assert main(["teach", "can", "--frames", "4", "--config", settings]) == 2
    assert "the camera has shown all it has before enough frames were taken" in capsys.readouterr().err
    assert len(head_files(tmp_path / "state")) == 1


def test_teach_is_refused_while_the_bin_runs(config: Callable[..., Path], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state").mkdir()
    with (tmp_path / "state" / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["teach", "can", "--config", str(config(photos))]) == 2
    assert "in use; stop the bin first" in capsys.readouterr().err


def test_a_head_of_another_bundle_is_logged_and_ignored(
    photos: Path, config: Callable[..., Path], bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    settings = read_settings(config(photos))
    narrator = Narrator(io.StringIO(), threading.Event(), None)
    assert main(["teach", "--from", str(photos), "--config", str(config(photos))]) == 0

    def labels() -> tuple[str, ...]:
        with open_parts(settings, lambda rules: virtual_hardware(rules, (), narrator, seed=0, fps=10), narrator.on_stored) as parts:
            return parts.judge.labels

    assert labels() == (*bundle.info.labels, "can", "pot")
    write_bundle(bundle.folder, msgspec.structs.replace(bundle.info, version="2"))
    assert labels() == bundle.info.labels
    assert "what was taught does not count" in caplog.text and "teach it again" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_files_written_by_root_belong_to_the_service(config: Callable[..., Path], photos: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 12345, 12346)
    assert main(["teach", "--from", str(photos), "--config", str(config(tmp_path))]) == 0
    made = [state, *state.rglob("*")]
    assert len(made) == 4, "the lock, a folder, a file"
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(12345, 12346)}
