"""Fake hardware for sensors: a /dev/gpiochip* whose inputs have edges, as the kernel's has."""

import errno
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpiod
import pytest
from gpiod.line import Direction, Edge, Value


class InputKernel:
    """One chip with the lines of a Pi's header. Edges of an input wait until they are read, with the time that they are given.

    on_output: called with the line and its level, when an output changes. error: raised by every use of a line.
    """

    def __init__(self) -> None:
        self.level: dict[str, bool] = {}
        self.settings: dict[str, gpiod.LineSettings] = {}
        self.taken: set[str] = set()
        self.edges: dict[str, deque[gpiod.EdgeEvent]] = {}
        self.on_output: Callable[[str, bool], None] = lambda line, level: None
        self.error: OSError | None = None
        self.changed = threading.Condition()

    def set_input(self, line: str, level: bool, at_s: float) -> None:
        """Change the level of an input's pin."""
        with self.changed:
            self.level[line] = level
            settings = self.settings.get(line)
            if settings is not None and settings.edge_detection is Edge.BOTH:
                rising = level != settings.active_low
                kind = gpiod.EdgeEvent.Type.RISING_EDGE if rising else gpiod.EdgeEvent.Type.FALLING_EDGE
                self.edges.setdefault(line, deque()).append(gpiod.EdgeEvent(kind.value, round(at_s * 1e9), 0, 0, 0))
            self.changed.notify_all()


class FakeRequest:
    """`gpiod.LineRequest` of one line."""

    def __init__(self, kernel: InputKernel, offset: int, name: str, settings: gpiod.LineSettings) -> None:
        self.kernel, self.offset, self.name, self.settings = kernel, offset, name, settings
        kernel.settings[name] = settings
        kernel.edges[name] = deque()
        if settings.direction is Direction.OUTPUT:
            kernel.level[name] = (settings.output_value is Value.ACTIVE) != settings.active_low

    def set_value(self, line: "int | str", value: Value) -> None:
        self._fail()
        level = (value is Value.ACTIVE) != self.settings.active_low
        self.kernel.level[self.name] = level
        self.kernel.on_output(self.name, level)

    def get_value(self, line: "int | str") -> Value:
        self._fail()
        return Value.ACTIVE if self.kernel.level.get(self.name, True) != self.settings.active_low else Value.INACTIVE

    def wait_edge_events(self, timeout: Any = None) -> bool:
        self._fail()
        with self.kernel.changed:
            return self.kernel.changed.wait_for(lambda: bool(self.kernel.edges[self.name]), timeout)

    def read_edge_events(self, max_events: "int | None" = None) -> list[gpiod.EdgeEvent]:
        self._fail()
        with self.kernel.changed:
            events = list(self.kernel.edges[self.name])
            self.kernel.edges[self.name].clear()
        return events

    def release(self) -> None:
        self.kernel.taken.discard(self.name)

    def _fail(self) -> None:
        if self.kernel.error is not None:
            raise self.kernel.error


class FakeChip:
    """`gpiod.Chip`."""

    kernel: InputKernel

    def __init__(self, path: str) -> None:
        self.names = [f"GPIO{number}" for number in range(28)]

    def __enter__(self) -> "FakeChip":
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        return None

    def line_offset_from_id(self, id: "str | int") -> int:  # noqa: A002 (gpiod's name)
        if id not in self.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self.names.index(str(id))

    def request_lines(
        self, config: Any, consumer: "str | None" = None, event_buffer_size: "int | None" = None, output_values: Any = None
    ) -> FakeRequest:
        ((offset, settings),) = config.items()
        name = self.names[offset]
        if name in self.kernel.taken:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        self.kernel.taken.add(name)
        return FakeRequest(self.kernel, offset, name, settings)


@pytest.fixture
def gpio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InputKernel:
    """A chip, as `/dev/gpiochip0`."""
    kernel = InputKernel()
    (tmp_path / "gpiochip0").touch()
    monkeypatch.setattr(FakeChip, "kernel", kernel, raising=False)
    monkeypatch.setattr(gpiod, "Chip", FakeChip)
    return kernel


@pytest.fixture
def chip(gpio: InputKernel, tmp_path: Path) -> str:
    """Its path, for the key `chip`."""
    return str(tmp_path / "gpiochip0")
