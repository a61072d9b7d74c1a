"""A page that stands alone: no file beside it, no script, nothing fetched; readable on a phone."""

import base64
import html
from collections.abc import Iterable, Sequence

from training.evaluate.fonts import web_font

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto; max-width: 58rem; padding: 1rem; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ddd; }
img { max-width: 100%; height: auto; display: block; margin: .5rem 0; }
div.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; margin: .5rem 0; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #eee; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { background: #f5f5f5; font-weight: 600; }
p.note { color: #555; font-size: .9rem; } strong.figure { font-size: 1.6rem; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818; } th { background: #2a2a2a; } p.note { color: #aaa; }
  th, td { border-color: #333; } h2 { border-color: #444; } img { background: #fff; } }
"""


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
        """Rows of cells; the first column is aligned left, numbers in the others right."""
        top = "".join(f"<th>{self._told(cell)}</th>" for cell in head)
        body = "".join("<tr>" + "".join(f"<td>{self._told(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        self._parts.append(f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>')

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
