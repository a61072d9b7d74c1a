"""Messages of OpenCV's decoders on stderr. They report damage there, and nowhere else, when they can still decode a picture."""

import os
import re
import sys
import tempfile
from types import TracebackType
from typing import Self

DAMAGE = re.compile(r"Corrupt JPEG data: (premature end of data segment|bad Huffman code|found marker \S+ instead of RST\d)")
"""libjpeg's words for data that is missing or wrong; it also warns of bytes too many, which do no harm"""


class DecoderMessages:
    """Captures the file descriptor of stderr while it is entered."""

    def __enter__(self) -> Self:
        sys.stderr.flush()
        self._held = tempfile.TemporaryFile()
        self._kept = os.dup(2)
        os.dup2(self._held.fileno(), 2)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        sys.stderr.flush()
        os.dup2(self._kept, 2)
        os.close(self._kept)
        self._held.close()

    def damage(self) -> str:
        """The first message about damage since the last call; empty for none."""
        self._held.seek(0)
        told = self._held.read().decode(errors="replace")
        self._held.seek(0)
        self._held.truncate()
        found = DAMAGE.search(told)
        return found[0] if found else ""
