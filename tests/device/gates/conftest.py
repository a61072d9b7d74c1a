"""Fake hardware for gates: a /sys/class/pwm and a /dev/gpiochip* that behave as the kernel's do."""

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gpiod
import pytest
from gpiod.line import Direction, Value

RP1_AND_PCA9685 = {2: "1f00098000.pwm", 10: "1-0040"}


class PwmKernel:
    """A tree of real files below `root`, in which each write is checked as drivers/pwm does and fails with the same errno.

    `path` is the tree as a Path whose writes go to this model. `writes` holds every attribute written, in order, as (name, text).
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.writes: list[tuple[str, str]] = []
        self.npwm: dict[Path, int] = {}
        self.state: dict[Path, dict[str, Any]] = {}
        self.failing: dict[str, int] = {}
        self.fresh: dict[str, Any] = {"period": 0, "duty_cycle": 0, "enable": 0, "polarity": "normal"}
        self.exports_at_once = True
        self.exporting: list[Path] = []
        kernel = self

        class SysPath(type(Path())):  # type: ignore[misc]
            def open(self, mode: str = "r", buffering: int = -1, *rest: Any, **more: Any) -> Any:
                return _Writing(kernel, Path(self)) if "w" in mode else super().open(mode, buffering, *rest, **more)

        self.path = SysPath(root)

    def add_chip(self, number: int, device: str, npwm: int = 2) -> None:
        folder, behind = self.root / f"pwmchip{number}", self.root / "devices" / device
        behind.mkdir(parents=True)
        folder.mkdir()
        (folder / "device").symlink_to(behind)
        (folder / "export").touch()
        self.npwm[folder] = npwm

    def export(self, folder: Path) -> None:
        folder.mkdir()
        self.state[folder] = dict(self.fresh)
        self.show(folder)

    def finish_exports(self) -> None:
        while self.exporting:
            self.export(self.exporting.pop())

    def show(self, folder: Path, *names: str) -> None:
        for name in names or self.state[folder]:
            (folder / name).write_text(f"{self.state[folder][name]}\n")

    def write(self, file: Path, text: str) -> None:
        self.writes.append((file.name, text))
        if not file.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if file.name in self.failing:
            raise OSError(self.failing[file.name], os.strerror(self.failing[file.name]))
        if file.name == "export":
            self._write_export(file.parent, int(text))
        else:
            self._write_attribute(file.parent, file.name, text)

    def _write_export(self, chip: Path, channel: int) -> None:
        folder = chip / f"pwm{channel}"
        if channel >= self.npwm[chip]:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        if folder in self.state:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        self.exporting.append(folder)
        if self.exports_at_once:
            self.finish_exports()

    def _write_attribute(self, folder: Path, name: str, text: str) -> None:
        state = self.state[folder] | {name: text if name == "polarity" else int(text)}
        if not state["period"] or state["duty_cycle"] > state["period"] or state["enable"] not in (0, 1):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.state[folder] = state
        self.show(folder, name)


class _Writing:
    def __init__(self, kernel: PwmKernel, file: Path) -> None:
        self.kernel, self.file = kernel, file

    def __enter__(self) -> "_Writing":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def write(self, data: bytes) -> int:
        self.kernel.write(self.file, data.decode())
        return len(data)


@pytest.fixture
def pwm_kernel(tmp_path: Path) -> Callable[..., PwmKernel]:
    """Makes trees, each in a folder, with these devices by chip number; by default a Pi 5's RP1 as pwmchip2 and a PCA9685 as pwmchip10."""

    def make(chips: Mapping[int, str] = RP1_AND_PCA9685) -> PwmKernel:
        root = tmp_path / f"pwm{len(list(tmp_path.iterdir()))}"
        root.mkdir()
        kernel = PwmKernel(root)
        for number, device in chips.items():
            kernel.add_chip(number, device, npwm=17 if device == RP1_AND_PCA9685[10] else 4)
        return kernel

    return make


@pytest.fixture
def kernel(pwm_kernel: Callable[[], PwmKernel]) -> PwmKernel:
    return pwm_kernel()


class GpioKernel:
    """Chips with named lines. As on a Pi, a line keeps its level when its request ends: `level` is what the pin carries."""

    def __init__(self) -> None:
        self.chips: dict[str, list[str]] = {}
        self.level: dict[str, bool] = {}
        self.taken: set[str] = set()
        self.failing: OSError | None = None


class FakeRequest:
    """`gpiod.LineRequest` of one output."""

    def __init__(self, kernel: GpioKernel, offset: int, name: str, settings: gpiod.LineSettings) -> None:
        self.kernel, self.offset, self.name, self.settings = kernel, offset, name, settings
        self.released = False
        self._drive(settings.output_value)

    def set_value(self, line: "int | str", value: Value) -> None:
        assert line in (self.offset, self.name)
        if self.released:
            raise gpiod.RequestReleasedError
        if self.kernel.failing:
            raise self.kernel.failing
        self._drive(value)

    def release(self) -> None:
        self.released = True
        self.kernel.taken.discard(self.name)

    def _drive(self, value: Value) -> None:
        self.kernel.level[self.name] = (value is Value.ACTIVE) != self.settings.active_low


class FakeChip:
    """`gpiod.Chip`."""

    kernel: GpioKernel

    def __init__(self, path: str) -> None:
        if path not in self.kernel.chips:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self.names = self.kernel.chips[path]

    def __enter__(self) -> "FakeChip":
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        return None

    def line_offset_from_id(self, id: "str | int") -> int:  # noqa: A002 (gpiod's name)
        if id in self.names:
            return self.names.index(str(id))
        if not str(id).isdecimal():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if int(id) >= len(self.names):
            raise ValueError("line offset of out range")
        return int(id)

    def request_lines(
        self, config: Any, consumer: "str | None" = None, event_buffer_size: "int | None" = None, output_values: Any = None
    ) -> FakeRequest:
        ((line, settings),) = config.items()
        offset = self.line_offset_from_id(line)
        name = self.names[offset]
        assert settings.direction is Direction.OUTPUT
        if name in self.kernel.taken:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        self.kernel.taken.add(name)
        return FakeRequest(self.kernel, offset, name, settings)


@pytest.fixture
def gpio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GpioKernel:
    """Two chips in `tmp_path`; the second has the lines of a Pi's header."""
    kernel = GpioKernel()
    for name, lines in (("gpiochip0", ["2712_WAKE", "-"]), ("gpiochip4", [f"GPIO{n}" for n in range(28)])):
        (tmp_path / name).touch()
        kernel.chips[str(tmp_path / name)] = lines
    monkeypatch.setattr(FakeChip, "kernel", kernel, raising=False)
    monkeypatch.setattr(gpiod, "Chip", FakeChip)
    return kernel
