"""The base of all errors that are shown to a user, and one-line descriptions of msgspec's errors."""

import functools
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from device.common.wording import alternatives

_WORDS = {
    "object": "a table",
    "array": "a list",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}
"""types as they are called in messages"""
_NAMES_A_KEY = re.compile("[a-z_]+: ")
"""how a message begins that names one key of a table"""
_BOUNDS = (
    (" or nothing", ""),
    (" of length >= 1$", ", not empty"),
    (" >= ", " of at least "),
    (" <= ", " of at most "),
    (" > ", " above "),
    (" < ", " below "),
    (r"(\d)\.0\b", r"\1"),
    (", got ", ", found "),
    ("`", ""),
)


class SortbinError(Exception):
    """An error that the user can correct. The message is one line: file or part, key, what was expected.

    Each part raises its own subclass, which also inherits the fitting builtin exception. Commands print the message and exit with status 2.
    """


class UsageError(SortbinError, ValueError):
    """An option that makes no sense, or that does not go with the others. The message names it."""


def describe_toml_error(error: msgspec.MsgspecError, read_as: Any, text: str) -> str:
    """As `describe_error`, for a TOML text. A table entry that msgspec calls `[...]` gets its name in the key."""
    message = describe_error(error, read_as)
    if not isinstance(error, msgspec.ValidationError):
        return message
    steps = re.findall(r"\[[^\]]+\]|[^.\[\]`]+", str(error).partition(" - at `$")[2])
    for names, narrowed in _narrowed(tomllib.loads(text), steps):
        try:
            msgspec.convert(narrowed, read_as)
        except msgspec.ValidationError as alone:
            if str(alone) == str(error):
                return functools.reduce(lambda text_so_far, name: text_so_far.replace("[...]", f".{name}", 1), names, message)
    return message


def describe_error(error: msgspec.MsgspecError, read_as: Any = None) -> str:
    """An error of msgspec in one line, with the key first: `camera.fps: expected a number of at most 120`.

    read_as: the type that was read. With it, the line lists the choices of a key that has only a few.
    """
    if found := re.fullmatch(r"(.+) \(at ([^()]+)\)", str(error), re.DOTALL):
        return _not_toml(found[1], found[2])
    message, _, place = str(error).partition(" - at `$")
    key = place.rstrip("`").lstrip(".")
    description = _in_words(message, read_as, key)
    if not key:
        return description
    return f"{key}.{description}" if _NAMES_A_KEY.match(description) else f"{key}: {description}"


def _not_toml(message: str, where: str) -> str:
    """The syntax error of a TOML text. where: line and column."""
    if found := re.fullmatch(r"Cannot declare \('(.+)',\) twice", message):
        return f"[{found[1]}] is there twice, expected once (at {where})"
    if message == "Cannot overwrite a value":
        return f"a key or table is there twice, or [[...]] once with one pair of brackets (at {where})"
    if message == "Invalid value":
        return f"expected a number, true, false, or text between straight quotes (at {where})"
    return f"expected TOML: {message[:1].lower()}{message[1:]} (at {where})"


def _in_words(message: str, read_as: Any, key: str) -> str:
    if found := re.fullmatch(r"Invalid (?:enum )?value (.+)", message, re.DOTALL):
        return f"expected {alternatives(_choices(read_as, key)) or 'another value'}, found {found[1]}"
    if (found := re.fullmatch(r"Expected `str` matching regex .+", message, re.DOTALL)) and (described := _description(read_as, key)):
        return f"expected {described}"
    if found := re.fullmatch(r"Object missing required field `(.+)`", message):
        choices = _choices(read_as, f"{key}.{found[1]}")
        return f"missing key {found[1]}" + (f"; expected {alternatives(choices)}" if choices else "")
    if found := re.fullmatch(r"Object contains unknown field `(.+)`", message, re.DOTALL):
        return f"unknown key {found[1]}{_whose(read_as, key, found[1])}"
    description = re.sub(r"`([a-z]+(?: \| [a-z]+)*)`", lambda types: " or ".join(_WORDS.get(name, name) for name in types[1].split(" | ")), message)
    for pattern, replacement in _BOUNDS:
        description = re.sub(pattern, replacement, description)
    return description if description[:4] == "JSON" else f"{description[0].lower()}{description[1:]}"


def _narrowed(written: Any, steps: list[str]) -> Iterator[tuple[list[str], Any]]:
    """Variants of a parsed text. Each keeps one entry of every table that is `[...]` in `steps`; with the names of these entries."""
    if not steps:
        yield [], written
        return
    step, *below = steps
    if isinstance(written, list):
        at = int(step.strip("[]"))
        yield from ((names, [*written[:at], inner, *written[at + 1 :]]) for names, inner in _narrowed(written[at], below))
    elif step == "[...]" and isinstance(written, dict):
        for name in written:
            yield from (([name, *names], {name: inner}) for names, inner in _narrowed(written[name], below))
    elif isinstance(written, dict) and step in written:
        yield from ((names, written | {step: inner}) for names, inner in _narrowed(written[step], below))


def _choices(read_as: Any, key: str) -> list[str]:
    """The words or numbers that are valid for a key, where it has only a few."""
    values = (value for kind in _at(read_as, key) if isinstance(kind, inspect.LiteralType) for value in kind.values)
    return list(dict.fromkeys(str(value) or '""' for value in values))


def _whose(read_as: Any, key: str, field: str) -> str:
    """The other kinds of this table that have the field as a key, as an end of the message."""
    kinds = [
        f'"{kind.tag}"' for kind in _at(read_as, key) if isinstance(kind, inspect.StructType) and field in {each.encode_name for each in kind.fields}
    ]
    return f", which belongs to kind = {alternatives(kinds)}" if kinds else ""


def _description(read_as: Any, key: str) -> str:
    described = (kind.extra_json_schema or {} for kind in _at(read_as, key) if isinstance(kind, inspect.Metadata))
    return next((str(schema["description"]) for schema in described if "description" in schema), "")


def _at(read_as: Any, key: str) -> list[inspect.Type]:
    """The types that are valid for a key such as `gate[0].kind`, with those that they wrap."""
    found = [] if read_as is None else list(_unwrapped(inspect.type_info(read_as)))
    for step in re.findall(r"[^.\[\]]+", key):
        found = [inner for kind in found for below in _below(kind, step) for inner in _unwrapped(below)]
    return found


def _unwrapped(kind: inspect.Type) -> Iterator[inspect.Type]:
    yield kind
    if isinstance(kind, inspect.Metadata):
        yield from _unwrapped(kind.type)
    if isinstance(kind, inspect.UnionType):
        for each in kind.types:
            yield from _unwrapped(each)


def _below(kind: inspect.Type, step: str) -> Iterator[inspect.Type]:
    match kind:
        case inspect.StructType(tag_field=tag_field, tag=tag) if step == tag_field and tag is not None:
            yield inspect.LiteralType((str(tag),))
        case inspect.StructType(fields=fields):
            yield from (field.type for field in fields if field.encode_name == step)
        case inspect.VarTupleType(item_type=below) | inspect.ListType(item_type=below) | inspect.DictType(value_type=below):
            yield below
        case _:
            pass
