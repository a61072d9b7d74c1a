"""Labels in any language are drawn as characters, not as boxes."""

import base64
import io

import numpy as np
from fontTools.ttLib import TTFont
from matplotlib.figure import Figure

from device.policy.rules import find_rules
from training.report.fonts import CHINESE_FILE, drawn_in_our_fonts, missing_signs, web_font

ITEMS = "可回收物_鼠标 厨余垃圾_薯条 有害垃圾_药片 其他垃圾_毛巾 可回收物_充电宝 厨余垃圾_猕猴桃 厨余垃圾_螃蟹 Töpfe ≡"


def drawing(text: str) -> np.ndarray:
    buffer = io.BytesIO()
    with drawn_in_our_fonts():
        figure = Figure(figsize=(1, 1))
        figure.text(0.1, 0.4, text, size=30)
        figure.savefig(buffer, format="rgba", dpi=50)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def test_every_character_of_the_shipped_four_bins_can_be_drawn() -> None:
    assert missing_signs(find_rules("four-bins").read_text(encoding="utf-8") + ITEMS) == ""


def test_both_levels_of_gb2312_ascii_and_latin_1_are_covered() -> None:
    hanzi = [bytes([160 + row, 160 + cell]).decode("gb2312", "ignore") for row in range(16, 88) for cell in range(1, 95)]
    assert len("".join(hanzi)) == 6763
    latin = "".join(map(chr, [*range(0x20, 0x7F), *range(0xA1, 0x100)]))
    assert missing_signs("".join(hanzi) + latin) == ""


def test_a_character_that_no_font_has_is_reported() -> None:
    assert missing_signs("한a한资") == "한"


def test_chinese_characters_are_drawn_and_differ() -> None:
    mouse, chips, unknown = drawing("鼠"), drawing("薯"), drawing("한")
    assert (mouse < 128).any()
    assert not np.array_equal(mouse, chips)
    assert not np.array_equal(mouse, unknown)


def test_a_page_embeds_only_the_chinese_characters_it_uses() -> None:
    assert web_font(["glass", "Töpfe"]) == ""
    url = web_font(["鼠标 mouse", "鼠"])
    assert url.startswith("data:font/ttf;base64,")
    font = TTFont(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert set(font.getBestCmap()) == {ord("鼠"), ord("标")}
    assert len(url) < 4000


def test_the_font_is_small_and_has_its_licence() -> None:
    assert CHINESE_FILE.stat().st_size < 900_000
    assert "Apache License" in (CHINESE_FILE.parent / "LICENSE.txt").read_text()
