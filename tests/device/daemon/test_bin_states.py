"""When a bin's payload is news."""

import msgspec
import pytest

from device.daemon.bin_states import LEVEL_EVERY_S, is_news
from device.mqtt.payloads import BinState, Level

LEVEL = Level(source="ultrasonic", measured="2026-12-01T15:00:00.000Z", error="")
TOLD = BinState(fill_percent=40.0, full=False, level=LEVEL, items=3, hazards=0)
LATER = msgspec.structs.replace(LEVEL, measured="2026-12-01T15:00:10.000Z")


@pytest.mark.parametrize(
    ("changes", "at_once", "later"),
    [
        ({}, False, False),
        ({"level": LATER}, False, True),
        ({"level": LATER, "fill_percent": 41.0}, False, True),
        ({"fill_percent": 42.0}, True, True),
        ({"fill_percent": None}, True, True),
        ({"full": True}, True, True),
        ({"items": 4}, True, True),
        ({"level": msgspec.structs.replace(LEVEL, error="silent")}, True, True),
        ({"level": None}, True, True),
    ],
)
def test_noise_of_a_sensor_is_no_news_for_a_minute(changes: dict[str, object], at_once: bool, later: bool) -> None:
    state = msgspec.structs.replace(TOLD, **changes)
    assert is_news(TOLD, state, 1.0) is at_once
    assert is_news(TOLD, state, LEVEL_EVERY_S) is later


def test_a_bin_of_which_nothing_was_told_is_news() -> None:
    assert is_news(None, TOLD, 0.0)
