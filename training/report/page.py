"""A page that stands alone: no file beside it, no script, nothing fetched; readable on a phone."""

import base64
import html
from collections.abc import Iterable, Sequence

from training.report.fonts import web_font

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 0; padding: 1rem; }
body > * { max-width: 58rem; margin-left: auto; margin-right: auto; }
h1 { font-size: 1.5rem; margin: .5rem auto; } h2 { font-size: 1.15rem; margin: 2rem auto .5rem; border-bottom: 1px solid #ddd; }
img { max-width: min(58rem, 100%); height: auto; display: block; margin: .5rem auto; }
div.wide { overflow-x: auto; width: fit-content; min-width: min(58rem, 100%); max-width: 100%; }
table { border-collapse: collapse; font-size: .9rem; margin: .5rem 0; }
td:first-child, th:first-child { position: sticky; left: 0; background: #fff; } tr > th:first-child { background: #f5f5f5; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #eee; }
td.words { text-align: left; min-width: 12rem; }
th:first-child, td:first-child { text-align: left; } th { background: #f5f5f5; font-weight: 600; }
@media print { div.wide { overflow: visible; } div.wide table { font-size: .6rem; } }
p.note { color: #555; font-size: .9rem; } strong.figure { font-size: 1.6rem; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818; } th { background: #2a2a2a; } p.note { color: #aaa; }
  th, td { border-color: #333; }
  td:first-child { background: #181818; } tr > th:first-child { background: #2a2a2a; } h2 { border-color: #444; } img { background: #fff; } }
"""


LONG = 40
"""characters from which on a cell is text that may be broken into lines"""


class Page:
    """Collects a page from top to bottom. Texts are plain text and are escaped here."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = [f"<h1>{html.escape(title)}</h1>"]
        self._texts: list[str] = [title]

    def heading(self, text: str) -> None:
        self._parts.append(f"<h2>{self._told(text)}</h2>")

    def paragraph(self, text: str) -> None:
        self._parts.append(f"<p>{self._told(text)}</p>")

    def note(self, text: str) -> None:
        """In small print."""
        self._parts.append(f'<p class="note">{self._told(text)}</p>')

    def figure(self, number: str, meaning: str) -> None:
        """One number that matters, and what it is."""
        self._parts.append(f'<p><strong class="figure">{self._told(number)}</strong> {self._told(meaning)}</p>')

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Rows of cells; the first column and long texts are aligned left, numbers in the others right. What is wider than the page can be moved."""
        top = "".join(f"<th>{self._told(cell).replace('.', '.<wbr>').replace('_', '_<wbr>')}</th>" for cell in head)
        body = "".join("<tr>" + "".join(map(self._cell, row)) + "</tr>" for row in rows)
        self._parts.append(f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>')

    def _cell(self, text: str) -> str:
        return f"<td{' class=words' if len(text) > LONG else ''}>{self._told(text)}</td>"

    def picture(self, encoded: bytes, kind: str, shows: str) -> None:
        """kind: png or jpeg. shows: what a reader who cannot see it is told."""
        data = base64.b64encode(encoded).decode()
        self._parts.append(f'<img src="data:image/{kind};base64,{data}" alt="{self._told(shows)}">')

    def html(self) -> str:
        """The whole document."""
        font = web_font(self._texts)
        face = f'@font-face {{ font-family: "labels"; src: url("{font}"); }} body {{ font-family: system-ui, sans-serif, "labels"; }}'
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{html.escape(self._title)}</title>\n<style>{_STYLE}{face if font else ''}</style>\n</head>\n<body>\n"
            + "\n".join(self._parts)
            + "\n</body>\n</html>\n"
        )

    def _told(self, text: str) -> str:
        self._texts.append(text)
        return html.escape(text)
