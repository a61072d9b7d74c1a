"""The settings file without its secrets and comments, and what is wrong with it.

Only values of keys that Sortbin knows are told: in another one anything may stand.
"""

import functools
import json
import re
from typing import Any

from msgspec import inspect

from device.settings import Settings
from device.support.secrets import MASK, is_secret
from device.support.supported_bin import SupportedBin


def collect(bin_: SupportedBin) -> str:
    """The file as JSON; line by line where it is no TOML."""
    if bin_.written or bin_.settings is not None:
        told: Any = _masked(bin_.written)
    else:
        told = _lines_told(bin_)
    return json.dumps({"file": str(bin_.config), "error": bin_.error, "settings": told}, ensure_ascii=False, indent=1)


def _masked(value: object, name: str = "", known: bool = True) -> object:
    match value:
        case dict():
            return {key: _masked(below, key, known=key in _known_keys() or (known and not isinstance(below, str))) for key, below in value.items()}
        case list():
            return [_masked(below, name, known) for below in value]
        case _:
            return MASK if is_secret(name) or not known else value


def _lines_told(bin_: SupportedBin) -> list[str]:
    lines = bin_.text.splitlines()
    return [_line_told(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")]


def _line_told(number: int, line: str) -> str:
    if re.fullmatch(r"\[{1,2}[a-z_. ]+\]{0,2}", line):
        return f"{number}: {line}"
    key, given, value = (part.strip() for part in line.partition("="))
    if not given or key not in _known_keys() or is_secret(key):
        return f"{number}: {key if given and key in _known_keys() else MASK}{f' = {MASK}' if given else ''}"
    return f"{number}: {key} = {value.partition(' #')[0]}"


@functools.cache
def _known_keys() -> frozenset[str]:
    """The names of all keys in all tables."""
    names: set[str] = set()

    def below(told: inspect.Type) -> None:
        match told:
            case inspect.StructType(fields=fields, tag_field=tag_field):
                names.update(field.encode_name for field in fields)
                names.update(filter(None, [tag_field]))
                for field in fields:
                    below(field.type)
            case inspect.Metadata(type=inner):
                below(inner)
            case inspect.UnionType(types=inners):
                for inner in inners:
                    below(inner)
            case inspect.VarTupleType(item_type=inner) | inspect.ListType(item_type=inner) | inspect.DictType(value_type=inner):
                below(inner)
            case _:
                pass

    below(inspect.type_info(Settings))
    return frozenset(names)
