"""What another library's exception comes to: the first cause in a line, and what the model's owner can do."""

import re
from pathlib import Path

from converter.foreign.model_path import export_advice, keras_version

MOST_CHARACTERS = 90
"""of what another library said"""

_CLASS = re.compile(r"Could not locate class '([\w>]+)'|Unknown layer:? '?([\w>]+)")
_FUNCTION = re.compile(r"Could not locate function '?([\w>]+)|Unknown (?!layer)\w+(?: function)?:? '?([\w>]+)")
_OPERATION = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op|failed to legalize operation 'tfl?\.(\w+)'")


def why_not_loaded(path: Path, error: BaseException) -> str:
    """Why a Keras file or SavedModel could not be loaded or run."""
    said = str(error)
    version = "" if path.is_dir() else keras_version(path)
    for kind, pattern in (("layer", _CLASS), ("function", _FUNCTION)):
        own = pattern.search(said)
        if own:
            return f"the custom {kind} {own[own.lastindex or 0].split('>')[-1]}, whose code is not in Keras; {export_advice(version)}"
    if version.startswith("2."):
        return f"of Keras {version}, which Keras 3 cannot read; {export_advice(version)}"
    return f"cannot be read: {first_words(error)}"


def why_not_converted(error: BaseException) -> str:
    """Why TensorFlow's converter refused a network."""
    found = _OPERATION.search(str(error))
    if found:
        return f"TensorFlow Lite has no operation {next(filter(None, found.groups()))}, which it uses; replace that layer"
    return f"TensorFlow's converter refuses it: {first_words(error)}"


def first_words(error: BaseException) -> str:
    """The first sentence of what an exception says, cut to a few words."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    said = said.split(". ")[0].rstrip(".")
    return said if len(said) <= MOST_CHARACTERS else f"{said[:MOST_CHARACTERS].rsplit(' ', 1)[0]} ..."
