import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.common.clock import Clock
from device.events import Fault, decode
from device.ledger.ledger import Ledger
from device.mqtt.outbox import IN_FLIGHT, PAUSE_S, REFUSED_S, Outbox


class Wire:
    """Stands in for the connection: what was published, by message number."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    def publish(self, payload: bytes) -> int:
        self.sent.append(decode(payload).seq)
        return len(self.sent)

    def message(self, seq: int) -> int:
        return len(self.sent) - self.sent[::-1].index(seq)


def fill(ledger: Ledger, n: int) -> None:
    for future in [ledger.record(Fault(fault="camera", message="no frame")) for _ in range(n)]:
        future.result(20)


def test_at_most_twenty_events_are_in_flight(ledger: Ledger) -> None:
    fill(ledger, 50)
    wire = Wire()
    outbox = Outbox(ledger, wire.publish)
    outbox.publish_next()
    outbox.publish_next()
    assert wire.sent == list(range(1, IN_FLIGHT + 1))
    outbox.acknowledged([wire.message(7)])
    outbox.publish_next()
    assert wire.sent == list(range(1, IN_FLIGHT + 2))
    assert ledger.undelivered == 49
    assert not outbox.empty


def test_the_next_connection_begins_at_the_oldest_unacknowledged_event(ledger: Ledger) -> None:
    fill(ledger, 5)
    first, second = Wire(), Wire()
    outbox = Outbox(ledger, first.publish)
    outbox.publish_next()
    outbox.acknowledged([first.message(1), first.message(3)])
    Outbox(ledger, second.publish).publish_next()
    assert second.sent == [2, 4, 5]


def test_acknowledgements_of_other_topics_are_ignored(ledger: Ledger) -> None:
    fill(ledger, 1)
    wire = Wire()
    outbox = Outbox(ledger, wire.publish)
    outbox.acknowledged([1, 99])
    outbox.publish_next()
    outbox.acknowledged([99])
    assert ledger.undelivered == 1


def test_an_unreadable_ledger_is_tried_again_after_a_pause(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    fill(ledger, 3)
    now_s, wire = [0.0], Wire()
    outbox = Outbox(ledger, wire.publish, now_s=lambda: now_s[0])
    db = sqlite3.connect(ledger.file, isolation_level=None)
    db.execute("ALTER TABLE outbox RENAME TO hidden")
    outbox.publish_next()
    assert "the journal pauses" in caplog.text
    db.execute("ALTER TABLE hidden RENAME TO outbox")
    db.close()
    outbox.publish_next()
    assert wire.sent == []
    assert not outbox.empty
    now_s[0] = PAUSE_S
    outbox.publish_next()
    assert wire.sent == [1, 2, 3]


@settings(max_examples=15)
@given(
    st.lists(
        st.sampled_from(["record", "feed", "acknowledge first", "acknowledge last", "refuse first", "refuse last", "rest", "reconnect"]), max_size=40
    )
)
def test_each_connection_gets_unacknowledged_events_in_order(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("state"), "bin1", Clock())
    wires, now_s = [Wire()], [0.0]
    outbox = Outbox(ledger, wires[-1].publish, now_s=lambda: now_s[0])
    delivered: set[int] = set()
    under_way: list[int] = []
    for step in [*steps, "reconnect", "feed"]:
        if step == "record":
            fill(ledger, 7)
        elif step == "feed":
            before = len(wires[-1].sent)
            outbox.publish_next()
            fresh = wires[-1].sent[before:]
            assert not delivered & set(fresh)
            under_way += fresh
            assert len(under_way) <= IN_FLIGHT
        elif step == "reconnect":
            wires.append(Wire())
            outbox, under_way = Outbox(ledger, wires[-1].publish, now_s=lambda: now_s[0]), []
        elif step == "rest":
            now_s[0] += REFUSED_S
        elif under_way:
            seq = under_way.pop(0 if step.endswith("first") else -1)
            if step.startswith("refuse"):
                outbox.refused([wires[-1].message(seq)])
            else:
                outbox.acknowledged([wires[-1].message(seq)])
                delivered.add(seq)
    left = [seq for seq in range(1, ledger.newest_seq + 1) if seq not in delivered]
    assert wires[-1].sent == left[:IN_FLIGHT]
    if not any(step.startswith("refuse") for step in steps):
        assert all(wire.sent == sorted(set(wire.sent)) for wire in wires)
    assert ledger.undelivered == len(left)
    ledger.close(20)


def test_after_a_refusal_the_oldest_event_is_published_alone(ledger: Ledger) -> None:
    fill(ledger, 30)
    now_s, wire = [0.0], Wire()
    outbox = Outbox(ledger, wire.publish, now_s=lambda: now_s[0])
    outbox.publish_next()
    outbox.refused([wire.message(seq) for seq in range(1, 16)])
    outbox.acknowledged([wire.message(16)])
    outbox.publish_next()
    assert outbox.paused
    assert wire.sent == list(range(1, 21))
    now_s[0] = REFUSED_S
    outbox.publish_next()
    assert wire.sent[20:] == [], "the other four have no answer yet"
    outbox.acknowledged([wire.message(seq) for seq in range(17, 21)])
    outbox.publish_next()
    assert wire.sent[20:] == [1]
    outbox.acknowledged([wire.message(1)])
    outbox.publish_next()
    assert wire.sent[21:] == [*range(2, 16), *range(21, 27)]
    assert ledger.undelivered == 30 - 6


def test_an_event_refused_again_holds_the_others_back(ledger: Ledger) -> None:
    fill(ledger, 5)
    now_s, wire = [0.0], Wire()
    outbox = Outbox(ledger, wire.publish, now_s=lambda: now_s[0])
    for turn in range(3):
        now_s[0] = turn * REFUSED_S
        outbox.publish_next()
        outbox.refused(range(len(wire.sent) + 1))
    assert wire.sent == [1, 2, 3, 4, 5, 1, 1]
    assert ledger.undelivered == 5
