"""Explains in one line why Keras could not load a model, and the cure."""

import re
from pathlib import Path

from converter.common.exception_text import first_sentence
from converter.foreign.file_checks import export_advice, keras_version

_CLASS = re.compile(r"Could not locate class '([\w>]+)'|Unknown layer:? '?([\w>]+)")
_FUNCTION = re.compile(r"Could not locate function '?([\w>]+)|Unknown (?!layer)\w+(?: function)?:? '?([\w>]+)")


def why_not_loaded(path: Path, error: BaseException) -> str:
    """Why a Keras file or SavedModel could not be loaded or run, and the cure."""
    text = str(error)
    version = "" if path.is_dir() else keras_version(path)
    for kind, pattern in (("layer", _CLASS), ("function", _FUNCTION)):
        own = pattern.search(text)
        if own:
            return f"the custom {kind} {own[own.lastindex or 0].split('>')[-1]}, whose code is not in Keras; {export_advice(version)}"
    if version.startswith("2."):
        return f"of Keras {version}, which Keras 3 cannot read; {export_advice(version)}"
    return f"cannot be read: {first_sentence(error)}"
