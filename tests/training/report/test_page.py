"""Report pages that need no other file, and photo grids."""

import re

import numpy as np
import pytest

from training.evaluate.photo_grid import Tile, frame, tile_grid, truncate
from training.report.page import Page


def test_a_page_needs_no_other_file() -> None:
    page = Page("可回收物 & <script>")
    page.table(("label", "n"), [("鼠标 <b>", "3")])
    page.picture(b"\x89PNG", "png", 'a "picture"')
    text = page.html()
    assert "<script" not in text and "<link" not in text and "://" not in text
    assert all(
        reference.startswith("data:")
        for reference in re.findall(r'(?:src|href)="([^"]*)"|url\("?([^")]*)', text)
        for reference in reference
        if reference
    )
    assert "鼠标 &lt;b&gt;" in text
    assert 'name="viewport"' in text
    assert "@font-face" in text


def test_a_page_without_chinese_embeds_no_font() -> None:
    assert "@font-face" not in Page("TrashNet").html()


@pytest.mark.parametrize(("text", "columns", "shown"), [("glass", 5, "glass"), ("cardboard", 5, "card…"), ("可回收物_鼠标", 9, "可回收物…")])
def test_long_labels_are_cut_with_an_ellipsis(text: str, columns: int, shown: str) -> None:
    assert truncate(text, columns) == shown


@pytest.mark.parametrize(("right", "channel"), [(True, 1), (False, 0)])
def test_frames_are_green_where_right_and_red_where_wrong(right: bool, channel: int) -> None:
    tile = frame(np.full((30, 60, 3), 128, np.uint8), right, 100)
    assert tile.shape == (100, 100, 3)
    assert int(tile[2, 50].argmax()) == channel
    assert (tile[50, 50] == 128).all(), "the picture is inside"
    assert (tile[15, 50] != 128).all(), "and keeps its shape: above it is ground"


def test_a_grid_holds_every_tile_with_signs() -> None:
    picture = np.zeros((20, 20, 3), np.uint8)
    figure = tile_grid([Tile(picture, True, ("glass 90%",)), Tile(picture, False, ("glass 60%", "is metal 30%"))], columns=6)
    assert [text.get_text() for text in figure.axes[0].texts] == ["✓ glass 90%", "✗ glass 60%", "is metal 30%"]


def test_a_wide_table_scrolls_and_breaks_long_texts() -> None:
    page = Page("wide")
    page.table(("trial", "stage.0.rate"), [("1", "0.1"), ("2", "a recipe that says more than a number does, with spaces")])
    made = page.html()
    assert "<th>stage.<wbr>0.<wbr>rate</th>" in made
    assert "<td>0.1</td>" in made and "<td class=words>a recipe that" in made
    assert '<div class="wide"><table>' in made
