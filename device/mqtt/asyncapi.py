"""An AsyncAPI 3.0 document of all topics: https://www.asyncapi.com/docs/reference/specification/v3.0.0"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from device import __version__
from device.mqtt.schemas import ARGUMENTS, TITLES, description

JSON_SCHEMA = "application/schema+json;version=draft-2020-12"


class Channel(NamedTuple):
    """One topic below `<base>/<device>/`. action: what the bin does with it. payload: name of a schema, or what it is where it is no JSON."""

    topic: str
    action: Literal["send", "receive"]
    retained: bool
    payload: str
    summary: str
    content_type: str = "application/json"


CHANNELS = {
    "availability": Channel("availability", "send", True, "online or offline", "Whether the bin is connected; also its will.", "text/plain"),
    "info": Channel("info", "send", True, "info", "What this bin is: at a start, or with another model."),
    "state": Channel("state", "send", True, "state", "What it is doing: on change, at most once a second."),
    "bin": Channel("bin/{bin}", "send", True, "bin", "How full one bin is, and what went into it: on change."),
    "health": Channel("health", "send", True, "health", "How the device itself is: every 60 s, and when a fault begins or ends."),
    "event": Channel("event", "send", False, "event", "Each event as it happens, never again."),
    "journal": Channel("journal", "send", False, "event", "Every event in order, at least once."),
    "image": Channel("image/last", "send", True, "a JPEG", "What the camera saw, where the settings allow it.", "image/jpeg"),
    "cmd_result": Channel("cmd_result", "send", False, "cmd_result", "What became of a command."),
}
PARAMETERS = {
    "base": {"description": "first part of every topic, [mqtt] base of the settings; may have several levels", "default": "sortbin"},
    "device": {"description": "id of the bin, [device] id of the settings"},
    "bin": {"description": "name of a bin of the rule pack"},
}


def command_channels(commands: Mapping[str, type[msgspec.Struct]]) -> dict[str, Channel]:
    """A channel for each command, since each has `args` of its own."""
    return {f"cmd_{name}": Channel(f"cmd/{name}", "receive", False, "cmd", description(kind)) for name, kind in commands.items()}


def document(commands: Mapping[str, type[msgspec.Struct]]) -> dict[str, Any]:
    """The document. Its payloads are references to the schema files beside it. commands: the struct with the `args` of each by its name."""
    channels = {name: _channel(name, channel, _file(channel.payload)) for name, channel in CHANNELS.items()}
    heard = command_channels(commands)
    for (name, channel), kind in zip(heard.items(), commands.values(), strict=True):
        channels[name] = _channel(name, channel, _command(kind))
    operations = {f"{channel.action}_{name}": _operation(name, channel) for name, channel in (CHANNELS | heard).items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sortbin",
            "version": __version__,
            "description": "What a bin that sorts by itself says and hears over MQTT. Later versions may add fields: ignore what you do not know.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
    }


def _file(name: str) -> dict[str, Any]:
    return {"$ref": f"./{name}.json"}


def _command(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Any command, with the `args` of this one."""
    typed: dict[str, Any] = {"properties": {"args": {"$ref": f"./{ARGUMENTS}.json#/$defs/{kind.__name__}"}}}
    needs_args = any(field.required for field in msgspec.structs.fields(kind))
    return {"allOf": [_file("cmd"), typed | ({"required": ["args"]} if needs_args else {})]}


def _channel(name: str, channel: Channel, schema: dict[str, Any]) -> dict[str, Any]:
    payload: Any = {"schemaFormat": JSON_SCHEMA, "schema": schema} if channel.payload in TITLES else _bytes(channel)
    address = f"{{base}}/{{device}}/{channel.topic}"
    return {
        "address": address,
        "description": channel.summary,
        "parameters": {key: value for key, value in PARAMETERS.items() if f"{{{key}}}" in address},
        "messages": {name: {"name": name, "contentType": channel.content_type, "payload": payload}},
    }


def _bytes(channel: Channel) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": "string", "description": channel.payload}
    return kind | ({"enum": ["online", "offline"]} if channel.content_type == "text/plain" else {})


def _operation(name: str, channel: Channel) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "action": channel.action,
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": channel.summary,
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        "bindings": {"mqtt": {"qos": 1, "retain": channel.retained, "bindingVersion": "0.2.0"}},
    }
    if channel.action == "receive":
        operation["reply"] = {"channel": {"$ref": "#/channels/cmd_result"}, "messages": [{"$ref": "#/channels/cmd_result/messages/cmd_result"}]}
    return operation
