"""Reads a command from a message. Everything in it is untrusted: whatever it holds, the outcome is a command or `Refused`."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import msgspec

from device.common.errors import describe_error
from device.mqtt.command_payloads import Command
from device.mqtt.inbox import Message
from device.remote import Refused, RemoteCommand
from device.remote.kinds import COMMANDS

EARLY_S = 60.0
"""how far in the future `sent` may lie: clocks differ"""
LONGEST_MESSAGE = 200
NAME = re.compile("[a-z_]{1,32}")
UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)
_COMMAND = msgspec.json.Decoder(Command)


class ReadCommand(NamedTuple):
    """A command as it was read. args: as they were sent; ttl_s: how long it holds from its arrival."""

    id: str
    command: RemoteCommand
    args: dict[str, str | int | float | bool]
    ttl_s: float


def name_in(topic: str) -> str:
    """The name of the command in a topic; empty where it cannot be one."""
    name = topic.rpartition("/")[2]
    return name if NAME.fullmatch(name) else ""


def id_in(payload: bytes) -> str:
    """The id in a payload, whatever else is wrong with it; empty where it cannot be read."""
    try:
        return msgspec.json.decode(payload, type=_OnlyId).id
    except UNREADABLE:
        return ""


class _OnlyId(msgspec.Struct):
    id: Command.__annotations__["id"]  # type: ignore[valid-type]


def read(message: Message, now_unix_s: Callable[[], float | None]) -> ReadCommand:
    """The command in a message. now_unix_s: the wall clock, None where it is not synchronised. Raises Refused."""
    if message.retained:
        raise Refused("retained", "came as a retained message: send it without retain, and remove it from the broker")
    kind = COMMANDS.get(name_in(message.topic))
    if kind is None:
        raise Refused("unknown", f"no such command; there are {', '.join(COMMANDS)}")
    try:
        sent = _COMMAND.decode(message.payload)
    except UNREADABLE as error:
        raise Refused("malformed", _one_line(error, Command)) from error
    try:
        command = msgspec.convert(sent.args, kind)
    except UNREADABLE as error:
        raise Refused("out_of_range", f"args: {_one_line(error, kind)}") from error
    for key, value in sent.args.items():
        if isinstance(value, str) and not value.isprintable():  # it would reach logs, terminals and databases, most of which take no NUL
            raise Refused("out_of_range", f"args: {key}: expected text without control characters")
    return ReadCommand(sent.id, command, sent.args, _left_s(sent, now_unix_s))


def _left_s(sent: Command, now_unix_s: Callable[[], float | None]) -> float:
    """Seconds for which a command still holds. Where its sender did not say when it was sent, or this clock is wrong, it was sent just now."""
    if not sent.sent:
        return sent.ttl_s
    try:
        when = datetime.fromisoformat(sent.sent)
        sent_s = when.timestamp() if when.tzinfo is not None else None
    except (ValueError, OverflowError):
        sent_s = None
    if sent_s is None:
        raise Refused("malformed", "sent: expected a time as 2026-01-31T12:00:00Z")
    now_s = now_unix_s()
    if now_s is None:
        return sent.ttl_s
    if sent_s - now_s > EARLY_S:
        raise Refused("out_of_range", f"sent: lies {sent_s - now_s:.0f} s in the future by the bin's clock, which is synchronised")
    left_s = sent_s + sent.ttl_s - now_s
    if left_s < 0:
        raise Refused("expired", f"was sent {now_s - sent_s:.0f} s ago, and held for {sent.ttl_s:g} s")
    return min(left_s, sent.ttl_s)


def _one_line(error: Exception, kind: type) -> str:
    """What is wrong, in printable letters."""
    said = describe_error(error, kind) if isinstance(error, msgspec.MsgspecError) else "expected text in UTF-8, not nested deeply"
    return "".join(letter if letter.isprintable() else "?" for letter in said)[:LONGEST_MESSAGE]
