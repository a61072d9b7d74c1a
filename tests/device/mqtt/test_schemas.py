"""The schemas in `docs/schemas/` are what the code makes, what a demo publishes fits them, and what is wrong does not."""

import copy
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from device.cli import main
from device.mqtt.schemas import ARGUMENTS, READ, WRITTEN, event_types
from device.mqtt.topics import Topics
from device.remote.kinds import COMMANDS
from device.vision.inference.bundle import Bundle
from device.vision.inference.preprocess import Pixels
from tests.device.mqtt.test_payloads import EXAMPLES

FOLDER = Path(__file__).parents[3] / "docs" / "schemas"
SCHEMAS = {name: json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")) for name in (*WRITTEN, *READ, ARGUMENTS)}
WRONG: Any = [{"no": "such"}]


def schema_of(name: str) -> str:
    """The schema of a topic, such as `bin/paper`."""
    first = name.partition("/")[0]
    return "event" if first == "journal" else first


def valid(name: str, payload: Any) -> bool:
    return bool(Draft202012Validator(SCHEMAS[schema_of(name)]).is_valid(payload))


def test_the_files_are_what_the_command_writes(tmp_path: Path) -> None:
    assert main(["schema", "--out", str(tmp_path)]) == 0
    made = {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()}
    kept = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.iterdir()}
    assert made == kept, "write them anew: sortbin schema --out docs/schemas"


def test_one_schema_or_the_list_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "state"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMAS["state"]
    assert main(["schema"]) == 0
    assert capsys.readouterr().out.split() == list(SCHEMAS)
    assert main(["schema", "states"]) == 2
    assert capsys.readouterr().err == f"sortbin schema: states: expected one of {', '.join(SCHEMAS)}\n"


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_type_and_field_is_described(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    for title, definition in SCHEMAS[name]["$defs"].items():
        assert definition["description"], title
        without = [key for key, field in definition["properties"].items() if not field.get("description")]
        assert not without, f"{title}: no docstring under {without}"


def test_the_type_of_each_event_is_required() -> None:
    definitions = SCHEMAS["event"]["$defs"].values()
    assert {definition["properties"]["type"]["enum"][0] for definition in definitions} == set(event_types())
    assert all({"type", "device", "seq", "time"} <= set(definition["required"]) for definition in definitions)


@pytest.mark.parametrize(("topic", "example"), [each for each in EXAMPLES if each[0] != "cmd"])
def test_an_example_fits_until_one_of_its_fields_is_wrong_or_missing(topic: str, example: str) -> None:
    payload = json.loads(example)
    assert valid(topic, payload)
    for broken in one_field_wrong(payload):
        assert not valid(topic, broken), broken
    missing = [key for key in payload if valid(topic, {other: value for other, value in payload.items() if other != key})]
    assert set(missing) <= {"install", "isolated", "not_isolated", "unknown", "pieces", "p_right"}, "only events of earlier versions lack these"
    assert valid(topic, payload | {"of_a_later_version": 1}), "later versions may add fields"


def one_field_wrong(payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for key in payload:
        broken = copy.deepcopy(payload)
        broken[key] = WRONG
        yield broken


@pytest.mark.parametrize(
    ("command", "fits"),
    [
        ({"id": "a-1"}, True),
        ({"id": "a-1", "ttl_s": 5, "args": {"bin": "paper"}}, True),
        ({}, False),
        ({"id": ""}, False),
        ({"id": "a b"}, False),
        ({"id": "a", "ttl_s": 0}, False),
        ({"id": "a", "args": []}, False),
        ({"id": "a", "shell": "ls"}, False),
    ],
)
def test_a_command_fits_or_not(command: dict[str, Any], fits: bool) -> None:
    assert valid("cmd", command) is fits


@pytest.mark.parametrize(
    ("args", "fits"),
    [
        ({"emptied": {"bin": "paper"}, "pause": {}, "set_paused": {"paused": True}}, True),
        ({"emptied": {}}, False),
        ({"emptied": {"bin": 3}}, False),
        ({"pause": {"bin": "paper"}}, False),
        ({"dance": {}}, False),
    ],
)
def test_the_args_of_a_command_fit_or_not(args: dict[str, Any], fits: bool) -> None:
    assert valid(ARGUMENTS, args) is fits


def test_all_that_a_demo_publishes_fits(
    mosquitto: Any, subscribe: Callable[[int], Any], tiny_bundle: Bundle, tmp_path: Path, painted: Callable[..., Pixels]
) -> None:
    broker = mosquitto()
    broker.start()
    for name, label in (("glass", "glass"), ("grey", "")):
        cv2.imwrite(str(tmp_path / f"{name}.png"), cv2.cvtColor(painted(label, 48, 64), cv2.COLOR_RGB2BGR))
    listener = subscribe(broker.port)
    asked = ["--items", "2", "--images", str(tmp_path), "--bundle", str(tiny_bundle.folder), "--broker", f"mqtt://127.0.0.1:{broker.port}"]
    assert main(["demo", *asked]) == 0
    listener.wait_for("availability", lambda heard: heard[-1] == "offline")
    topics = Topics("demo")
    heard = [(topics.name_of(message.topic), message.payload) for message in listener.heard]
    said = [(name, json.loads(payload)) for name, payload in heard if name != "availability"]
    wrong = [(name, error.message) for name, payload in said for error in Draft202012Validator(SCHEMAS[schema_of(name)]).iter_errors(payload)]
    assert not wrong
    assert {schema_of(name) for name, _ in said} == {"info", "state", "bin", "health", "event"}
    assert {payload["type"] for name, payload in said if name == "journal"} >= {"started", "item_sorted", "item_rejected"}


def test_the_asyncapi_document_fits_the_schema_of_its_standard() -> None:
    """By the schema of AsyncAPI 3.0.0 (github.com/asyncapi/spec-json-schemas, Apache-2.0), kept beside this test."""
    standard = json.loads(gzip.decompress((Path(__file__).parent / "asyncapi-3.0.0.json.gz").read_bytes()))
    document = json.loads((FOLDER / "asyncapi.json").read_text(encoding="utf-8"))
    judge = Draft7Validator(standard)
    assert [error.message for error in judge.iter_errors(document)] == []
    document["operations"]["send_state"]["action"] = "shout"
    assert not judge.is_valid(document)


def references(part: Any) -> Iterator[str]:
    """Each reference to another file."""
    if isinstance(part, dict):
        yield from (value for key, value in part.items() if key == "$ref" and value.startswith("./"))
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from references(each)


def test_the_asyncapi_document_has_every_topic_and_its_schema_file() -> None:
    topics = Topics("d", "b")
    named = {topics.availability, topics.info, topics.state, topics.health, topics.event, topics.journal, topics.bin("x"), topics.cmd_result}
    named |= {topics.image, *map(topics.command, COMMANDS)}
    document = json.loads((FOLDER / "asyncapi.json").read_text(encoding="utf-8"))
    addresses = [channel["address"].format(base="b", device="d", bin="x") for channel in document["channels"].values()]
    assert len(addresses) == len(named) and set(addresses) == named
    assert {(FOLDER / file.partition("#")[0]).resolve().stem for file in references(document)} == set(SCHEMAS)


@pytest.mark.parametrize(
    ("command", "payload", "fits"),
    [
        ("emptied", {"id": "a", "args": {"bin": "paper"}}, True),
        ("emptied", {"id": "a", "args": {}}, False),
        ("emptied", {"id": "a"}, False),
        ("emptied", {"args": {"bin": "paper"}}, False),
        ("pause", {"id": "a"}, True),
        ("pause", {"id": "a", "args": {"bin": "paper"}}, False),
    ],
)
def test_the_channel_of_a_command_knows_its_args(command: str, payload: dict[str, Any], fits: bool) -> None:
    document = json.loads((FOLDER / "asyncapi.json").read_text(encoding="utf-8"))
    schema = document["channels"][f"cmd_{command}"]["messages"][f"cmd_{command}"]["payload"]["schema"]
    files = Registry().with_resources((f"http://files/{name}.json", DRAFT202012.create_resource(each)) for name, each in SCHEMAS.items())
    judge = Draft202012Validator({"$id": "http://files/asyncapi.json"} | schema, registry=files)
    assert judge.is_valid(payload) is fits
