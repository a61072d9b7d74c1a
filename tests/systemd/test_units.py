"""The service file: systemd accepts it, and every bounded wait fits into its watchdog."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from device.cameras.v4l2 import V4l2Settings
from device.commands import run
from device.daemon import control_loop, exit_fault, watchdog
from device.daemon import refused_start_backoff as restart_backoff
from device.sorting.control_steps import SortingSettings

UNIT = Path(__file__).parents[2] / "systemd" / "sortbin.service"


@pytest.fixture
def service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return parser["Service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "sortbin.service"
    unit.write_text(re.sub(r"/opt/sortbin/bin/sortbin", "/bin/true", UNIT.read_text(encoding="utf-8")), encoding="utf-8")
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60, check=False)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_sandbox_allows_reading_the_clock_status(service: configparser.SectionProxy) -> None:
    """A system call outside the filter fails with SystemCallErrorNumber=; `ProtectClock=` would forbid adjtimex too."""

    def calls(names: list[str]) -> set[str]:
        sets = [name for name in names if name.startswith("@")]
        listed = [subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout for name in sets]
        found = [line.strip() for text in listed for line in text.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
        return {name for name in names if not name.startswith("@")} | (calls(found) if found else set())

    allowed = calls(service["SystemCallFilter"].split())
    assert {"adjtimex", "clock_adjtime"} <= allowed
    assert {"openat", "read", "clock_gettime"} <= allowed and "reboot" not in allowed
    assert service.get("ProtectClock", "no") == "no" and service["CapabilityBoundingSet"] == ""
    assert service["SystemCallErrorNumber"] == "EPERM"


def test_the_watchdog_waits_longer_than_any_heartbeat_may_be_late(service: configparser.SectionProxy) -> None:
    watchdog_s = float(service["WatchdogSec"])
    longest_silence_s = watchdog.HEARTBEAT_TIMEOUT_S + watchdog_s / 3
    assert longest_silence_s < watchdog_s
    assert SortingSettings().commit_s < watchdog_s
    assert V4l2Settings().hang_s < watchdog_s
    assert control_loop.TICK_S < watchdog.HEARTBEAT_TIMEOUT_S


def test_a_crash_is_restarted_within_three_seconds_without_limit(service: configparser.SectionProxy) -> None:
    assert service["Restart"] == "always"
    of_a_small_pi_s = 1.2
    """time of `gate --release` there, before the restart begins"""
    assert float(service["RestartSec"]) + run.CRASH_PUBLISH_S + of_a_small_pi_s < 3
    assert service.parser["Unit"]["StartLimitIntervalSec"] == "0"


def test_the_count_of_refused_starts_survives_restarts(service: configparser.SectionProxy) -> None:
    assert service["RuntimeDirectory"] == "sortbin"
    assert service["RuntimeDirectoryPreserve"] == "restart"
    assert float(service["TimeoutStartSec"]) / 2 > restart_backoff.LONGEST_S + exit_fault.PUBLISH_S


def test_a_camera_may_be_plugged_in_after_the_start(service: configparser.SectionProxy) -> None:
    """systemd looks up the classes of DeviceAllow= in /proc/devices, which lists a class only once its module is loaded."""
    unit = service.parser["Unit"]
    for module in ("videodev", "mc", "usbcore", "cdc_acm", "usbserial", "i2c_dev"):
        assert f"modprobe@{module}.service" in unit["Wants"].split()
        assert f"modprobe@{module}.service" in unit["After"].split()


def test_the_stop_time_out_is_longer_than_the_daemon_takes(service: configparser.SectionProxy) -> None:
    assert float(service["TimeoutStopSec"]) > msgspec.json.schema(SortingSettings)["$defs"]["SortingSettings"]["properties"]["gate_s"]["maximum"] + 2


def test_outputs_are_released_after_any_exit(service: configparser.SectionProxy) -> None:
    assert "gate --release" in service["ExecStopPost"]
