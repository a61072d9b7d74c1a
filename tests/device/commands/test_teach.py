"""`sortbin teach --out`: from photos to a file, and what classify makes of it."""

import json
import re
import shutil
import tracemalloc
from pathlib import Path

import cv2
import pytest

from device.cli import main
from device.vision.fewshot.head_format import read_fewshot_head
from device.vision.inference.bundle import Bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.images import read_pixels
from device.vision.judge import Judge
from tests.device.commands.conftest import ORANGE, TEAL, plain, save

pytestmark = pytest.mark.slow


def test_new_labels_from_photos_work_in_classify(
    bundle: Bundle, photos: Path, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "site.npz"
    options = ["--bundle", str(bundle.folder), "--rules", str(pack)]
    assert main(["teach", "--from", str(photos), "--out", str(out), "--json", *options]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["photos"] == {"can": 8, "pot": 8}
    assert 0.7 <= said["sure"] <= 1 == said["right"] == said["sure_right"]
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
    surely = re.search(r"get the right label; ([\d.]+)% are sure enough", said)
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


def test_one_photo_per_label_gives_no_estimate(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label, colour in (("can", ORANGE), ("pot", TEAL)):
        save(tmp_path / "photos" / label / "1.png", plain(colour, 1))
    options = ["teach", "--from", str(tmp_path / "photos"), "--out", str(tmp_path / "site.npz"), "--bundle", str(bundle.folder)]
    assert main(options) == 0
    said, advice, *_ = capsys.readouterr().out.splitlines()
    assert said.endswith("photos of can 1, pot 1; 8 labels are in use")
    assert advice == "can, pot: all photos look alike, so there is no estimate for other items; show others"
    assert main([*options, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["right"], summary["sure"], summary["sure_right"]) == (None, None, None)


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
