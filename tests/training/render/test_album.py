"""A series of pictures on disk: whole files, an index that can be trusted, and runs that go on after any stop."""

import json
import select
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from converter.common.progress import Progress
from training.render import album, shots
from training.render import benchmark_places as bench
from training.render.catalogue import Kind


def unbuilt(rng):
    raise AssertionError("nothing is modelled here")


def kinds(*names):
    return {"metal": [Kind("metal", name, unbuilt, 1) for name in names]}


@pytest.fixture
def painter(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from painter import Painter

    return Painter(tmp_path / "log")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "places"


def series(per_label=2, names=("can",), places=2):
    some = bench.places()[:places]
    return [*shots.empties(some, 2, 1), *shots.in_turn(some, kinds(*names), per_label, 1)]


def fill(out, painter, wanted, order=None, processes=1):
    return album.fill(out, order or {"series": "test"}, wanted, painter, processes, Progress())


def noted(painter):
    return painter.log.read_text().splitlines() if painter.log.is_file() else []


def index(out):
    return [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]


def test_every_item_picture_has_mask_box_and_row(out, painter):
    assert fill(out, painter, series(), processes=2) == album.Filled(8, 0)
    found = index(out)
    assert [row["image"] for row in found] == [shot.image for shot in series() if shot.kind]
    for row in found:
        picture, mask = cv2.imread(str(out / row["image"])), cv2.imread(str(out / row["mask"]), cv2.IMREAD_UNCHANGED)
        assert picture.shape[:2] == mask.shape == (24, 32)
        assert set(np.unique(mask)) == {0, 255}
        left, top, right, bottom = row["box"]
        assert mask[top:bottom, left:right].min() == 255 and (mask > 0).sum() == (right - left) * (bottom - top)
        assert row["area"] == pytest.approx((mask > 0).mean(), abs=1e-5)
        assert (row["label"], row["kind"], row["place"]) == ("metal", "can", row["image"].split("/")[0])


def test_empty_views_lie_beside_the_items_and_have_no_row(out, painter):
    fill(out, painter, series(places=1))
    place = bench.places()[0].name
    assert sorted(path.name for path in (out / place / "empty").iterdir()) == ["00.jpg", "01.jpg"]
    assert all("empty" not in row["image"] for row in index(out))


def test_a_place_is_metered_once(out, painter):
    fill(out, painter, series(places=1))
    fill(out, painter, series(places=1, per_label=4))
    assert [line for line in noted(painter) if line.startswith("meter")] == [f"meter {bench.places()[0].name}"]


def test_a_longer_series_takes_only_what_is_missing(out, painter):
    fill(out, painter, series(per_label=1))
    before = len(noted(painter))
    assert fill(out, painter, series(per_label=3)).taken == 4
    assert len(noted(painter)) == before + 4


def test_a_finished_series_is_left_as_it_is(out, painter):
    fill(out, painter, series())
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")}
    assert fill(out, painter, series()) == album.Filled(0, 0)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")} == kept


@pytest.mark.parametrize("lost", ["row", "mask", "picture", "half a row"])
def test_what_a_kill_left_unfinished_is_taken_again_and_nothing_else(out, painter, lost):
    fill(out, painter, series())
    whole = index(out)
    last = whole[-1]
    lines = (out / "index.jsonl").read_bytes().splitlines(keepends=True)
    if lost == "row":
        (out / "index.jsonl").write_bytes(b"".join(lines[:-1]))
    elif lost == "half a row":
        (out / "index.jsonl").write_bytes(b"".join(lines)[:-20])
    else:
        (out / last["mask" if lost == "mask" else "image"]).unlink()
    assert fill(out, painter, series()).taken == 1
    assert noted(painter)[-1] == last["image"]
    assert index(out) == whole


def test_no_half_written_file_has_the_name_of_a_picture(out, painter, monkeypatch):
    (shot,) = series(per_label=1, places=1)[-1:]
    replaced = []
    monkeypatch.setattr(Path, "replace", lambda self, target: replaced.append((self, target)))
    album._write(out / shot.image, b"whole")
    half, target = replaced[0]
    assert not target.exists() and half.name.startswith(".") and half.suffix not in (".jpg", ".png")


def test_renderers_end_with_the_command_and_the_next_run_resumes(out, painter, tmp_path):
    program = tmp_path / "run.py"
    program.write_text(
        "import sys\n"
        f"sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(tmp_path)!r}]\n"
        "from pathlib import Path\n"
        "from converter.common.progress import Progress\n"
        "from painter import Painter\n"
        "from training.render import album, benchmark_places, shots\n"
        "if __name__ == '__main__':\n"
        "    views = shots.empties(benchmark_places.places(), 60, 1)\n"
        f"    album.fill(Path({str(out)!r}), {{'series': 'test'}}, views, Painter(Path({str(painter.log)!r})), 2, Progress())\n"
    )
    running = subprocess.Popen([sys.executable, str(program)], cwd=Path(album.__file__).parents[2])
    try:
        while not list(out.glob("*/empty/*.jpg")):
            assert running.poll() is None
            select.select([], [], [], 0.02)
        workers = [int(number) for number in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()]
        assert len(workers) >= 2
    finally:
        running.kill()
        running.wait()
    while any(_alive(number) for number in workers):
        select.select([], [], [], 0.02)
    views = shots.empties(bench.places(), 2, 1)
    fill(out, painter, views)
    assert all(cv2.imread(str(out / shot.image)) is not None for shot in views)


def _alive(number):
    try:
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False


def test_an_invisible_item_is_skipped_and_the_rest_is_rendered(out, painter):
    assert fill(out, painter, series(names=("hidden", "can"), places=1)) == album.Filled(3, 1)
    assert [row["kind"] for row in index(out)] == ["can"]


def test_a_renderer_that_dies_is_one_line_and_the_run_can_resume(out, painter):
    with pytest.raises(album.AlbumError, match=r"a renderer was killed.*goes on"):
        fill(out, painter, series(names=("can", "deadly"), places=1))
    assert fill(out, painter, series(names=("can",), places=1)).taken >= 1
    assert len(index(out)) == 2


def test_a_full_disk_is_one_line_and_leaves_no_partial_file(out, painter):
    with pytest.raises(album.AlbumError, match=r"places: cannot be written: File too large"):
        fill(out, painter, series(names=("can", "large"), places=1))
    assert [row["kind"] for row in index(out)] == ["can"]
    assert [path.name for path in out.rglob(".*")] == []
    assert fill(out, painter, series(names=("can",), places=1)).taken == 1
    assert len(index(out)) == 2


def test_a_folder_keeps_to_its_order(out, painter):
    fill(out, painter, series(places=1), {"series": "bench", "size": [640, 480]})
    with pytest.raises(album.AlbumError, match=r"order.json: size: this folder holds a series with \[640, 480\], not \[320, 240\]"):
        fill(out, painter, series(places=1), {"series": "bench", "size": [320, 240]})


def test_a_folder_with_other_things_in_it_is_refused(out, painter):
    out.mkdir()
    (out / "holiday.jpg").write_bytes(b"")
    with pytest.raises(album.AlbumError, match="expected an empty folder"):
        fill(out, painter, series(places=1))
    assert noted(painter) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path, painter):
    (tmp_path / "file").write_text("")
    with pytest.raises(album.AlbumError, match="file"):
        fill(tmp_path / "file" / "places", painter, series(places=1))


def test_a_place_that_is_described_otherwise_is_metered_again(out, painter):
    fill(out, painter, series(places=1))
    note = out / bench.places()[0].name / "place.json"
    other = json.loads(note.read_text())
    other["place"]["jitter"] = 0.5
    note.write_text(json.dumps(other))
    shutil.rmtree(out / bench.places()[0].name / "empty")
    fill(out, painter, series(places=1))
    assert len([line for line in noted(painter) if line.startswith("meter")]) == 2
