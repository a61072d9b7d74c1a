"""`sortbin teach`: from photos to a file, from the camera to the state folder, listing and undoing."""

import fcntl
import io
import json
import os
import re
import resource
import shutil
import threading
import tracemalloc
import unicodedata
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from converter.bundle.embedding_stats import fit_embedding_stats
from converter.bundle.novelty import fit_novelty_model
from device.adaptation.head_store import head_files
from device.cli import main
from device.daemon.startup import open_parts
from device.ledger.lock import LOCK
from device.settings import read_settings
from device.simulation.hardware import virtual_hardware
from device.simulation.narrator import Narrator
from device.vision.fewshot.fewshot_head import TeachingError
from device.vision.fewshot.head_file import read_fewshot_head
from device.vision.inference.bundle import Bundle, write_bundle
from device.vision.inference.classifier import Classifier, softmax
from device.vision.inference.embedding_stats import FILE as REFERENCE_FILE
from device.vision.inference.images import read_pixels
from device.vision.inference.novelty import FILE as KNOWN_FILE
from device.vision.inference.preprocess import Pixels
from device.vision.judge import Judge

pytestmark = pytest.mark.slow

ORANGE, TEAL = (255, 110, 0), (0, 120, 130)
PACK = """
name = "mine"
version = "1"
residual = "rest"
taught = ["can", "pot"]
[bins.rest]
labels = ["trash", "plastic", "paper", "metal", "glass", "cardboard"]
[bins.cans]
labels = ["can", "pot"]
"""


def plain(colour: tuple[int, int, int], seed: int, height: int = 96, width: int = 128) -> Pixels:
    """One colour, not quite even."""
    rng = np.random.default_rng(seed)
    tint = np.array(colour) * rng.uniform(0.8, 1) + rng.uniform(0, 25, 3)
    return np.clip(tint + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


def save(file: Path, pixels: Pixels) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return file


@pytest.fixture
def bundle(tiny_copy: Bundle) -> Bundle:
    """The tiny bundle with what it knows of its six colours."""
    from tests.device.conftest import COLOURS

    classifier = Classifier(tiny_copy)
    targets = np.repeat(np.arange(6), 12)
    outputs = [classifier.outputs(plain(list(COLOURS.values())[label], seed)) for seed, label in enumerate(targets)]
    embeddings = np.stack([each.embedding for each in outputs])
    probabilities = softmax(np.stack([each.logits for each in outputs]), tiny_copy.info.temperature)
    fit_embedding_stats(embeddings[::2], targets[::2], 6).write(tiny_copy.folder / REFERENCE_FILE)
    fit_novelty_model(embeddings[::2], targets[::2], embeddings[1::2], probabilities[1::2]).write(tiny_copy.folder / KNOWN_FILE)
    return write_bundle(tiny_copy.folder, tiny_copy.info)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight photos each of two things that the bundle does not know."""
    for seed in range(8):
        save(tmp_path / "photos" / "can" / f"{seed}.png", plain(ORANGE, seed))
        save(tmp_path / "photos" / "pot" / f"{seed}.png", plain(TEAL, 50 + seed))
    return tmp_path / "photos"


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(PACK, encoding="utf-8")
    return file


@pytest.fixture
def config(tmp_path: Path, bundle: Bundle, pack: Path) -> Callable[..., Path]:
    """`config(camera)`: the settings of a bin whose camera replays that folder."""

    def write(camera: Path) -> Path:
        file = tmp_path / "sortbin.toml"
        file.write_text(
            f'''
            gate = []
            [device]
            id = "bin"
            state = "{tmp_path / "state"}"
            [model]
            bundle = "{bundle.folder}"
            rules = "{pack}"
            [camera]
            kind = "replay"
            path = "{camera}"
            fps = 60
            hold_s = 0.6
            loop = false
            [presence]
            learn_frames = 4
            still_s = 0.05
            ''',
            encoding="utf-8",
        )
        return file

    return write


def test_an_unusable_state_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TeachingError, match=r"File name too long; expected device\.state, a folder"):
        head_files(tmp_path / ("x" * 300))


def test_new_labels_from_photos_work_in_classify(
    bundle: Bundle, photos: Path, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "site.npz"
    options = ["--bundle", str(bundle.folder), "--rules", str(pack)]
    assert main(["teach", "--from", str(photos), "--out", str(out), "--json", *options]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["photos"] == {"can": 8, "pot": 8}
    assert 0.9 <= said["sure"] <= 1 == said["right"]
    assert said["labels"] == [*bundle.info.labels, "can", "pot"]
    assert not read_fewshot_head(out, bundle).examples.isolated.any()
    later = save(tmp_path / "later.png", plain(ORANGE, 99))
    glass = save(tmp_path / "glass.png", plain((0, 255, 0), 98))
    assert main(["classify", str(later), str(glass), "--teaching", str(out), "--json", *options]) == 0
    can, old = map(json.loads, capsys.readouterr().out.splitlines())
    assert (can["label"], old["label"]) == ("can", "glass")
    assert 0 <= can["unknown"] <= 1
    assert main(["classify", str(later), "--json", *options[:2]]) == 0
    assert json.loads(capsys.readouterr().out)["label"] != "can"


def test_taught_label_holds_at_the_site_and_the_old_one_elsewhere(
    bundle: Bundle, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cans of this tray are blue, which is metal elsewhere."""
    tray = plain((90, 90, 95), 1)
    empty = save(tmp_path / "empty.png", tray)

    def laid(file: str, colour: tuple[int, int, int], seed: int) -> Path:
        shown = tray.copy()
        shown[20:80, 30:90] = plain(colour, seed, 60, 60)
        return save(tmp_path / file, shown)

    for seed in range(6):
        laid(f"photos/can/{seed}.png", (0, 0, 255), seed)
        laid(f"photos/pot/{seed}.png", (255, 0, 255), 20 + seed)
    options = ["--bundle", str(bundle.folder), "--rules", str(pack)]
    assert main(["teach", "--from", str(tmp_path / "photos"), "--background", str(empty), "--out", str(tmp_path / "site.npz"), *options]) == 0
    teaching = read_fewshot_head(tmp_path / "site.npz", bundle)
    assert teaching.examples.isolated.all()
    judge, blue = Judge(Classifier(bundle), teaching), plain((0, 0, 255), 52)
    at_the_place, anywhere = (judge.predict(blue, in_domain=here).probabilities[judge.labels.index("can")] for here in (True, False))
    assert at_the_place > 1.5 * anywhere
    assert "pot: the bundle takes it for plastic" in capsys.readouterr().out
    later, elsewhere = laid("later.png", (0, 0, 255), 50), save(tmp_path / "elsewhere.png", plain((0, 0, 255), 51))
    taught = ["--teaching", str(tmp_path / "site.npz"), "--json", *options]
    assert main(["classify", str(later), "--background", str(empty), *taught]) == 0
    assert main(["classify", str(elsewhere), *taught]) == 0
    here, there = map(json.loads, capsys.readouterr().out.splitlines())
    assert (here["isolated"]["found"], here["label"]) == (True, "can")
    assert there["label"] == "metal"


def test_few_sure_photos_bring_advice(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(12):
        save(tmp_path / "photos" / ("can", "pot")[seed % 2] / f"{seed}.png", plain(ORANGE, seed))
    assert main(["teach", "--from", str(tmp_path / "photos"), "--out", str(tmp_path / "site.npz"), "--bundle", str(bundle.folder)]) == 0
    said, advice, *_ = capsys.readouterr().out.splitlines()
    surely = re.search(r"get the right label, ([\d.]+)% reach their bin$", said)
    assert surely is not None and float(surely[1]) < 50
    assert advice.startswith("the others go to the residual bin. What helps: more photos")


def test_without_a_pack_each_label_has_its_own_bin(bundle: Bundle, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, empty = tmp_path / "site.npz", [str(save(tmp_path / f"empty{seed}.png", plain((90, 90, 95), seed))) for seed in (1, 2, 3)]
    options = ["--bundle", str(bundle.folder)]
    assert main(["teach", "--from", str(photos), "--background", *empty, "--out", str(out), *options]) == 0
    capsys.readouterr()
    later = save(tmp_path / "later.png", plain(ORANGE, 99))
    assert main(["classify", str(later), "--background", *empty, "--teaching", str(out), "--json", *options]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["label"] == "can"
    assert (said["bin"], said["decision"]) in {("can", "confident"), ("trash", "unsure")}


def test_with_only_just_the_taught_labels_need_a_bin(bundle: Bundle, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = tmp_path / "small.toml"
    pack.write_text('name = "s"\nversion = "1"\nresidual = "rest"\n[bins.rest]\nlabels = ["pot"]\n[bins.cans]\nlabels = ["can"]\n', encoding="utf-8")
    options = ["--from", str(photos), "--out", str(tmp_path / "site.npz"), "--bundle", str(bundle.folder), "--rules", str(pack)]
    assert main(["teach", *options]) == 2
    assert "no bin for the label cardboard" in capsys.readouterr().err
    assert main(["teach", *options, "--only"]) == 0
    assert "these labels alone are in use" in capsys.readouterr().out


def test_copies_are_set_aside_and_near_duplicates_count_once(
    bundle: Bundle, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each can was copied, and each pot is there at another size too."""
    for file in list((photos / "can").iterdir()):
        shutil.copy(file, file.with_stem(f"{file.stem} (1)"))
    for file in list((photos / "pot").iterdir()):
        save(file.with_stem(f"{file.stem}-large"), cv2.resize(read_pixels(file), (256, 192), interpolation=cv2.INTER_NEAREST))
    out, options = tmp_path / "site.npz", ["--bundle", str(bundle.folder)]
    assert main(["teach", "--from", str(photos), "--out", str(out), "--json", *options]) == 0
    said, err = capsys.readouterr()
    summary = json.loads(said)
    assert f"{summary['copies']} of the photos are copies of others and were set aside" in err.splitlines()
    assert summary["copies"] >= summary["photos"]["can"] == 8 < summary["photos"]["pot"] == 24 - summary["copies"]
    assert summary["distinct"]["pot"] <= 8
    later = [str(save(tmp_path / "later" / f"{seed}.png", plain(colour, 90 + seed))) for seed, colour in enumerate([ORANGE, TEAL] * 4)]
    assert main(["classify", *later, "--teaching", str(out), "--json", *options]) == 0
    judged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["label"] for each in judged] == ["can", "pot"] * 4
    assert sum(each["decision"] == "unknown" for each in judged) <= 1


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


def test_one_photo_per_label_gives_no_estimate(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label, colour in (("can", ORANGE), ("pot", TEAL)):
        save(tmp_path / "photos" / label / "1.png", plain(colour, 1))
    options = ["teach", "--from", str(tmp_path / "photos"), "--out", str(tmp_path / "site.npz"), "--bundle", str(bundle.folder)]
    assert main(options) == 0
    said, advice, *_ = capsys.readouterr().out.splitlines()
    assert said.endswith("photos of can 1, pot 1; 8 labels are in use")
    assert advice == "can, pot: all photos show the same, so there is no estimate for other items; show others"
    assert main([*options, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["right"], summary["sure"]) == (None, None)


def test_isolation_is_counted_with_reasons_for_failures(bundle: Bundle, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tray = plain((90, 90, 95), 1)
    empty = save(tmp_path / "empty.png", tray)
    for seed in range(3):
        shown = tray.copy()
        shown[20:80, 30:90] = plain(TEAL, seed, 60, 60)
        save(photos / "pot" / f"laid{seed}.png", shown)
    save(photos / "pot" / "nothing.png", tray)
    options = ["--from", str(photos), "--out", str(tmp_path / "site.npz"), "--bundle", str(bundle.folder), "--json"]
    assert main(["teach", *options, "--background", str(empty)]) == 0
    said, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if "isolated from" in line]
    assert len(lines) == 1
    why = re.fullmatch("3 of 20 photos isolated from the empty view; the others are taught as whole views: (.+)", lines[0])
    assert why is not None
    reasons = dict(reversed(reason.split(" ", 1)) for reason in why[1].split(", "))
    assert set(reasons) <= {"nothing differs", "fills the view", "another view"} and "nothing differs" in reasons
    assert sum(map(int, reasons.values())) == 17
    assert json.loads(said)["isolated"] == {"can": 0, "pot": 3}
    assert main(["teach", *options]) == 0
    assert "isolated from" not in capsys.readouterr().err


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


def test_large_photos_are_not_all_in_memory_at_once(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A hundred photos of a telephone, with their views, would not fit into a bin's memory."""
    for seed in range(12):
        save(tmp_path / "photos" / ("can", "pot")[seed % 2] / f"{seed}.png", plain(ORANGE, seed, 900, 1200))
    all_views = 12 * 3 * (900 * 1200 + 900 * 900 + 630 * 630)
    tracemalloc.start()
    try:
        assert main(["teach", "--from", str(tmp_path / "photos"), "--out", str(tmp_path / "site.npz"), "--bundle", str(bundle.folder)]) == 0
        assert tracemalloc.get_traced_memory()[1] < all_views / 2
    finally:
        tracemalloc.stop()


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
