import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from device.events import AnyEvent, Drift, Fault, ItemInterrupted, ItemRejected, ItemSorted
from device.mqtt.command_payloads import Command, CommandResult
from device.mqtt.payloads import BinState, FaultState, Health, Info, LastItem, Mode, State, fault_state, last_item
from device.mqtt.topics import Topics
from device.policy.decision import Reason
from device.sorting import faults as failure
from device.sorting.sorter import Mode as SorterMode

REFERENCE = (Path(__file__).parents[3] / "docs" / "mqtt.md").read_text(encoding="utf-8")
TYPES: dict[str, Any] = {
    "info": Info,
    "state": State,
    "bin": BinState,
    "health": Health,
    "event": AnyEvent,
    "journal": AnyEvent,
    "cmd": Command,
    "cmd_result": CommandResult,
}
EXAMPLES = re.findall(r"^sortbin/demo/(\w+)\S* (\{.*\})$", REFERENCE, re.MULTILINE)
ITEM = {"item": "a", "bin": "paper", "label": "paper", "p": 0.9, "probabilities": {"paper": 1.0}, "frames": 1, "bundle": "b"}


def test_the_docs_show_an_example_of_every_topic_and_event() -> None:
    assert {topic for topic, _ in EXAMPLES} == set(TYPES)
    shown = {json.loads(example)["type"] for topic, example in EXAMPLES if topic in ("event", "journal")}
    assert shown == {kind.__struct_config__.tag for kind in get_args(AnyEvent)}
    named = {getattr(Topics("demo"), topic) for topic in ("availability", *TYPES) if topic not in ("bin", "cmd")}
    assert named <= set(re.findall(r"sortbin/demo/\w+", REFERENCE))


@pytest.mark.parametrize(("topic", "example"), EXAMPLES)
def test_each_example_in_the_docs_fits_its_type(topic: str, example: str) -> None:
    decoded = msgspec.json.decode(example, type=TYPES[topic])
    assert msgspec.json.encode(decoded).decode() == example


@pytest.mark.parametrize(
    ("heading", "field", "written"),
    [
        ("## state", "mode", Mode),
        ("### item_rejected", "reason", ItemRejected.__annotations__["reason"]),
        ("### item_interrupted", "reason", ItemInterrupted.__annotations__["reason"]),
        ("### fault", "fault", Fault.__annotations__["fault"]),
        ("### drift", "signal", Drift.__annotations__["signal"]),
    ],
)
def test_the_docs_list_the_values_of_each_field(heading: str, field: str, written: Any) -> None:
    section = REFERENCE.partition(f"\n{heading}\n")[2].partition("\n#")[0]
    listed = re.search(rf"`{field}`(?: is|:) ([^.;]*)[.;]", section)
    assert listed is not None
    assert re.findall(r"`(\w+)`", listed[1]) == list(get_args(written))


def test_modes_of_the_sorter_and_the_payload_agree() -> None:
    assert set(get_args(SorterMode)) == set(get_args(Mode))
    assert set(get_args(Reason)) - {"confident"} == set(get_args(ItemRejected.__annotations__["reason"]))
    assert get_args(failure.FaultName) == get_args(Fault.__annotations__["fault"])


def test_last_item_has_the_reason_of_a_rejection() -> None:
    rejected = ItemRejected(**ITEM, decided_s=0.1, moved_s=0.1, reason="unknown", time="t")
    accepted = ItemSorted(**ITEM, decided_s=0.1, moved_s=0.1, time="t")
    assert last_item(rejected) == LastItem(item="a", bin="paper", label="paper", p=0.9, reason="unknown", time="t")
    assert last_item(accepted).reason is None


def test_the_state_has_name_message_and_beginning_of_a_fault() -> None:
    assert fault_state(Fault(fault="camera", message="no frame"), "t") == FaultState(fault="camera", message="no frame", since="t")
