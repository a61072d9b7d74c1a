"""Whatever a message holds, it becomes a command or a refusal of one line."""

import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from device.events import CommandAccepted, decode, encode
from device.mqtt.inbox import Message
from device.remote import Refused
from device.remote.codec import ReadCommand, id_in, read
from device.remote.kinds import COMMANDS

NOW_S = 1_800_000_000.0
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["a", "", "x" * 65, "ü", "a b", "../x"]) | JSON,
        "ttl_s": st.sampled_from([30, 0, -1, 1e308, 10**400, "30"]) | JSON,
        "sent": st.sampled_from(["", "2027-01-15T08:00:00Z", "yesterday", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"]) | JSON,
        "args": st.fixed_dictionaries({}, optional={"bin": JSON, "label": JSON, "tray_is_empty": JSON, "path": JSON}) | JSON,
        "more": JSON,
    },
)
NAMES = st.sampled_from([*COMMANDS, "", "#", "+", "Pause", "pause ", "pa/use", "ü", "x" * 70_000, "$SYS", "..", "\x00"]) | st.text(max_size=30)


def message(payload: bytes | dict[str, Any], name: str = "pause", retained: bool = False) -> Message:
    return Message(f"sortbin/b/cmd/{name}", payload if isinstance(payload, bytes) else json.dumps(payload).encode(), retained)


def tried(sent: Message, now_s: float | None = NOW_S) -> ReadCommand | Refused:
    try:
        return read(sent, lambda: now_s)
    except Refused as refusal:
        return refusal


def code(payload: bytes | dict[str, Any], name: str = "pause", now_s: float | None = NOW_S, retained: bool = False) -> str:
    found = tried(message(payload, name, retained), now_s)
    return found.code if isinstance(found, Refused) else "accepted"


def fits(payload: bytes, name: str, retained: bool, now_s: float | None) -> None:
    found = tried(message(payload, name, retained), now_s)
    if isinstance(found, Refused):
        assert found.code in ("retained", "unknown", "malformed", "out_of_range", "expired")
        assert str(found).isprintable() and len(str(found)) < 300
        return
    assert not retained and name in COMMANDS
    assert isinstance(found.command, COMMANDS[name])
    assert 0 <= found.ttl_s <= 3600 and math.isfinite(found.ttl_s)
    event = CommandAccepted(command=name, id=found.id, args=found.args)
    assert decode(encode(event)) == event, "the ledger can store it"
    assert all(text.isprintable() for text in (found.id, *found.args.values()) if isinstance(text, str)), "and a log can show it on one line"


@settings(max_examples=300, deadline=None)
@given(payload=st.binary(max_size=200), name=NAMES, retained=st.booleans())
@example(payload=b"[" * 8000, name="pause", retained=False)
@example(payload=b'{"id":"a","args":' + b'{"a":' * 1500 + b"1" + b"}" * 1500 + b"}", name="pause", retained=False)
@example(payload=b'{"id":"\\ud800"}', name="pause", retained=False)
@example(payload=b'{"id":"a","args":{"bin":"\\ud800"}}', name="emptied", retained=False)
@example(payload=b'{"id":"a","args":{"bin":"\\u0000"}}', name="emptied", retained=False)
@example(payload=b'{"id":"a","args":{"bin":"\\u001b[2J\\nemptied"}}', name="test_gate", retained=False)
@example(payload=b'{"id":"a","args":{"label":"glass\\n"}}', name="teach", retained=False)
@example(payload=b'{"id":"a\\n"}', name="pause", retained=False)
@example(payload=b'{"id":"a","ttl_s":NaN}', name="pause", retained=False)
@example(payload=b'{"id":"a","ttl_s":1e999}', name="pause", retained=False)
@example(payload=b'{"id":"a","ttl_s":' + b"9" * 5000 + b"}", name="pause", retained=False)
@example(payload=b"\xff\xfe{}", name="pause", retained=False)
def test_any_bytes_become_a_command_or_one_line(payload: bytes, name: str, retained: bool) -> None:
    fits(payload, name, retained, NOW_S)
    assert isinstance(id_in(payload), str)


@settings(max_examples=150, deadline=None)
@given(fields=FIELDS | JSON, name=NAMES, now_s=st.none() | st.floats(0, 4e9))
def test_any_json_becomes_a_command_or_one_line(fields: Any, name: str, now_s: float | None) -> None:
    fits(json.dumps(fields).encode(), name, False, now_s)


@settings(max_examples=50, deadline=None)
@given(number=st.integers() | st.floats(), name=st.sampled_from(["emptied", "test_gate", "teach", "forget", "clear_fault"]))
def test_a_number_is_no_argument_of_these_commands(number: float, name: str) -> None:
    fits(json.dumps({"id": "a", "args": {"bin": number, "label": number, "tray_is_empty": number}}).encode(), name, False, None)
    assert code({"id": "a", "args": {"bin": number}}, name) in ("out_of_range", "malformed")


@pytest.mark.parametrize(
    ("payload", "name", "expected"),
    [
        ({"id": "a"}, "pause", "accepted"),
        ({"id": "a", "args": {"bin": "paper"}}, "emptied", "accepted"),
        ({"id": "a"}, "format_disk", "unknown"),
        ({"id": "a"}, "PAUSE", "unknown"),
        ({}, "pause", "malformed"),
        ({"id": ""}, "pause", "malformed"),
        ({"id": "a;rm -rf"}, "pause", "malformed"),
        ({"id": "a", "ttl_s": 0}, "pause", "malformed"),
        ({"id": "a", "ttl_s": 1e9}, "pause", "malformed"),
        ({"id": "a", "to": "b"}, "pause", "malformed"),
        (b"pause", "pause", "malformed"),
        (b"", "pause", "malformed"),
        ({"id": "a", "sent": "today"}, "pause", "malformed"),
        ({"id": "a", "sent": "2027-01-15T08:00:00"}, "pause", "malformed"),
        ({"id": "a", "args": {"now": True}}, "pause", "out_of_range"),
        ({"id": "a", "args": {}}, "emptied", "out_of_range"),
        ({"id": "a", "args": {"bin": 1}}, "emptied", "out_of_range"),
        ({"id": "a", "args": {"label": "../../etc/passwd"}}, "teach", "out_of_range"),
        ({"id": "a", "args": {"label": "http://x"}}, "teach", "out_of_range"),
        ({"id": "a", "args": {"label": "$(reboot)"}}, "forget", "out_of_range"),
        ({"id": "a", "args": {"label": "可回收物"}}, "teach", "accepted"),
        ({"id": "a", "args": {"label": "glass", "item": "x/../y"}}, "teach", "out_of_range"),
    ],
)
def test_each_mistake_has_its_code(payload: dict[str, Any] | bytes, name: str, expected: str) -> None:
    assert code(payload, name) == expected


def test_a_retained_command_is_refused() -> None:
    assert code({"id": "a"}, retained=True) == "retained"


@pytest.mark.parametrize(("age_s", "expected"), [(0, "accepted"), (29, "accepted"), (31, "expired"), (-59, "accepted"), (-61, "out_of_range")])
def test_a_command_holds_from_when_it_was_sent(age_s: float, expected: str) -> None:
    sent = datetime.fromtimestamp(NOW_S - age_s, UTC).isoformat()
    assert code({"id": "a", "ttl_s": 30, "sent": sent}) == expected
    assert code({"id": "a", "ttl_s": 30, "sent": sent}, now_s=None) == "accepted", "a clock that may be wrong decides nothing"


def test_no_command_takes_a_path_or_anything_but_plain_values() -> None:
    for kind in COMMANDS.values():
        for field in msgspec.structs.fields(kind):
            assert field.name not in ("path", "file", "url", "shell", "command")
            assert "str" in str(field.type) or field.type is bool


REFERENCE = (Path(__file__).parents[3] / "docs/mqtt.md").read_text(encoding="utf-8")


def test_the_docs_have_each_command_with_its_arguments() -> None:
    section = REFERENCE.partition("\n## cmd/")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*?)\|", section, re.MULTILINE)
    shown = {name: [found for found in re.findall(r"`(\w+)`", args) if found != "false"] for name, args in rows}
    assert shown == {name: [field.name for field in msgspec.structs.fields(kind)] for name, kind in COMMANDS.items()}


def test_the_docs_have_each_code() -> None:
    section = REFERENCE.partition("\n## cmd_result\n")[2].partition("\n## ")[0]
    sources = [file.read_text(encoding="utf-8") for file in (Path(__file__).parents[3] / "device/remote").glob("*.py")]
    used = {code for text in sources for code in re.findall(r'(?:Refused\(|code=)"(\w+)"', text)}
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) - {"code"} == used | {"interrupted"}
