import itertools
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from device.mqtt.payloads import BinState
from device.mqtt.retained import Retained


def full(items: int) -> BinState:
    return BinState(fill_percent=None, full=False, items=items, hazards=0)


def numbers(due: list[tuple[str, bytes]]) -> list[tuple[str, int]]:
    return [(topic, msgspec.json.decode(payload, type=BinState).items) for topic, payload in due]


def test_a_newer_value_replaces_an_unsent_one() -> None:
    retained = Retained()
    retained.put("a", full(1))
    retained.put("a", full(2))
    assert numbers(retained.due(0.0)) == [("a", 2)]


def test_the_same_value_is_sent_once() -> None:
    retained = Retained()
    retained.put("a", full(1))
    assert numbers(retained.due(0.0)) == [("a", 1)]
    retained.acknowledged("a")
    retained.put("a", full(1))
    assert retained.due(1.0) == []
    assert retained.wait_s(1.0) is None


def test_after_an_acknowledgement_only_the_newest_value_is_due() -> None:
    retained = Retained()
    retained.put("a", full(1))
    retained.due(0.0)
    for items in (2, 3, 4):
        retained.put("a", full(items))
        assert retained.due(0.0) == []
    retained.acknowledged("a")
    assert numbers(retained.due(0.0)) == [("a", 4)]


def test_a_new_connection_makes_every_value_due() -> None:
    retained = Retained()
    retained.put("a", full(1), interval_s=60.0)
    retained.put("b", full(2))
    assert len(retained.due(0.0)) == 2
    retained.acknowledged("b")
    retained.start_over()
    assert numbers(retained.due(0.1)) == [("a", 1), ("b", 2)]


def test_a_refused_value_or_a_newer_one_is_due_later() -> None:
    retained = Retained()
    retained.put("a", full(1))
    retained.due(0.0)
    retained.refused("a", not_before_s=60.0)
    retained.put("a", full(2))
    assert retained.due(59.0) == []
    assert retained.wait_s(59.0) == 1.0
    assert numbers(retained.due(60.0)) == [("a", 2)]
    retained.refused("a", not_before_s=120.0)
    assert numbers(retained.due(120.0)) == [("a", 2)]


STEPS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 3)),
    st.tuples(st.just("later"), st.floats(0.0, 1.5)),
    st.tuples(st.just("arrived"), st.none()),
)


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=40))
def test_messages_keep_the_interval_and_the_newest_is_sent(steps: list[tuple[str, Any]]) -> None:
    retained, now_s = Retained(), 0.0
    sent: list[tuple[float, int]] = []
    newest = None
    waiting = False

    def send() -> None:
        nonlocal waiting
        for _, items in numbers(retained.due(now_s)):
            assert not waiting
            sent.append((now_s, items))
            waiting = True

    for step, value in steps:
        if step == "put":
            retained.put("state", full(value), interval_s=1.0)
            newest = value
        elif step == "later":
            now_s += value
        elif waiting:
            retained.acknowledged("state")
            waiting = False
        send()
    assert all(later - earlier >= 1.0 for (earlier, _), (later, _) in itertools.pairwise(sent))
    for _ in range(2):
        if waiting:
            retained.acknowledged("state")
            waiting = False
        now_s += retained.wait_s(now_s) or 0.0
        send()
    assert newest is None or sent[-1][1] == newest
