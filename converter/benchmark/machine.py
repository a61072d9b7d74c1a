"""Reads what the computer is, and what may slow it down."""

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
"""load average per core above which the computer counts as busy"""


class MachineState(msgspec.Struct, frozen=True):
    """The state of the computer at one time. temperature_c: of the hottest zone. throttled: whether a Raspberry Pi reduces its clock. governors: of
    the cores, each once. load: average number of runnable tasks in the last minute. None where it is not available.
    """

    temperature_c: float | None
    throttled: bool | None
    governors: tuple[str, ...] | None
    load: float | None


class Machine(msgspec.Struct, frozen=True):
    """The computer. packages: version of each of PACKAGES that is installed."""

    cpu: str
    cores: int
    memory_mib: int | None
    system: str
    python: str
    packages: dict[str, str]


def read_machine(proc: Path = Path("/proc")) -> Machine:
    """Read what this computer is."""
    return Machine(
        _cpu(proc),
        cores(),
        _memory_mib(proc),
        f"{platform.system()} {platform.release()}, {platform.machine()}",
        platform.python_version(),
        {name: version for name in PACKAGES if (version := package_version(name)) is not None},
    )


def machine_state(cpufreq: Path = Path("/sys/devices/system/cpu")) -> MachineState:
    """Read the current state of the computer."""
    found = {file.read_text().strip() for file in cpufreq.glob("cpu[0-9]*/cpufreq/scaling_governor") if os.access(file, os.R_OK)}
    try:
        load = os.getloadavg()[0]
    except OSError:
        load = None
    return MachineState(cpu_temperature_c(), throttled(), tuple(sorted(found)) or None, load)


def is_busy(before: MachineState, cores: int) -> bool:
    """Whether the computer was busy when measuring began."""
    return before.load is not None and before.load > BUSY_SHARE * cores


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def package_version(package: str) -> str | None:
    """The version of a package, or None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu(proc: Path) -> str:
    """The name of the processor: `model name` in /proc/cpuinfo, or `Model`, the name of the board, on ARM."""
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
