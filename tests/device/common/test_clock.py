from datetime import datetime

from device.common.clock import Clock


def test_uptime_does_not_depend_on_the_wall_clock() -> None:
    now_s, wall_s = [100.0], [1_700_000_000.0]
    clock = Clock(now_s=lambda: now_s[0], wall_s=lambda: wall_s[0], synced=lambda: False)
    now_s[0], wall_s[0] = 112.5, 0.0
    reading = clock.read()
    assert (reading.uptime_s, reading.time, reading.clock) == (12.5, "1970-01-01T00:00:00.000Z", "unsynced")


def test_the_label_is_rfc_3339_in_utc() -> None:
    reading = Clock(wall_s=lambda: 1_763_682_098.25, synced=lambda: True).read()
    assert datetime.fromisoformat(reading.time).timestamp() == 1_763_682_098.25
    assert reading.time.endswith("Z")
    assert reading.clock == "synced"


def test_each_run_has_its_own_id() -> None:
    clocks = [Clock() for _ in range(50)]
    assert len({clock.boot for clock in clocks}) == 50
    assert clocks[0].read().boot == clocks[0].read().boot


def test_the_label_of_an_earlier_moment_is_as_long_before_the_present_one() -> None:
    clock = Clock(wall_s=lambda: 1_763_682_098.25, now_s=lambda: 1000.0)
    assert datetime.fromisoformat(clock.label(988.0)).timestamp() == 1_763_682_086.25
