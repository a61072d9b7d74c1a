"""The cut-outs that come with the virtual bin, and rendering one where Blender's module is installed."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

ITEMS = Path(__file__).parents[3] / "device" / "simulation" / "items"
LABELS = {"cardboard", "glass", "metal", "paper", "plastic", "trash"}


@pytest.fixture(scope="module")
def listed():
    return json.loads((ITEMS / "items.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def decoded(listed):
    cv2 = pytest.importorskip("cv2")
    return {entry["file"]: cv2.imdecode(np.fromfile(ITEMS / entry["file"], np.uint8), cv2.IMREAD_UNCHANGED) for entry in listed}


def test_the_list_names_exactly_the_pictures_there_are(listed):
    files = [entry["file"] for entry in listed]
    assert len(files) == len(set(files))
    assert set(files) == {path.relative_to(ITEMS).as_posix() for path in ITEMS.rglob("*") if path.is_file() and path.name != "items.json"}


def test_every_label_has_at_least_ten_pictures_of_several_kinds(listed):
    counts = Counter(entry["label"] for entry in listed)
    assert set(counts) == LABELS
    assert min(counts.values()) >= 10
    for label in LABELS:
        assert len({entry["kind"] for entry in listed if entry["label"] == label}) >= 3


def test_every_entry_says_what_the_item_is_and_how_large(listed):
    for entry in listed:
        label, name = entry["file"].split("/")
        assert label == entry["label"] and name.startswith(entry["kind"] + "-")
        assert isinstance(entry["seed"], int)
        assert 2 <= entry["size_cm"] <= 45


def test_every_picture_has_an_opaque_item_on_a_clear_ground(decoded):
    for file, picture in decoded.items():
        assert picture is not None and picture.ndim == 3 and picture.shape[2] == 4, file
        alpha = picture[..., 3]
        assert (alpha > 230).any() and (alpha == 0).any(), file
        assert max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) < 40, f"{file} is cut off"


def test_pictures_are_about_as_large_as_a_camera_would_see_them(decoded):
    for file, picture in decoded.items():
        assert 240 <= max(picture.shape[:2]) <= 340, file


def test_clear_glass_and_plastic_let_the_tray_show_through(decoded):
    for kind in ("glass/jar", "glass/tumbler", "plastic/pet-bottle", "plastic/deli-tub"):
        shares = [np.mean((p[..., 3] > 12) & (p[..., 3] < 200)) for file, p in decoded.items() if file.startswith(kind)]
        assert shares and min(shares) > 0.05, kind


def test_all_pictures_together_stay_small(listed):
    assert sum((ITEMS / entry["file"]).stat().st_size for entry in listed) <= 3 * 2**20


@pytest.fixture(scope="module")
def cutouts():
    pytest.importorskip("bpy", reason="Blender's module is not installed")
    from training.render import cutouts

    return cutouts


def picture_of(label, name, number=0):
    from training.render import catalogue

    return catalogue.ItemPicture(next(kind for kind in catalogue.kinds(label) if kind.name == name), number, seed=7)


def test_the_same_seed_gives_the_same_pixels(cutouts):
    jar_lid = picture_of("metal", "jar-lid")
    first, size_cm = cutouts.cutout(jar_lid, 48, 2)
    again, _ = cutouts.cutout(jar_lid, 48, 2)
    other, _ = cutouts.cutout(picture_of("metal", "jar-lid", number=1), 48, 2)
    assert first.mode == "RGBA" and 40 <= max(first.size) <= 56
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    assert 5 <= size_cm <= 10


def test_a_rendered_jar_is_partly_clear(cutouts):
    alpha = np.asarray(cutouts.cutout(picture_of("glass", "jar"), 48, 2)[0])[..., 3]
    assert ((alpha > 12) & (alpha < 200)).mean() > 0.08
    assert (alpha == 0).any()


def test_a_stopped_series_goes_on_where_it_was(cutouts, tmp_path, capsys):
    series = [picture_of("metal", "crown-cap", number) for number in (0, 1)]
    cutouts.render(tmp_path, series[:1], 32, 1)
    kept = (tmp_path / series[0].file).stat().st_mtime_ns
    capsys.readouterr()
    cutouts.render(tmp_path, series, 32, 1)
    assert "crown-cap-00" not in (said := capsys.readouterr().out) and "crown-cap-01" in said
    assert (tmp_path / series[0].file).stat().st_mtime_ns == kept
    assert [entry["file"] for entry in json.loads((tmp_path / "items.json").read_text())] == [picture.file for picture in series]


def test_every_label_of_the_virtual_bin_can_be_rendered(cutouts):
    from training.render import catalogue

    assert set(catalogue.labels()) >= LABELS
