"""`sortbin cmd`: send a command to a bin over MQTT, from any computer, and wait for its answer."""

import argparse
import contextlib
import json
import re
import sys
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from device.common.cli import float_range, int_range
from device.common.errors import SortbinError, UsageError, describe_error, describe_toml_error
from device.mqtt import MqttError
from device.mqtt.command_payloads import Command, CommandResult
from device.mqtt.connection import Connection, connect, in_time
from device.mqtt.settings import MqttSettings, TlsSettings
from device.mqtt.topics import TopicError, Topics
from device.remote.codec import UNREADABLE
from device.remote.kinds import COMMANDS

CONNECT_S = 5.0
TTL_S, WAIT_S = 30.0, 60.0
BROKER_OPTIONS = ("host", "port", "username", "password_file", "ca_file", "base")


class NoAnswer(SortbinError):
    """The broker or the bin did not answer."""


class _FileWithBroker(msgspec.Struct):
    """A settings file, of which this computer only needs the broker."""

    mqtt: MqttSettings = msgspec.field(default_factory=MqttSettings)


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `cmd` to the command line."""
    parser = commands.add_parser(
        "cmd",
        help="send a command to a bin over MQTT",
        description="Send a command to a bin and print its answer. The bin must have `commands = true` below [mqtt]. No settings file is needed. "
        "Exit status: 0 done, 1 refused or failed, 2 bad usage, or no answer.",
    )
    parser.add_argument("bin", nargs="?", metavar="BIN", help="id of the bin, as in its topics")
    parser.add_argument("name", nargs="?", metavar="NAME", choices=list(COMMANDS), help="command; --list shows them all")
    parser.add_argument("args", nargs="*", metavar="KEY=VALUE", help="what the command needs to know, as bin=paper")
    parser.add_argument("--list", action="store_true", help="list the commands and what they need to know")
    parser.add_argument("--host", help="name or address of the broker (default: localhost)")
    parser.add_argument("--port", type=int_range(1, 65535), metavar="N", help="default: 1883, or 8883 with --ca-file")
    parser.add_argument("--username", metavar="NAME", help="to log in with")
    parser.add_argument("--password-file", metavar="FILE", help="file that holds the password and nothing else")
    parser.add_argument("--ca-file", metavar="FILE", help="PEM file of the authority that signed the broker's certificate; switches TLS on")
    parser.add_argument("--base", help="first part of every topic (default: sortbin)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="take the broker from [mqtt] of this settings file instead")
    parser.add_argument(
        "--ttl",
        type=float_range(ge=1, le=3600, unit="seconds"),
        default=TTL_S,
        metavar="S",
        help="it expires after so many seconds (default: %(default)g)",
    )
    parser.add_argument(
        "--wait",
        type=float_range(gt=0, le=3600, unit="seconds"),
        default=WAIT_S,
        metavar="S",
        help="seconds to wait for the answer (default: %(default)g)",
    )
    parser.add_argument("--id", default=None, help="id of the command (default: a random one); the same id is never carried out twice")
    parser.add_argument("--json", action="store_true", help="print the answer, or the list, as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Send it, or list the commands. Returns the exit status."""
    if arguments.list:
        return _list(as_json=arguments.json)
    if arguments.bin is None or arguments.name is None:
        raise UsageError("expected BIN and NAME, or --list")
    command = _command(arguments)
    settings = _broker(arguments)
    try:
        topics = Topics(arguments.bin, settings.base)
    except TopicError as error:
        raise UsageError(str(error)) from error
    try:
        result = _send(settings, topics, arguments.name, command, arguments.wait)
    except NoAnswer as error:
        raise error if arguments.config is not None else NoAnswer(_with_options(str(error))) from error
    if arguments.json:
        print(msgspec.json.encode(result).decode(), flush=True)
    else:
        print(f"{arguments.bin}: {'' if result.ok else f'{result.code}: '}{result.message}", flush=True)
    return 0 if result.ok else 1


def _list(*, as_json: bool) -> int:
    listed = {name: {"does": " ".join((kind.__doc__ or "").split()), "args": _args_of(kind)} for name, kind in COMMANDS.items()}
    if as_json:
        print(json.dumps(listed, ensure_ascii=False), flush=True)
        return 0
    for name, about in listed.items():
        print(" ".join([name, *about["args"]]))
        print(f"    {about['does']}")
    sys.stdout.flush()
    return 0


def _args_of(kind: type[msgspec.Struct]) -> list[str]:
    """The arguments of a command as they are written; those in brackets may be left out."""
    fields = msgspec.structs.fields(kind)
    return [f"{field.name}=..." if field.required else f"[{field.name}={json.dumps(field.default)}]" for field in fields]


def _command(arguments: argparse.Namespace) -> Command:
    """The payload. Raises UsageError for arguments that the command does not have, or values that it does not take."""
    kind = COMMANDS[arguments.name]
    given: dict[str, str] = {}
    for pair in arguments.args:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"{pair}: expected KEY=VALUE")
        if key in given:
            raise UsageError(f"{arguments.name}: {key}: expected once, found {given[key]} and {value}")
        if not value.isprintable():
            raise UsageError(f"{arguments.name}: {key}: expected text without control characters, found {value!r}")
        given[key] = value
    try:
        typed = msgspec.to_builtins(msgspec.convert(given, kind, strict=False))
    except msgspec.ValidationError as error:
        raise UsageError(f"{arguments.name}: {describe_error(error, kind)}") from error
    own_id = uuid.uuid4().hex if arguments.id is None else arguments.id
    try:
        return msgspec.convert({"id": own_id, "ttl_s": arguments.ttl, "args": {key: typed[key] for key in given}}, Command)
    except msgspec.ValidationError as error:
        raise UsageError(f"--{describe_error(error, Command)}") from error


def _broker(arguments: argparse.Namespace) -> MqttSettings:
    given = [option for option in BROKER_OPTIONS if getattr(arguments, option) is not None]
    if arguments.config is None:
        tls = None if arguments.ca_file is None else TlsSettings(ca_file=arguments.ca_file)
        own = {option: getattr(arguments, option) for option in given if option != "ca_file"}
        port = {"port": 8883} if tls is not None else {}
        try:
            return msgspec.structs.replace(msgspec.convert(port | own, MqttSettings), tls=tls)
        except msgspec.ValidationError as error:
            said = describe_error(error, MqttSettings)
            raise UsageError(f"--{said}" if said.startswith(BROKER_OPTIONS) else said) from error
    if given:
        raise UsageError(f"--config: goes without --{given[0].replace('_', '-')}")
    text = ""
    try:
        text = arguments.config.read_text(encoding="utf-8-sig")
        return msgspec.toml.decode(text, type=_FileWithBroker).mqtt
    except UnicodeDecodeError as error:
        raise UsageError(f"{arguments.config}: expected text in UTF-8") from error
    except msgspec.MsgspecError as error:
        raise UsageError(f"{arguments.config}: {describe_toml_error(error, _FileWithBroker, text)}") from error


def _with_options(message: str) -> str:
    """A message that names options in place of the keys of a settings file, where there is none."""
    return re.sub(r"\bmqtt\.(?:tls\.)?([a-z_]+)", lambda key: "--" + key[1].replace("_", "-") if key[1] in BROKER_OPTIONS else key[0], message)


def _send(settings: MqttSettings, topics: Topics, name: str, command: Command, wait_s: float) -> CommandResult:
    """Publish a command and wait for its answer. Raises MqttError, and NoAnswer where none came in time."""
    found: list[CommandResult] = []

    def attempt() -> None:
        news = threading.Event()
        connection = connect(settings, f"sortbin-cmd-{uuid.uuid4().hex[:8]}", will_topic=None, on_news=news.set, wait_s=CONNECT_S)
        with contextlib.closing(connection):
            found.append(_exchange(connection, news, topics, name, command, time.monotonic() + wait_s))

    try:
        in_time(attempt, settings, wait_s + 4 * CONNECT_S)
    except MqttError as error:
        raise NoAnswer(str(error)) from error
    return found[0]


def _exchange(connection: Connection, news: threading.Event, topics: Topics, name: str, command: Command, until_s: float) -> CommandResult:
    connection.subscribe(topics.cmd_result)
    published: int | None = None
    while connection.lost is None and (left_s := until_s - time.monotonic()) > 0:
        news.clear()
        for answer in connection.subscription_answers():
            if answer.refusal is not None:
                raise MqttError(f"the broker does not let this user read {topics.cmd_result} ({str(answer.refusal).lower()})")
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            payload = msgspec.json.encode(msgspec.structs.replace(command, sent=now))
            published = connection.publish(topics.command(name), payload, expires_s=command.ttl_s)
        for acknowledgement in connection.acknowledgements():
            if acknowledgement.message == published and acknowledgement.refusal is not None:
                raise MqttError(f"the broker does not let this user write to {topics.command(name)} ({str(acknowledgement.refusal).lower()})")
        for message in connection.inbox.take():
            with contextlib.suppress(*UNREADABLE):
                result = msgspec.json.decode(message.payload, type=CommandResult)
                if result.id == command.id:
                    return result
        news.wait(left_s)
    listens = "is it there, and does it listen (commands = true below [mqtt])? May this user command it?"
    raise MqttError(connection.lost or f"no answer on {topics.cmd_result}: {listens}")
