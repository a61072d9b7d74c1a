"""The journal: whatever happens to broker and network, every event arrives in order, and once only after deduplication.

A broker without persistence forgets what it acknowledged, so whoever counts has to be there first: after each restart the road from the
device to the broker opens when the consumer has subscribed again.
"""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from device.common.clock import Clock
from device.events import AnyEvent, Fault
from device.ledger.ledger import Ledger
from device.mqtt.outbox import IN_FLIGHT
from device.mqtt.reconnecting_link import Link
from device.mqtt.settings import MqttSettings

pytestmark = pytest.mark.slow

MANY = 60


def record(ledger: Ledger, n: int) -> "list[Future[AnyEvent]]":
    return [ledger.record(Fault(fault="camera", message=f"no frame ({i})")) for i in range(n)]


def stored(recorded: "list[Future[AnyEvent]]") -> list[int]:
    return [event.result(20).seq for event in recorded]


def first_times(journal: list[dict[str, Any]]) -> list[int]:
    """Sequence numbers as a consumer gets them that deduplicates on (device, install, seq)."""
    return [seq for _, _, seq in dict.fromkeys((event["device"], event["install"], event["seq"]) for event in journal)]


def heard_by(consumers: list[Any]) -> list[dict[str, Any]]:
    return [event for consumer in consumers for event in consumer.payloads("journal")]


def wait_for_all(consumers: list[Any], seqs: list[int]) -> None:
    earlier = {event["seq"] for event in heard_by(consumers[:-1])}
    consumers[-1].wait_for("journal", lambda heard: {event["seq"] for event in heard} | earlier >= set(seqs))


def wait_until_acknowledged(ledger: Ledger, link: Link) -> None:
    assert link.stop(20)
    assert ledger.undelivered == 0
    assert ledger.outbox(0, 1) == []


def test_events_of_an_outage_arrive_once_the_broker_is_back(
    broker: Any, ledger: Ledger, connect: Callable[..., Link], subscribe: Callable[[int], Any], road: Callable[[int], Any]
) -> None:
    to_broker = road(broker.port)
    consumers = [subscribe(broker.port)]
    link = connect(to_broker.port)
    seqs = stored(record(ledger, MANY))
    for _ in range(2):
        wait_for_all(consumers, seqs)
        to_broker.shut()
        broker.kill()
        seqs += stored(record(ledger, MANY))
        broker.start()
        consumers.append(subscribe(broker.port))
        to_broker.open()
        seqs += stored(record(ledger, MANY))
    wait_for_all(consumers, seqs)
    wait_until_acknowledged(ledger, link)
    assert first_times(heard_by(consumers)) == seqs == list(range(1, 5 * MANY + 1))


def test_a_killed_broker_loses_no_event(
    mosquitto: Callable[..., Any], ledger: Ledger, connect: Callable[..., Link], subscribe: Callable[[int], Any], road: Callable[[int], Any]
) -> None:
    # Mosquitto forwards a message before it acknowledges it; with QoS 0 to the consumer nothing is left in it.
    broker = mosquitto()
    broker.start()
    to_broker = road(broker.port)
    consumers = [subscribe(broker.port)]
    link = connect(to_broker.port)
    recorded: list[Future[AnyEvent]] = []
    for kill_after in (1, 17, 45):
        recorded += record(ledger, MANY)
        consumers[-1].wait_for("journal", lambda heard, enough=kill_after: len(heard) >= enough)
        broker.kill()
        to_broker.shut()
        recorded += record(ledger, MANY)
        broker.start()
        consumers.append(subscribe(broker.port))
        to_broker.open()
    seqs = stored(recorded)
    wait_for_all(consumers, seqs)
    wait_until_acknowledged(ledger, link)
    assert first_times(heard_by(consumers)) == seqs


@pytest.mark.parametrize("cut_after", [1, 7, 30])
def test_a_broken_network_loses_no_event(
    broker: Any,
    ledger: Ledger,
    connect: Callable[..., Link],
    subscribe: Callable[[int], Any],
    road: Callable[[int], Any],
    cut_after: int,
) -> None:
    to_broker = road(broker.port)
    consumer = subscribe(broker.port)
    link = connect(to_broker.port)
    recorded = record(ledger, MANY)
    consumer.wait_for("journal", lambda heard: len(heard) >= cut_after)
    to_broker.shut()
    recorded += record(ledger, MANY)
    to_broker.open()
    seqs = stored(recorded)
    wait_for_all([consumer], seqs)
    wait_until_acknowledged(ledger, link)
    assert first_times(consumer.payloads("journal")) == seqs


def test_events_of_an_earlier_run_are_published_on_journal_only(broker: Any, version: Any, tmp_path: Path, subscribe: Callable[[int], Any]) -> None:
    before = Ledger(tmp_path / "restarted", "bin1", Clock())
    seqs = stored(record(before, MANY))
    assert before.close(20)
    consumer = subscribe(broker.port)
    ledger = Ledger(tmp_path / "restarted", "bin1", Clock())
    link = Link(MqttSettings(host="127.0.0.1", port=broker.port, version=version), "bin1", ledger)
    wait_for_all([consumer], seqs)
    wait_until_acknowledged(ledger, link)
    assert ledger.close(20)
    assert first_times(consumer.payloads("journal")) == seqs
    assert consumer.payloads("event") == []


def test_a_frozen_broker_loses_no_event(mosquitto: Callable[..., Any], ledger: Ledger, connect: Callable[..., Link], subscribe: Any) -> None:
    broker = mosquitto()
    broker.start()
    consumer = subscribe(broker.port, "collector")
    link = connect(broker.port)
    recorded = record(ledger, MANY)
    consumer.wait_for("journal", lambda heard: len(heard) >= 7)
    broker.freeze(True)
    recorded += record(ledger, MANY)
    seqs = stored(recorded)
    assert ledger.undelivered > 0
    broker.freeze(False)
    seqs += stored(record(ledger, MANY))
    wait_for_all([consumer], seqs)
    wait_until_acknowledged(ledger, link)
    assert first_times(consumer.payloads("journal")) == seqs


def test_a_slow_network_that_breaks_loses_no_event(
    mosquitto: Callable[..., Any], ledger: Ledger, connect: Callable[..., Link], subscribe: Any, road: Callable[[int], Any]
) -> None:
    broker = mosquitto()
    broker.start()
    to_broker = road(broker.port)
    to_broker.slow = True
    consumer = subscribe(broker.port, "collector")
    link = connect(to_broker.port)
    seqs = stored(record(ledger, 2 * MANY))
    consumer.wait_for("journal", lambda heard: len(heard) >= 30)
    assert ledger.undelivered > 0
    to_broker.shut()
    seqs += stored(record(ledger, MANY))
    to_broker.open()
    wait_for_all([consumer], seqs)
    wait_until_acknowledged(ledger, link)
    assert first_times(consumer.payloads("journal")) == seqs


def test_a_broker_that_forbids_for_a_while_loses_no_event(
    mosquitto: Callable[..., Any],
    tmp_path: Path,
    ledger: Ledger,
    connect: Callable[..., Link],
    subscribe: Any,
    link_log: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("device.mqtt.outbox.REFUSED_S", 0.1)
    acl = tmp_path / "acl"
    acl.touch(0o600)
    acl.write_text("topic read #\ntopic write sortbin/#\n")
    broker = mosquitto("allow_anonymous true", f"acl_file {acl}")
    broker.start()
    consumer = subscribe(broker.port, "collector")
    link = connect(broker.port)
    recorded = record(ledger, MANY)
    consumer.wait_for("journal", lambda heard: len(heard) >= 7)
    acl.write_text("topic read #\n")
    broker.reload()
    while "journal" not in link.refused:
        recorded += record(ledger, 5)
        stored(recorded[-5:])
    acl.write_text("topic read #\ntopic write sortbin/#\n")
    broker.reload()
    seqs = stored(recorded + record(ledger, MANY))
    wait_for_all([consumer], seqs)
    wait_until_acknowledged(ledger, link)
    arrived = first_times(consumer.payloads("journal"))
    assert sorted(arrived) == seqs
    # docs/mqtt.md: up to IN_FLIGHT events may overtake those that were refused.
    assert all(sum(later < seq for later in arrived[at:]) <= IN_FLIGHT for at, seq in enumerate(arrived))
