"""How the computer is at this moment, and how systemd sees the service."""

import json
import os
import shutil
import time
from pathlib import Path

from device.common.clock import wall_clock_synced
from device.daemon.system_metrics import cpu_temperature_c, free_mib, throttled
from device.ledger.lock import is_in_use
from device.support.programs import ProgramError, output_of
from device.support.supported_bin import SupportedBin

SHOWN = "ActiveState,SubState,StatusText,NRestarts,Result,ExecMainStatus,ActiveEnterTimestamp,MemoryCurrent,CPUUsageNSec,FragmentPath,DropInPaths"
LIMIT_S = 10.0


def collect(bin_: SupportedBin) -> str:
    """As JSON, each figure null where it is unknown. What the daemon published last as `health` is in no file."""
    memory = _memory_mib()
    told = {
        "daemon_runs": is_in_use(bin_.state),
        "service": _service(),
        "temperature_c": cpu_temperature_c(),
        "throttled": throttled(),
        "disk_free_mib": free_mib(str(bin_.state)),
        "root_free_mib": free_mib("/"),
        "memory_mib": memory.get("MemTotal"),
        "memory_available_mib": memory.get("MemAvailable"),
        "swap_free_mib": memory.get("SwapFree"),
        "load": os.getloadavg(),
        "cores": os.cpu_count(),
        "clock": "synced" if wall_clock_synced() else "unsynced",
        "since_boot_s": round(time.clock_gettime(time.CLOCK_BOOTTIME)),
    }
    return json.dumps(told, ensure_ascii=False, indent=1)


def _service() -> dict[str, str] | str:
    if shutil.which("systemctl") is None:
        return "systemctl is not installed"
    try:
        lines = output_of(["systemctl", "show", "sortbin.service", f"--property={SHOWN}"], limit_s=LIMIT_S).splitlines()
    except ProgramError as error:
        return str(error)
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _memory_mib() -> dict[str, int]:
    lines = (line.partition(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    return {name: int(value.split()[0]) // 1024 for name, _, value in lines if value.strip()}
