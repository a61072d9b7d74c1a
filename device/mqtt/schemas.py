"""JSON Schemas (draft 2020-12) of what goes over MQTT, made from the types that encode it and from their docstrings.

A field is described by the string literal under it, the one that a reader of the code sees, so the two cannot differ.
"""

import ast
import functools
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

import msgspec
from msgspec import inspect as types

from device.events import LATER_FIELDS, AnyEvent, Event
from device.mqtt.command_payloads import Command, CommandResult
from device.mqtt.payloads import BinState, Health, Info, State

DRAFT = "https://json-schema.org/draft/2020-12/schema"
WRITTEN: dict[str, Any] = {"info": Info, "state": State, "bin": BinState, "health": Health, "event": AnyEvent, "cmd_result": CommandResult}
"""what a bin publishes, by the name of its schema; `event` is for `event` and `journal`"""
READ: dict[str, Any] = {"cmd": Command}
"""what a bin takes"""
ARGUMENTS = "cmd_args"
"""name of the schema of what `args` may hold"""
TITLES = {
    "info": "what this bin is",
    "state": "what it is doing",
    "bin": "one bin",
    "health": "how the device itself is",
    "event": "one event",
    "cmd_result": "what became of a command",
    "cmd": "a command",
}


def schemas() -> dict[str, dict[str, Any]]:
    """Each schema by its name."""
    written = {name: _schema(name, kind, always_written=True) for name, kind in WRITTEN.items()}
    return written | {name: _schema(name, kind, always_written=False) for name, kind in READ.items()}


def arguments_schema(commands: Mapping[str, type[msgspec.Struct]]) -> dict[str, Any]:
    """The schema of an object that has the `args` of each command by its name."""
    _, definitions = msgspec.json.schema_components(commands.values(), ref_template="#/$defs/{name}")
    _describe(commands.values(), definitions, always_written=False)
    properties = {name: {"$ref": f"#/$defs/{kind.__name__}"} for name, kind in commands.items()}
    head = {"$schema": DRAFT, "$id": f"urn:sortbin:{ARGUMENTS}", "title": "the args of each command, by its name"}
    return {**head, "type": "object", "properties": properties, "additionalProperties": False, "$defs": definitions}


def _schema(name: str, kind: Any, *, always_written: bool) -> dict[str, Any]:
    """The schema of a type. always_written: a field is there also where it has a default, since the encoder leaves none out."""
    (schema,), definitions = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    _describe([kind], definitions, always_written=always_written)
    return {"$schema": DRAFT, "$id": f"urn:sortbin:{name}", "title": TITLES[name]} | schema | {"$defs": definitions}


def _describe(kinds: Iterable[Any], definitions: dict[str, dict[str, Any]], *, always_written: bool) -> None:
    """Put the docstrings and the required fields into the definitions of all structs."""
    for struct in _structs(kinds):
        definition = definitions[struct.__name__]
        definition["description"] = description(struct)
        if (tag_field := struct.__struct_config__.tag_field) is not None:
            definition["properties"][tag_field]["description"] = "what happened"
        described = field_docs(struct)
        for field in msgspec.structs.fields(struct):
            entry = definition["properties"][field.encode_name]
            if field.name in described:
                entry["description"] = _as_json(described[field.name])
            if always_written:
                entry.pop("default", None)
        if always_written:
            definition["required"] = [key for key in definition["properties"] if not _may_be_missing(struct, key)]


def description(struct: type) -> str:
    """The docstring of a type, as schemas have it."""
    return _as_json(inspect.getdoc(struct) or "")


def _as_json(text: str) -> str:
    """A docstring in one line, and in the words of JSON."""
    return re.sub(r"\bNone\b", "null", " ".join(text.split()))


def _may_be_missing(struct: type[msgspec.Struct], key: str) -> bool:
    """Whether some message lacks it: unset, or written by an earlier version and published now."""
    default = next((field.default for field in msgspec.structs.fields(struct) if field.encode_name == key), msgspec.NODEFAULT)
    return default is msgspec.UNSET or (issubclass(struct, Event) and key in LATER_FIELDS)


def _structs(kinds: Iterable[Any]) -> Iterator[type[msgspec.Struct]]:
    """The structs in the types, each once."""
    seen: set[type] = set()
    waiting = [types.type_info(kind) for kind in kinds]
    while waiting:
        info = waiting.pop()
        match info:
            case types.StructType(cls=struct, fields=fields) if struct not in seen:
                seen.add(struct)
                yield struct
                waiting += [field.type for field in fields]
            case types.UnionType(types=each):
                waiting += each
            case types.DictType(value_type=value):
                waiting.append(value)
            case types.VarTupleType(item_type=item):
                waiting.append(item)
            case types.Metadata(type=inner):
                waiting.append(inner)
            case _:
                pass


def field_docs(struct: type) -> dict[str, str]:
    """The string literal under each field of a class and its bases."""
    found: dict[str, str] = {}
    for each in reversed(struct.__mro__):
        if each.__module__ in sys.modules and each.__module__.startswith("device."):
            found |= _literals(each.__module__).get(each.__name__, {})
    return found


@functools.cache
def _literals(module: str) -> dict[str, dict[str, str]]:
    """The string literals under the fields of each class of a module."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: dict(_literals_of(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _literals_of(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, after in zip(node.body, node.body[1:], strict=False):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, text
            case _:
                pass


def event_types() -> tuple[str, ...]:
    """The `type` of every event, in the order of the code."""
    return tuple(str(kind.__struct_config__.tag) for kind in get_args(AnyEvent))
