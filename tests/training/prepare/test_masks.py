"""`--isolate`: where masks come from, where they lie, and who finds them."""

import json
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.data.isolated_view import isolated_view
from converter.data.manifest import read_info
from converter.data.photos import PhotosError, read_fold, read_mask, read_part, read_photos, read_pixels, read_split
from device.vision.inference.ground import PLAIN
from tests.training.prepare.pictures import drawn, encoded, fill, rows
from training.cli import main
from training.prepare.masks import find_non_items
from training.prepare.options import PrepareError

COLOURS = {"box": (200, 40, 30), "lid": (30, 60, 190)}
WIDTH, HEIGHT = 160, 120


def card(rng: np.random.Generator) -> np.ndarray:
    return np.clip(rng.normal(222, 1.5, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)


def tray() -> np.ndarray:
    """A dark tray with ribs, the same every time."""
    ground = np.full((HEIGHT, WIDTH, 3), (62, 58, 50), np.float32)
    ground[:, ::16] = ground[:, 1::16] = (95, 92, 88)
    return ground * np.linspace(0.8, 1.1, HEIGHT, dtype=np.float32)[:, np.newaxis, np.newaxis]


def in_tray(rng: np.random.Generator) -> np.ndarray:
    return np.clip(tray() + rng.normal(0, 2, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)


def box(rng: np.random.Generator) -> tuple[tuple[int, int], tuple[int, int]]:
    x, y = int(rng.integers(30, 70)), int(rng.integers(20, 50))
    return (x, y), (x + 50, y + 40)


def items(folder: Path, ground, per_label: int = 6) -> dict[str, np.ndarray]:
    """A folder for each of two labels with a coloured box in each picture; and the true masks by path."""
    rng = np.random.default_rng(11)
    truth = {}
    for label, colour in COLOURS.items():
        (folder / label).mkdir(parents=True)
        for number in range(per_label):
            pixels, mask, (low, high) = ground(rng), np.zeros((HEIGHT, WIDTH), np.uint8), box(rng)
            cv2.rectangle(pixels, low, high, colour, -1)
            cv2.rectangle(mask, low, high, 255, -1)
            path = f"{label}/{number}.png"
            write(folder / path, pixels)
            truth[path] = mask
    return truth


def write(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(((one > 127) & (other > 127)).sum() / ((one > 127) | (other > 127)).sum())


def masks_of(out: Path) -> dict[str, int]:
    found = read_info(out).masks
    assert isinstance(found, dict)
    return {origin: count for origin, count in found.items() if count}


def test_items_on_light_card_get_masks_and_the_source_stays_unchanged(prepare, tmp_path: Path, out: Path, capsys) -> None:
    truth = items(tmp_path / "photos", card)
    before = sorted(tmp_path.rglob("*"))
    assert prepare(tmp_path / "photos", "--out", out, "--isolate", "--folds", "2") == 0
    assert [file for file in sorted(tmp_path.rglob("*")) if not file.is_relative_to(out)] == before
    assert masks_of(out) == {"light card": 12}
    photos = read_photos(out)
    assert len(photos) == 12
    for photo in photos:
        assert photo.mask == out / "masks" / f"{photo.name}.png"
        assert overlap(read_mask(photo.mask), truth[photo.name]) > 0.9
        shown = isolated_view(photo, PLAIN)
        assert tuple(shown[0, 0]) == PLAIN.colour and tuple(shown[shown.shape[0] // 2, shown.shape[0] // 2]) == COLOURS[photo.label]
    for part in (read_split(out).train, read_fold(out, 0).val, read_part(out, "val")):
        assert all(photo.mask for photo in part)
    assert "masks: source 0, empty view 0, light card 12, none 0; " in capsys.readouterr().out


def test_the_report_shows_outlines_of_each_label_and_what_has_none(prepare, tmp_path: Path, out: Path, capsys) -> None:
    items(tmp_path / "photos", card)
    for number in range(3):
        write(tmp_path / "photos" / "box" / f"odd{number}.png", drawn(number, WIDTH, HEIGHT))
    assert prepare(tmp_path / "photos", "--out", out, "--isolate", "--near", "0") == 0
    assert masks_of(out) == {"light card": 12, "none": 3}
    said = capsys.readouterr().out
    assert "3 of 15 pictures have no mask, as box/odd0.png: the item cannot be told from its ground" in said
    figures = json.loads((out / "report" / "report.json").read_text())
    assert figures["masks"]["none"] == 3 and figures["without_mask"] == [f"box/odd{number}.png" for number in range(3)]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "box: 6 of 6 with a mask" in page and "no mask, of 3 such pictures: box/odd0.png, box/odd1.png, box/odd2.png" in page
    strip = read_pixels(out / "report" / "masks-00.png").astype(int)
    outline = (np.abs(strip - (255, 0, 200)) < 10).all(axis=2)
    assert outline[:, :160].any() and outline[:, -160:].any(), "every picture of the strip has its outline"
    assert not (np.abs(read_pixels(out / "report" / "unmasked-00.png").astype(int) - (255, 0, 200)) < 3).all(axis=2).any()


@pytest.mark.parametrize("way", ["option", "folder"])
def test_items_in_a_known_place_are_told_from_its_empty_views(prepare, tmp_path: Path, out: Path, way: str) -> None:
    truth = items(tmp_path / "photos", in_tray, per_label=4)
    empty = tmp_path / ("views" if way == "option" else "photos/empty")
    for number in range(2):
        write(empty / f"{number}.png", in_tray(np.random.default_rng(number)))
    options = [part for file in sorted(empty.iterdir()) for part in ("--background", file)] if way == "option" else []
    assert prepare(tmp_path / "photos", "--out", out, "--isolate", "--near", "0", *options) == 0
    assert masks_of(out) == {"empty view": 8}
    assert read_info(out).labels == ("box", "lid")
    assert np.mean([overlap(read_mask(photo.mask), truth[photo.name]) for photo in read_photos(out) if photo.mask]) > 0.8


def test_without_an_empty_view_a_dark_tray_gives_no_mask(prepare, tmp_path: Path, out: Path) -> None:
    items(tmp_path / "photos", in_tray, per_label=4)
    assert prepare(tmp_path / "photos", "--out", out, "--isolate", "--near", "0") == 0
    assert masks_of(out) == {"none": 8}
    assert all(photo.mask is None for photo in read_photos(out))


def test_plausible_masks_of_the_source_are_used(prepare, tmp_path: Path, out: Path, capsys) -> None:
    source = tmp_path / "photos"
    truth = items(source, in_tray, per_label=4)
    for path, mask in truth.items():
        write(source / "masks" / path, mask)
    write(source / "masks/box/0.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    write(source / "masks/box/1.png", cv2.resize(truth["box/1.png"], (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_NEAREST))
    (source / "masks/box/2.png").write_bytes(b"no picture")
    write(source / "masks/box/nobody.png", truth["box/0.png"])
    assert prepare(source, "--out", out, "--isolate", "--near", "0") == 0
    assert masks_of(out) == {"source": 6, "none": 2}
    by_name = {photo.name: photo for photo in read_photos(out)}
    assert [name for name, photo in by_name.items() if photo.mask is None] == ["box/0.png", "box/2.png"]
    for name in ("box/1.png", "lid/3.png"):
        np.testing.assert_array_equal(read_mask(by_name[name].mask), truth[name])
    assert "masks/box/nobody.png: mask of no picture; passed over" in capsys.readouterr().out


def test_without_isolate_masks_are_no_label_and_are_remarked_on(prepare, tmp_path: Path, out: Path, capsys) -> None:
    for path, mask in items(tmp_path / "photos", in_tray, per_label=4).items():
        write(tmp_path / "photos/masks" / path, mask)
    assert prepare(tmp_path / "photos", "--out", out, "--near", "0") == 0
    info = read_info(out)
    assert info.labels == ("box", "lid") and info.pictures == 8 and info.format == 1
    assert "mask" not in next(iter(rows(out).values()))
    assert "8 masks in the source, as masks/box/0.png; --isolate takes them over" in capsys.readouterr().out


def test_an_archive_brings_its_masks_and_empty_views_along(prepare, tmp_path: Path, out: Path) -> None:
    source = tmp_path / "photos"
    truth = items(source, in_tray, per_label=4)
    write(source / "masks/box/0.png", truth["box/0.png"])
    write(source / "empty/0.png", in_tray(np.random.default_rng(0)))
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for file in sorted(source.rglob("*.png")):
            archive.write(file, file.relative_to(tmp_path))
    shutil.rmtree(source)
    assert prepare(tmp_path / "photos.zip", "--out", out, "--isolate", "--near", "0") == 0
    assert masks_of(out) == {"source": 1, "empty view": 7}
    moved = out.rename(tmp_path / "moved")
    assert all(photo.mask and photo.mask.is_relative_to(moved) and photo.mask.is_file() for photo in read_photos(moved))


def test_the_same_command_makes_only_what_is_missing(prepare, tmp_path: Path, out: Path, capsys) -> None:
    items(tmp_path / "photos", card)
    command = (tmp_path / "photos", "--out", out, "--isolate", "--json")
    assert prepare(*command) == 0
    whole = {file: file.read_bytes() for file in sorted((out / "masks").rglob("*")) if file.is_file()}
    manifest = (out / "manifest.csv").read_bytes()
    gone, *others = whole
    gone.unlink()
    times = {file: file.stat().st_mtime_ns for file in others}
    capsys.readouterr()
    assert prepare(*command) == 0
    assert json.loads(capsys.readouterr().out)["masks_per_s"] > 0
    assert {file: file.read_bytes() for file in whole} == whole and (out / "manifest.csv").read_bytes() == manifest
    assert {file: file.stat().st_mtime_ns for file in others} == times
    assert prepare(*command) == 0
    assert json.loads(capsys.readouterr().out)["masks_per_s"] == 0


def test_a_new_empty_view_makes_masks_anew(prepare, tmp_path: Path, out: Path) -> None:
    items(tmp_path / "photos", in_tray, per_label=4)
    command = (tmp_path / "photos", "--out", out, "--isolate", "--near", "0")
    assert prepare(*command) == 0
    write(tmp_path / "photos/empty/0.png", in_tray(np.random.default_rng(0)))
    assert prepare(*command) == 0
    assert masks_of(out) == {"empty view": 8}


def test_a_data_set_prepared_without_masks_is_no_other_one_now(prepare, source: Path, out: Path) -> None:
    assert prepare(source, "--out", out) == 0
    before = (out / "manifest.csv").read_bytes()
    assert prepare(source, "--out", out) == 0
    assert (out / "manifest.csv").read_bytes() == before
    assert "isolate" not in read_info(out).options
    with pytest.raises(PrepareError, match="was prepared with other options"):
        prepare(source, "--out", out, "--isolate")


def test_pictures_that_differ_only_in_suffix_have_separate_masks(prepare, tmp_path: Path, out: Path) -> None:
    items(tmp_path / "photos", card, per_label=4)
    pixels = card(np.random.default_rng(5))
    cv2.circle(pixels, (40, 80), 25, (10, 120, 30), -1)
    (tmp_path / "photos/box/0.bmp").write_bytes(encoded(pixels, ".bmp"))
    assert prepare(tmp_path / "photos", "--out", out, "--isolate") == 0
    one, other = (read_mask(photo.mask) for photo in read_photos(out) if photo.path.stem == "0" and photo.label == "box" and photo.mask)
    assert overlap(one, other) < 0.5


def test_labels_may_be_called_masks_and_empty(prepare, tmp_path: Path, out: Path) -> None:
    fill(tmp_path / "photos", labels=("empty", "masks", "tin"))
    assert prepare(tmp_path / "photos", "--out", out) == 0
    assert read_info(out).labels == ("empty", "masks", "tin")


def test_empty_cans_below_a_label_are_items() -> None:
    found = find_non_items(["can/empty/1.jpg", "can/full/1.jpg", "jar/2.jpg", "empty/0.jpg"], unwrap=False, empty=True)
    assert found.empty == ("empty/0.jpg",)


def test_masks_and_empty_views_of_split_folders_are_found() -> None:
    paths = ["train/can/1.jpg", "val/can/2.jpg", "val/masks/can/2.png", "masks/train/can/1.png", "train/empty/a.jpg", "empty/b.jpg"]
    found = find_non_items(paths, unwrap=False, empty=True)
    assert found.masks == {"val/can/2.jpg": "val/masks/can/2.png", "train/can/1.jpg": "masks/train/can/1.png"}
    assert set(found.empty) == {"train/empty/a.jpg", "empty/b.jpg"}


NAMES = st.sampled_from(["masks", "empty", "can", "jar", "train", "val"])
PATHS = st.builds(
    lambda folders, stem, suffix: "/".join([*folders, stem + suffix]), st.lists(NAMES, max_size=3), NAMES, st.sampled_from([".png", ".jpg"])
)


@given(st.sets(PATHS, max_size=12), st.booleans(), st.booleans())
def test_only_masks_of_pictures_and_empty_views_are_set_aside(paths: set[str], unwrap: bool, empty: bool) -> None:
    found = find_non_items(sorted(paths), unwrap=unwrap, empty=empty)
    assert set(found.paths) <= paths
    assert not set(found.masks) & set(found.masks.values())
    assert all("/masks/" in f"/{path}" for path in (*found.masks.values(), *found.strays))
    assert all(path.split("/")[-2] == "empty" for path in found.empty) and (empty or not found.empty)


def test_an_empty_view_without_isolating_is_one_line(tmp_path: Path, source: Path, out: Path, capsys) -> None:
    assert main(["prepare", str(source), "--out", str(out), "--background", str(tmp_path / "empty.jpg")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "--background" in said and "--isolate" in said
    assert main(["prepare", str(source), "--out", str(out), "--isolate", "--background", str(tmp_path / "gone.jpg")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "gone.jpg" in said


def test_an_empty_view_that_is_no_picture_is_named(prepare, tmp_path: Path, source: Path, out: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"nothing")
    with pytest.raises(PhotosError, match=r"empty.jpg: not a picture"):
        prepare(source, "--out", out, "--isolate", "--background", tmp_path / "empty.jpg")
