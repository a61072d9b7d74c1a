"""Report pages: one HTML file that needs no other, has no script and loads nothing; readable on a phone. `page.html.j2` is its template."""

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from training.report.fonts import web_font

LONG = 40
"""characters from which on a cell may be broken into lines"""


class Page:
    """Collects a page from top to bottom. Texts are plain; the template escapes them."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[tuple[str, Any]] = []
        self._texts: list[str] = [title]

    def heading(self, text: str) -> None:
        """A heading below the title."""
        self._add("heading", text, [text])

    def paragraph(self, text: str) -> None:
        """Running text."""
        self._add("paragraph", text, [text])

    def note(self, text: str) -> None:
        """Small print."""
        self._add("note", text, [text])

    def figure(self, number: str, meaning: str) -> None:
        """One number in large print, and what it is."""
        self._add("figure", {"number": number, "meaning": meaning}, [number, meaning])

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Rows of cells. The first column and long texts are aligned left, other cells right. A table wider than the page scrolls."""
        cells = [list(row) for row in rows]
        self._add("table", {"head": head, "rows": cells}, [*head, *(cell for row in cells for cell in row)])

    def picture(self, encoded: bytes, kind: str, shows: str) -> None:
        """kind: png or jpeg. shows: the alternative text."""
        self._add("picture", {"format": kind, "data": base64.b64encode(encoded).decode(), "shows": shows}, [shows])

    def html(self) -> str:
        """The whole document."""
        return _TEMPLATE.render(title=self._title, parts=self._parts, font=web_font(self._texts), long=LONG)

    def _add(self, kind: str, part: object, texts: Sequence[str]) -> None:
        self._parts.append((kind, part))
        self._texts.extend(texts)


def breakable(text: str) -> Markup:
    """A text that a browser may break behind each dot and underscore, as in `stage.0.learning_rate`."""
    return escape(text).replace(".", Markup(".<wbr>")).replace("_", Markup("_<wbr>"))


def png_url(file: Path) -> str:
    """A PNG file as a `data:` URL."""
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"


def environment(package: str, folder: str) -> Environment:
    """The templates in a folder of a package. Every value is escaped."""
    found = Environment(loader=PackageLoader(package, folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    found.filters |= {"breakable": breakable, "png_url": png_url}
    return found


_TEMPLATE = environment("training", "report").get_template("page.html.j2")
