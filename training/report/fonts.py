"""Fonts for labels in any language, the same on every machine: DejaVu Sans, and a Chinese font that comes with Sortbin.

`fonts/README.md` names the source of that font.
"""

import atexit
import base64
import functools
import gzip
import io
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from fontTools import subset
from fontTools.ttLib import TTFont
from matplotlib import font_manager

CHINESE_FILE = Path(__file__).parent / "fonts" / "DroidSansFallback-GB2312.ttf.gz"
LATIN, CHINESE = "DejaVu Sans", "Droid Sans Fallback"


@contextmanager
def drawn_in_our_fonts() -> Iterator[None]:
    """Let matplotlib use DejaVu Sans, and the Chinese font for characters it lacks."""
    _register()
    with warnings.catch_warnings(), matplotlib.rc_context({"font.family": [LATIN, CHINESE]}):
        warnings.filterwarnings("ignore", r"Glyph \d+")  # `missing_signs` reports them once, in words
        yield


def missing_signs(text: str) -> str:
    """The characters of `text` that neither font has, each once, in order."""
    return "".join(dict.fromkeys(sign for sign in text if ord(sign) not in _covered() and not sign.isspace()))


def web_font(texts: Iterable[str]) -> str:
    """A `data:` URL of a font with only the Chinese characters in `texts`, for a page without other files; empty where there are none."""
    wanted = {ord(sign) for text in texts for sign in text} & _covers(_chinese()) - _covers(_latin())
    if not wanted:
        return ""
    font = TTFont(io.BytesIO(_chinese()), recalcTimestamp=False)
    cut = subset.Subsetter(subset.Options(notdef_outline=True, name_IDs=[0, 13, 14]))
    cut.populate(unicodes=wanted)
    cut.subset(font)
    written = io.BytesIO()
    font.save(written)
    return f"data:font/ttf;base64,{base64.b64encode(written.getvalue()).decode()}"


@functools.cache
def _register() -> None:
    """Register the font with matplotlib. It reads only files, so the font is unpacked into a folder that is removed at exit."""
    folder = tempfile.TemporaryDirectory(prefix="sortbin-font-")
    atexit.register(folder.cleanup)
    file = Path(folder.name) / CHINESE_FILE.stem
    file.write_bytes(_chinese())
    font_manager.fontManager.addfont(file)


@functools.cache
def _chinese() -> bytes:
    return gzip.decompress(CHINESE_FILE.read_bytes())


@functools.cache
def _latin() -> bytes:
    return Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf").read_bytes()


@functools.cache
def _covered() -> frozenset[int]:
    return _covers(_latin()) | _covers(_chinese())


@functools.cache
def _covers(font: bytes) -> frozenset[int]:
    return frozenset(TTFont(io.BytesIO(font), lazy=True).getBestCmap())
