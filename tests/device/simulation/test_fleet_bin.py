"""The life of a simulated bin: the same by the same seed, in the payloads of the device, with everything that happens to bins."""

import itertools
import re
from collections import Counter
from typing import Any

import msgspec
import pytest

from device.events import AnyEvent, BinEmptied, ItemInterrupted, ItemRejected, ItemSorted, Jam, decode
from device.mqtt.command_payloads import CommandResult
from device.mqtt.payloads import BinState, Health, Info, State
from device.policy.rules import default_rules, read_rules
from device.simulation.fleet_bin import BinPlan, FleetBin, FleetMessage, Step
from device.simulation.fleet_payloads import FleetModel
from device.vision.inference.bundle import default_bundle, read_bundle

BEGIN_S = 1767603600.0
TYPES: dict[str, Any] = {"info": Info, "state": State, "bin": BinState, "health": Health, "event": AnyEvent, "journal": AnyEvent}


@pytest.fixture(scope="module")
def model() -> FleetModel:
    bundle = read_bundle(default_bundle()).info
    return FleetModel(bundle, read_rules(default_rules(), bundle.labels))


def bin_(model: FleetModel, number: int = 1, begin_s: float = BEGIN_S) -> FleetBin:
    return FleetBin(BinPlan(f"sim-{number:05d}", f"7 {number}", 0.2, begin_s, commands=True), model)


def steps(model: FleetModel, n: int, number: int = 1, begin_s: float = BEGIN_S) -> list[Step]:
    return list(itertools.islice(bin_(model, number, begin_s).live(), n))


def journal(lived: list[Step]) -> list[AnyEvent]:
    return [decode(message.payload) for step in lived for message in step.messages if message.name == "journal"]


@pytest.fixture(scope="module")
def many(model: FleetModel) -> dict[int, list[Step]]:
    return {number: steps(model, 2000, number) for number in range(1, 9)}


def test_the_same_seed_gives_the_same_steps(model: FleetModel) -> None:
    assert steps(model, 300) == steps(model, 300)
    assert steps(model, 300) != steps(model, 300, number=2)


def test_another_beginning_changes_the_wall_time_alone(model: FleetModel) -> None:
    def without_times(begin_s: float) -> list[bytes]:
        payloads = (message.payload for step in steps(model, 300, begin_s=begin_s) for message in step.messages)
        return [re.sub(rb'"\d{4}-\d\d-\d\dT[0-9:.]+Z"', b"", payload) for payload in payloads]

    assert without_times(BEGIN_S) == without_times(BEGIN_S + 10 * 86400)


def test_every_payload_is_one_of_the_device(many: dict[int, list[Step]]) -> None:
    messages = {message.name: message for step in many[1] for message in step.messages}
    assert {name.partition("/")[0] for name in messages} == {*TYPES, "availability"}
    for name, message in messages.items():
        if name != "availability":
            msgspec.json.decode(message.payload, type=TYPES[name.partition("/")[0]])
        assert message.retain == (name not in ("event", "journal"))


def test_all_that_happens_to_bins_happens(many: dict[int, list[Step]]) -> None:
    events = [event for lived in many.values() for event in journal(lived)]
    types = Counter(event.__struct_config__.tag for event in events)
    assert set(types) >= {
        "started",
        "item_sorted",
        "item_rejected",
        "item_interrupted",
        "jam",
        "fault",
        "cleared",
        "drift",
        "bin_full",
        "bin_emptied",
    }
    assert {event.reason for event in events if isinstance(event, ItemRejected)} == {"unsure", "unknown", "several", "full"}
    assert {event.clock for event in events} == {"synced", "unsynced"}
    assert {step.link for lived in many.values() for step in lived} == {"", "up", "left", "cut"}
    assert max(Counter(event.boot for event in events if isinstance(event, ItemSorted)).values()) > 100


def test_numbers_rise_with_gaps_and_events_of_an_outage_come_late(many: dict[int, list[Step]]) -> None:
    gaps = 0
    for lived in many.values():
        seqs = [event.seq for event in journal(lived)]
        assert seqs == sorted(set(seqs))
        gaps += seqs[-1] - len(seqs)
        live = {decode(message.payload).seq for step in lived for message in step.messages if message.name == "event"}
        assert live < set(seqs) or live == set(seqs)
    assert gaps > 0
    assert any(len(journal([step])) > 5 for lived in many.values() for step in lived if step.link == "up")


def test_the_last_state_agrees_with_the_journal(many: dict[int, list[Step]]) -> None:
    for lived in many.values():
        at = max(number for number, step in enumerate(lived) if step.link == "up")
        last = next(message for message in lived[at].messages if message.name == "state")
        state = msgspec.json.decode(last.payload, type=State)
        before = journal(lived[: at + 1])
        counted = Counter((event.bin, type(event)) for event in before if isinstance(event, ItemSorted | ItemRejected | ItemInterrupted | Jam))
        for name, totals in state.totals.items():
            told = (totals.sorted, totals.rejected, totals.interrupted, totals.jams)
            assert told == tuple(counted[name, kind] for kind in (ItemSorted, ItemRejected, ItemInterrupted, Jam))


def test_probabilities_sum_to_one(many: dict[int, list[Step]]) -> None:
    for event in journal(many[1]):
        if isinstance(event, ItemSorted | ItemRejected):
            assert sum(event.probabilities.values()) == pytest.approx(1, abs=2e-6)
            assert event.p == max(event.probabilities.values())


def test_more_happens_in_the_afternoon_than_at_night(model: FleetModel) -> None:
    plan = BinPlan("sim-00001", "3", 0.01, BEGIN_S // 86400 * 86400)
    lived = itertools.takewhile(lambda step: step.at_s < 4 * 86400, FleetBin(plan, model).live())
    hours = [step.at_s / 3600 % 24 for step in lived if any(message.name == "event" for message in step.messages)]
    assert sum(12 <= hour < 18 for hour in hours) > 3 * sum(hour < 6 for hour in hours)


def test_a_bin_is_emptied_by_a_command(model: FleetModel) -> None:
    one = bin_(model)
    list(itertools.islice(one.live(), 200))
    accepted, _, emptied, *_, answer = one.command("emptied", b'{"id":"a1","args":{"bin":"paper"}}')
    assert decode(accepted.payload).seq + 1 == decode(one.command("identify", b'{"id":"a2"}')[0].payload).seq - 1
    event = decode(emptied.payload)
    assert isinstance(event, BinEmptied) and (event.bin, event.by) == ("paper", "command")
    assert msgspec.json.decode(answer.payload, type=CommandResult).code == "done"


@pytest.mark.parametrize(
    ("name", "payload", "code"), [("fly", b'{"id":"a"}', "unknown"), ("emptied", b'{"id":"a"}', "unknown"), ("emptied", b"[", None)]
)
def test_what_is_no_command_has_no_effect(model: FleetModel, name: str, payload: bytes, code: str | None) -> None:
    one = bin_(model)
    messages: tuple[FleetMessage, ...] = one.command(name, payload)
    assert [msgspec.json.decode(message.payload, type=CommandResult).code for message in messages] == ([] if code is None else [code])
