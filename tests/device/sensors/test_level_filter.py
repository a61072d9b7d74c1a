"""From noisy percentages to `full`."""

import statistics

from hypothesis import given
from hypothesis import strategies as st

from device.sensors.level_filter import LevelFilter

FULL, EMPTY, SMOOTHED = 90.0, 60.0, 5
percents = st.floats(0, 100)


def fed(readings: list[float], *, full: bool = False) -> list[bool | None]:
    """What the filter says after each reading."""
    level = LevelFilter(FULL, EMPTY, SMOOTHED, full=full)
    said = []
    for percent in readings:
        level.add(percent)
        said.append(level.full)
    return said


@given(readings=st.lists(st.floats(EMPTY, FULL, exclude_max=True), min_size=SMOOTHED), full=st.booleans())
def test_nothing_changes_within_the_band(readings: list[float], full: bool) -> None:
    assert set(fed(readings, full=full)[SMOOTHED - 1 :]) == {full}


@given(readings=st.lists(percents, min_size=SMOOTHED, max_size=40), full=st.booleans())
def test_a_change_has_crossed_the_whole_band(readings: list[float], full: bool) -> None:
    said = [full, *(each for each in fed(readings, full=full) if each is not None)]
    medians = [statistics.median(readings[end - SMOOTHED : end]) for end in range(SMOOTHED, len(readings) + 1)]
    for before, after, median in zip(said, said[1:], medians, strict=False):
        assert before == after or median >= FULL if after else before == after or median < EMPTY


@given(level=st.floats(FULL, 100), stray=percents, at=st.integers(0, 9))
def test_one_stray_reading_changes_nothing(level: float, stray: float, at: int) -> None:
    readings = [level] * 10
    readings[at] = stray
    assert set(fed(readings)[SMOOTHED - 1 :]) == {True}


@given(lower=st.lists(percents, min_size=SMOOTHED, max_size=20), rise=st.floats(0, 50), full=st.booleans())
def test_a_fuller_bin_is_never_called_less_full(lower: list[float], rise: float, full: bool) -> None:
    higher = [min(100.0, percent + rise) for percent in lower]
    assert all(not low or high for low, high in zip(fed(lower, full=full), fed(higher, full=full), strict=True))


def test_too_few_readings_say_a_level_but_not_whether_it_is_full() -> None:
    level = LevelFilter(FULL, EMPTY, SMOOTHED, full=True)
    assert (level.percent, level.full) == (None, None)
    level.add(99.0)
    assert (level.percent, level.full) == (99.0, None)
