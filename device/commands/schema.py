"""`sortbin schema`: print or write the JSON Schemas of what a bin says and hears over MQTT."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from device.common.errors import UsageError
from device.mqtt import asyncapi
from device.mqtt.schemas import ARGUMENTS, arguments_schema, schemas
from device.remote.kinds import COMMANDS


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `schema` to the command line."""
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schemas of the MQTT payloads",
        description="Print the JSON Schema (draft 2020-12) of one payload, the AsyncAPI document of all topics, or the names of the schemas; "
        "or write all of them into a folder. Exit status: 0 done, 2 bad usage, or the folder cannot be written.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="which one: without it the names are listed")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--asyncapi", action="store_true", help="print the AsyncAPI 3.0 document")
    what.add_argument("--out", type=Path, metavar="DIR", help="write NAME.json of each, and asyncapi.json, into this folder")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print or write. Returns the exit status."""
    made, name = schemas() | {ARGUMENTS: arguments_schema(COMMANDS)}, arguments.name
    if name is not None and (arguments.asyncapi or name not in made):
        raise UsageError(f"{name}: expected " + ("no name beside --asyncapi" if arguments.asyncapi else f"one of {', '.join(made)}"))
    if arguments.asyncapi:
        sys.stdout.write(_text(asyncapi.document(COMMANDS)))
    elif arguments.out is not None:
        _write(arguments.out, {key: schema for key, schema in made.items() if name in (None, key)})
    elif name is not None:
        sys.stdout.write(_text(made[name]))
    else:
        print("\n".join(made))
    return 0


def _write(folder: Path, made: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in (made | ({"asyncapi": asyncapi.document(COMMANDS)} if len(made) > 1 else {})).items():
        (folder / f"{name}.json").write_text(_text(schema), encoding="utf-8")


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
