"""The contact sheet of a folder of rendered places."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from converter.common.progress import Progress
from training.render import album, shots
from training.render import benchmark_places as bench
from training.render import place_sheet as sheet
from training.render.catalogue import Kind


def unbuilt(rng):
    raise AssertionError("nothing is modelled here")


@pytest.fixture
def places(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from painter import Painter

    kinds = {"metal": [Kind("metal", "can", unbuilt, 1)], "paper": [Kind("paper", "ball", unbuilt, 1)]}
    some = bench.places()[:2]
    out = tmp_path / "places"
    album.fill(out, {}, [*shots.empties(some, 1, 1), *shots.in_turn(some, kinds, 1, 1)], Painter(tmp_path / "log"), 1, Progress())
    return out


def test_each_place_shows_its_empty_view_and_items_with_their_outlines(places, tmp_path):
    assert sheet.main([str(places), str(tmp_path / "docs" / "sheet.jpg"), "--items", "2", "--across", "3", "--cell", "80"]) == 0
    drawn = cv2.imread(str(tmp_path / "docs" / "sheet.jpg")).astype(int)
    assert drawn.shape == (2 * 60, 3 * 80, 3)
    green = (drawn[..., 1] > drawn[..., 0] + 60) & (drawn[..., 1] > drawn[..., 2] + 60)
    assert not green[:, :80].any() and all(green[row : row + 60, 80 * column : 80 * column + 80].any() for row in (0, 60) for column in (1, 2))


def test_an_empty_folder_is_told_apart(tmp_path):
    with pytest.raises(ValueError, match="expected pictures that `training render` wrote"):
        sheet.contact_sheet(tmp_path, 2, 6, 100)


def test_an_odd_last_row_is_filled_up(places):
    assert np.asarray(sheet.contact_sheet(places, 1, 3, 80)).shape == (2 * 60, 3 * 80, 3)
