import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.cli import main
from device.commands.classify import labels
from device.policy.rules import default_rules
from device.simulation.items import shipped_items
from device.simulation.tray_renderer import Pose, TrayRenderer
from device.vision.inference.bundle import LABELS_FILE, Bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.fusion import fuse
from device.vision.inference.images import PictureError, find_pictures, read_pixels
from device.vision.inference.preprocess import Pixels

NOBODY = 65534


def saved(file: Path, pixels: Pixels, *options: int) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    done, encoded = cv2.imencode(file.suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    assert done
    encoded.tofile(file)
    return file


def sortbin(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "device.cli", "classify", *map(os.fspath, arguments)]
    root = Path(__file__).parents[3]
    return subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", timeout=60, env=os.environ | environment)


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Our own lines on stderr, without the runtime's."""
    return [line for line in done.stderr.splitlines() if line.startswith("sortbin classify: ")]


@pytest.fixture
def photos(tmp_path: Path, painted: Callable[..., Pixels]) -> Path:
    """A folder with three pictures, two of them in subfolders, and a text file."""
    saved(tmp_path / "photos" / "b" / "glass.png", painted("glass"))
    saved(tmp_path / "photos" / "a" / "可回收物_鼠标 ä.JPG", painted("metal"))
    saved(tmp_path / "photos" / "grey.bmp", painted(""))
    (tmp_path / "photos" / "notes.txt").write_text("no picture", encoding="utf-8")
    return tmp_path / "photos"


def test_a_folder_gives_ordered_json_lines(tiny_bundle: Bundle, photos: Path) -> None:
    done = sortbin("--bundle", tiny_bundle.folder, "--json", photos)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert [line["image"] for line in lines] == [str(photos / name) for name in ("a/可回收物_鼠标 ä.JPG", "b/glass.png", "grey.bmp")]
    assert [list(line) for line in lines] == [["image", "label", "p", "bin", "decision", "probabilities", "ms", "isolated", "unknown", "pieces"]] * 3
    assert [(line["label"], line["bin"], line["decision"]) for line in lines[:2]] == [
        ("metal", "metal", "confident"),
        ("glass", "glass", "confident"),
    ]
    assert (lines[2]["bin"], lines[2]["decision"]) == ("trash", "unsure")
    for line in lines:
        assert list(line["probabilities"]) == list(tiny_bundle.info.labels)
        assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert line["p"] == max(line["probabilities"].values()) == line["probabilities"][line["label"]]
        assert line["ms"] > 0


def test_a_held_hazard_has_no_bin(tiny_bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    rules = tmp_path / "pack.toml"
    text = default_rules().read_text(encoding="utf-8")
    rules.write_text(text.replace("[bins.paper]", 'hazards = ["glass"]\n[bins.paper]'), encoding="utf-8")
    line = json.loads(sortbin("--bundle", tiny_bundle.folder, "--rules", rules, "--json", photos / "b").stdout)
    assert (line["label"], line["bin"], line["decision"]) == ("glass", "", "hazard")
    assert "-> held     hazard" in sortbin("--bundle", tiny_bundle.folder, "--rules", rules, photos / "b").stdout


def test_labels_option_leaves_out_other_labels(tiny_bundle: Bundle, photos: Path) -> None:
    done = sortbin("--bundle", tiny_bundle.folder, "--labels", "glass, paper", "--json", photos / "a")
    line = json.loads(done.stdout)
    assert line["label"] in ("glass", "paper")
    assert [label for label, p in line["probabilities"].items() if p] == ["glass", "paper"]
    wrong = sortbin("--bundle", tiny_bundle.folder, "--labels", "glass,can", photos / "a")
    assert wrong.returncode == 2
    assert said(wrong) == ["sortbin classify: labels: can: no such label; expected some of cardboard, glass, metal, paper, plastic, trash"]


def test_labels_option_normalizes_unicode() -> None:
    assert labels(unicodedata.normalize("NFD", "bière, can")) == (unicodedata.normalize("NFC", "bière"), "can")


@pytest.mark.slow
def test_others_option_sets_the_share_of_other_labels(tiny_bundle: Bundle, photos: Path) -> None:
    def probabilities(*more: str) -> dict[str, float]:
        found: dict[str, float] = json.loads(sortbin("--bundle", tiny_bundle.folder, *more, "--json", photos / "a").stdout)["probabilities"]
        return found

    free, strict = probabilities(), probabilities("--labels", "glass,paper")
    few, many = (probabilities("--labels", "glass,paper", "--others", share) for share in ("0.02", "0.5"))
    for label in ("cardboard", "metal", "plastic", "trash"):
        assert 0 == strict[label] <= few[label] <= many[label] < max(2 * free[label], 1e-5)
    wrong = sortbin("--bundle", tiny_bundle.folder, "--labels", "glass", "--others", "2", photos / "a")
    assert wrong.returncode == 2 and "expected a number of at least 0 and below 1, found 2" in wrong.stderr


def test_with_a_background_items_are_isolated(tiny_bundle: Bundle, tmp_path: Path, painted: Callable[..., Pixels]) -> None:
    place = painted("metal", 240, 320) // 3 + np.random.default_rng(0).integers(0, 9, (240, 320, 3), dtype=np.uint8)
    item = place.copy()
    item[80:180, 120:240] = (255, 0, 0)
    saved(tmp_path / "empty" / "1.png", place)
    saved(tmp_path / "items" / "box.png", item)
    saved(tmp_path / "items" / "nothing.png", place)
    background = "--background", tmp_path / "empty" / "1.png"
    for arguments in (
        ("--background", tmp_path / "empty", tmp_path / "items"),
        (tmp_path / "items", *background),
        (*background, background[1], tmp_path / "items"),
    ):
        done = sortbin("--bundle", tiny_bundle.folder, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        box, nothing = (json.loads(line)["isolated"] for line in done.stdout.splitlines())
        assert list(box) == ["found", "why", "box", "area"]
        assert (box["found"], box["why"]) == (True, "")
        np.testing.assert_allclose(box["box"], (120, 80, 240, 180), atol=8)
        assert box["area"] == pytest.approx(100 * 120 / (240 * 320), rel=0.1)
        assert nothing == {"found": False, "why": "nothing differs", "box": [0, 0, 320, 240], "area": 1.0}
    alone = json.loads(sortbin("--bundle", tiny_bundle.folder, "--json", tmp_path / "items" / "box.png").stdout)
    assert alone["isolated"] is None


def test_the_table_says_whether_each_item_was_isolated(
    tiny_bundle: Bundle, tmp_path: Path, painted: Callable[..., Pixels], capsys: pytest.CaptureFixture[str]
) -> None:
    place = painted("metal", 240, 320) // 3 + np.random.default_rng(0).integers(0, 9, (240, 320, 3), dtype=np.uint8)
    item = place.copy()
    item[80:180, 120:240] = (255, 0, 0)
    empty = saved(tmp_path / "empty.png", place)
    shown = [saved(tmp_path / "item.png", item), saved(tmp_path / "nothing.png", place)]
    arguments = ["classify", "--bundle", str(tiny_bundle.folder), *map(str, shown)]
    assert main([*arguments, "--background", str(empty)]) == 0
    apart, whole = capsys.readouterr().out.splitlines()
    assert re.search(rf" ms  isolated +{shown[0]}$", apart) and re.search(rf" ms  whole: nothing differs +{shown[1]}$", whole)
    assert apart.index(str(shown[0])) == whole.index(str(shown[1]))
    assert main(arguments) == 0
    assert all(re.search(rf" ms  {tmp_path}", line) for line in capsys.readouterr().out.splitlines())


def test_a_second_background_with_an_item_gives_a_warning(
    tiny_bundle: Bundle, tmp_path: Path, painted: Callable[..., Pixels], capsys: pytest.CaptureFixture[str]
) -> None:
    place = painted("metal", 240, 320) // 3 + np.random.default_rng(0).integers(0, 9, (240, 320, 3), dtype=np.uint8)
    item = place.copy()
    item[80:180, 120:240] = (255, 0, 0)
    empty, later, laid = (str(saved(tmp_path / name, view)) for name, view in (("e.png", place), ("f.png", place // 8 * 7), ("laid.png", item)))
    options = ["--bundle", str(tiny_bundle.folder), "--json"]
    assert main(["classify", laid, "--background", empty, laid, *options]) == 0
    out, err = capsys.readouterr()
    assert (len(out.splitlines()), len(err.splitlines())) == (1, 1)
    assert f"{laid}: used as an empty view, but it shows something that {empty} does not" in err
    for backgrounds in (["--background", empty, later], ["--background", empty, "--background", laid]):
        assert main(["classify", laid, *backgrounds, *options]) == 0
        out, err = capsys.readouterr()
        assert (len(out.splitlines()), err) == (1, "")


def test_without_a_background_the_middle_is_judged_too(tiny_bundle: Bundle, tmp_path: Path, painted: Callable[..., Pixels]) -> None:
    frame = painted("metal")
    frame[140:340, 220:420] = painted("glass", 200, 200)
    saved(tmp_path / "frame.png", frame)
    classifier = Classifier(tiny_bundle)
    square, near = frame[:, 80:560][:, ::-1], frame[72:408, 152:488]
    expected = fuse([classifier.posterior(picture) for picture in (frame, square, near)], weights=(3, 1, 1))
    found = json.loads(sortbin("--bundle", tiny_bundle.folder, "--json", tmp_path / "frame.png").stdout)["probabilities"]
    np.testing.assert_allclose([found[label] for label in classifier.labels], expected, atol=1e-5)
    whole = dict(zip(classifier.labels, classifier.posterior(frame), strict=True))
    assert found["glass"] / found["metal"] > 2 * whole["glass"] / whole["metal"]


@pytest.mark.slow
def test_an_isolated_item_and_its_mirror_image_get_the_same_judgement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a single crop of each they would differ by up to 0.23, because the network is not symmetric."""
    tray = TrayRenderer(np.random.default_rng(3))
    empty = tray.picture(None, 0.0, 1.0)
    things = shipped_items()[::12]
    seen = {}
    for side, turned in (("left", slice(None)), ("right", slice(None, None, -1))):
        view = saved(tmp_path / side / "empty.png", np.ascontiguousarray(empty[:, turned]))
        for thing in things:
            tray.lay(thing)
            frame = tray.picture(Pose(0.45, 0.5, 20.0), 0.0, 1.0)
            saved(tmp_path / side / "items" / f"{thing.file.stem}.png", np.ascontiguousarray(frame[:, turned]))
        assert main(["classify", str(tmp_path / side / "items"), "--background", str(view), "--json"]) == 0
        seen[side] = [list(json.loads(line)["probabilities"].values()) for line in capsys.readouterr().out.splitlines()]
    assert len(seen["left"]) == len(things)
    np.testing.assert_allclose(seen["left"], seen["right"], atol=0.08)


def test_a_broken_picture_is_reported_and_the_others_are_judged(tiny_bundle: Bundle, photos: Path) -> None:
    (photos / "b" / "empty.jpg").write_bytes(b"")
    (photos / "b" / "text.png").write_bytes(b"no picture")
    done = sortbin("--bundle", tiny_bundle.folder, "--json", photos)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [line.get("label", line.get("error")) for line in lines[:4]] == [
        "metal",
        f"{photos}/b/empty.jpg: not a picture that can be decoded",
        "glass",
        f"{photos}/b/text.png: not a picture that can be decoded",
    ]
    assert list(lines[1]) == ["image", "error"]
    passed_over, *broken = said(done)
    assert "(.txt 1)" in passed_over and passed_over.endswith("passed over")
    assert broken == [f"sortbin classify: {lines[1]['error']}", f"sortbin classify: {lines[3]['error']}"]


def test_the_table_is_aligned(tiny_bundle: Bundle, photos: Path, painted: Callable[..., Pixels]) -> None:
    saved(photos / "b" / "trash.png", painted("trash"))
    (photos / "x.png").write_bytes(b"")
    done = sortbin("--bundle", tiny_bundle.folder, "--rules", "recyclable", photos / "b", photos / "x.png")
    assert done.returncode == 1
    glass, trash, broken = done.stdout.splitlines()
    assert glass.split()[:5] == ["glass", "99.3%", "->", "recyclable", "confident"]
    assert trash.split()[:5] == ["trash", "99.3%", "->", "other", "confident"]
    assert broken.split() == ["cannot", "be", "read", str(photos / "x.png")]
    assert glass.index(str(photos)) == trash.index(str(photos)) == broken.index(str(photos))


def test_a_file_name_that_is_no_unicode_is_printed(tiny_bundle: Bundle, tmp_path: Path, painted: Callable[..., Pixels]) -> None:
    picture = saved(tmp_path / "glass.png", painted("glass"))
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    picture.rename(odd)
    for options in ([], ["--json"]):
        done = sortbin("--bundle", tiny_bundle.folder, *options, odd)
        assert done.returncode == 0, done.stderr
        assert "caf\ufffd.png" in done.stdout and "glass" in done.stdout


def test_bad_input_gives_one_line_and_status_2(
    tiny_bundle: Bundle, tiny_copy: Bundle, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "rules.toml").write_text("residual = 3", encoding="utf-8")
    (photos / "notes.txt").unlink()
    (tiny_copy.folder / LABELS_FILE).write_bytes(b"changed")
    bundle = ("--bundle", tiny_bundle.folder)
    for arguments, message in (
        ((*bundle, tmp_path / "empty"), "expected pictures in this folder"),
        (bundle, "expected a picture, or a folder of pictures, to judge"),
        ((*bundle, "--background", photos), "expected a picture, or a folder of pictures, to judge"),
        (
            (*bundle, "--background", photos / "a", photos / "b", photos / "c"),
            "which of these 3 pictures are to be judged? Write those before --background",
        ),
        ((*bundle, photos, "--background", tmp_path / "gone.jpg"), "gone.jpg: expected a picture or a folder"),
        ((*bundle, photos, tmp_path / "nowhere.jpg"), "nowhere.jpg: expected a picture or a folder"),
        ((*bundle, "--rules", tmp_path / "rules.toml", photos), "rules.toml: "),
        ((*bundle, "--rules", "four-bins", photos), "four-bins.toml: bins: no bin for the label cardboard"),
        (("--bundle", tiny_copy.folder, photos), "labels.txt: sha256 is"),
        (("--bundle", tmp_path / "none", photos), "bundle.json: No such file"),
    ):
        assert main(["classify", *map(os.fspath, arguments)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("sortbin classify: ") and err.count("\n") == 1 and message in err


def test_a_closed_pipe_is_no_error(tiny_bundle: Bundle, photos: Path) -> None:
    command = f"'{sys.executable}' -m device.cli classify --bundle '{tiny_bundle.folder}' '{photos}' '{photos}' | head -n 1"
    done = subprocess.run(command, shell=True, cwd=Path(__file__).parents[3], capture_output=True, encoding="utf-8", timeout=60)
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_pictures_are_turned_upright_by_exif(tmp_path: Path, painted: Callable[..., Pixels]) -> None:
    upright = np.concatenate([painted("cardboard", 32, 64), painted("metal", 32, 64)])
    file = saved(tmp_path / "turned.jpg", upright)
    # An APP1 segment whose one entry is orientation 6: turn by 90 degrees clockwise.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    whole = file.read_bytes()
    file.write_bytes(whole[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + whole[2:])
    pixels = read_pixels(file)
    assert pixels.shape == (64, 64, 3)
    assert pixels[32, 60].argmax() == 0 and pixels[32, 4].argmax() == 2


def test_pixels_are_rgb_for_every_file_kind(tmp_path: Path) -> None:
    red = np.full((9, 7, 3), (255, 0, 0), np.uint8)
    np.testing.assert_array_equal(read_pixels(saved(tmp_path / "red.png", red)), red)
    for name, stored in (
        ("grey", np.full((9, 7), 200, np.uint8)),
        ("alpha", np.dstack([np.full((9, 7, 3), 200, np.uint8), np.full((9, 7), 255, np.uint8)])),
        ("deep", np.full((9, 7, 3), 200 * 257, np.uint16)),
    ):
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), stored)
        np.testing.assert_array_equal(read_pixels(tmp_path / f"{name}.png"), np.full((9, 7, 3), 200, np.uint8))


def test_files_that_are_no_pictures_are_named(tmp_path: Path) -> None:
    giant = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (2**30).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0" + bytes(40)
    (tmp_path / "giant.png").write_bytes(giant)
    for path, message in ((tmp_path / "giant.png", "not a picture"), (tmp_path / "gone.png", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(PictureError, match=rf"^{path}: .*{message}"):
            read_pixels(path)


@contextlib.contextmanager
def closed(folder: Path) -> Iterator[None]:
    """Take away the permission to enter the folder for a while; root becomes another user meanwhile."""
    mine = os.geteuid()
    folder.chmod(0)
    try:
        os.seteuid(mine or NOBODY)
        yield
    finally:
        os.seteuid(mine)
        folder.chmod(0o755)


def test_a_folder_without_permission_is_named(painted: Callable[..., Pixels]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        saved(folder / "a.png", painted("glass", 4, 4))
        inner = saved(folder / "b" / "c.png", painted("glass", 4, 4)).parent
        with closed(inner):
            for path, at in ((folder, inner), (inner, inner), (inner / "c.png", inner / "c.png")):
                with pytest.raises(PictureError, match=rf"^{at}: Permission denied; expected a picture or a folder of pictures"):
                    list(find_pictures(path))
        assert len(list(find_pictures(folder))) == 2


def test_hidden_files_are_skipped_unless_named(tmp_path: Path, painted: Callable[..., Pixels]) -> None:
    for name in ("b.png", "a/c.PNG", "._b.png", ".thumbnails/b.png", "B.jpeg"):
        saved(tmp_path / name, painted("glass", 4, 4)) if name != "B.jpeg" else (tmp_path / name).write_bytes(b"")
    assert [file.relative_to(tmp_path).as_posix() for file in find_pictures(tmp_path)] == ["B.jpeg", "a/c.PNG", "b.png"]
    assert list(find_pictures(tmp_path / "._b.png")) == [tmp_path / "._b.png"]
