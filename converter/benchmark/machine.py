"""The computer that was measured: what it is, and what may have slowed it down."""

import importlib.metadata
import os
import platform
from pathlib import Path

import msgspec

from device.daemon.system_metrics import cpu_temperature_c, throttled

PACKAGES = (
    "ai-edge-litert",
    "tflite-runtime",
    "tensorflow-cpu",
    "tensorflow",
    "keras",
    "onnxruntime",
    "onnx",
    "tf2onnx",
    "openvino",
    "numpy",
    "opencv-python-headless",
)

BUSY_SHARE = 0.3
"""load average over cores from which on others' work is taken to be in the way"""


class MachineState(msgspec.Struct, frozen=True):
    """What changes while measuring. temperature_c: of the hottest zone; throttled: whether a Raspberry Pi slows itself down; governors: of
    the cores, each once; load: average of the last minute, in runnable tasks. None where the system does not tell.
    """

    temperature_c: float | None
    throttled: bool | None
    governors: tuple[str, ...] | None
    load: float | None


class Machine(msgspec.Struct, frozen=True):
    """packages: version of each of PACKAGES that is installed."""

    cpu: str
    cores: int
    memory_mib: int | None
    system: str
    python: str
    packages: dict[str, str]


def read_machine(proc: Path = Path("/proc")) -> Machine:
    """What this computer is."""
    return Machine(
        _cpu(proc),
        cores(),
        _memory_mib(proc),
        f"{platform.system()} {platform.release()}, {platform.machine()}",
        platform.python_version(),
        {name: version for name in PACKAGES if (version := version_of(name)) is not None},
    )


def machine_state(cpufreq: Path = Path("/sys/devices/system/cpu")) -> MachineState:
    """How it is now."""
    found = {file.read_text().strip() for file in cpufreq.glob("cpu[0-9]*/cpufreq/scaling_governor") if os.access(file, os.R_OK)}
    try:
        load = os.getloadavg()[0]
    except OSError:
        load = None
    return MachineState(cpu_temperature_c(), throttled(), tuple(sorted(found)) or None, load)


def is_busy(before: MachineState, cores: int) -> bool:
    """Whether other work was going on when measuring began, so that the figures are worse than the computer's own."""
    return before.load is not None and before.load > BUSY_SHARE * cores


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def version_of(package: str) -> str | None:
    """Its version, or None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu(proc: Path) -> str:
    """`model name` on x86, the board's own name on ARM, where /proc/cpuinfo has no such line."""
    for file, key in ((proc / "cpuinfo", "model name"), (proc / "cpuinfo", "Model")):
        try:
            lines = file.read_text(errors="replace").splitlines()
        except OSError:
            break
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return platform.processor() or platform.machine()


def _memory_mib(proc: Path) -> int | None:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("MemTotal:")), None)
