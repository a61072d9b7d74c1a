"""Fonts for labels in any language, the same on every machine: DejaVu Sans, and where it has no sign, one for Chinese that comes with us.

`fonts/README.md` says where that font comes from.
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
    """Let matplotlib look for each sign in DejaVu Sans first and in the Chinese font next."""
    _register()
    with warnings.catch_warnings(), matplotlib.rc_context({"font.family": [LATIN, CHINESE]}):
        warnings.filterwarnings("ignore", r"Glyph \d+")  # `missing_signs` tells of them once, and in words
        yield


def missing_signs(text: str) -> str:
    """The signs of `text` that would be drawn as an empty box, each once, in order."""
    return "".join(dict.fromkeys(sign for sign in text if ord(sign) not in _covered() and not sign.isspace()))


def web_font(texts: Iterable[str]) -> str:
    """A `data:` URL with just the Chinese signs that `texts` use, for a page that stands alone; empty when they use none."""
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
    """matplotlib reads fonts from files only, so ours is unpacked into a folder that goes when the program ends."""
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
