"""A ranging sensor that exists in the program alone, with noise and faults, so that a virtual bin can go wrong as a real one does."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from device.sensors import CountItems, ItemCount, LevelReading, SensorError
from device.sensors.settings import RangingBase


class SimulatedLevelSettings(RangingBase, frozen=True, kw_only=True, tag="simulated"):
    """A level without hardware, for a virtual bin or a trial. Without a virtual bin the level rises with the items that the ledger counts."""

    empty_cm: Annotated[float, Meta(ge=5, le=400)] = 60.0
    full_cm: Annotated[float, Meta(ge=1, le=400)] = 10.0
    items: Annotated[int, Meta(ge=1, le=100000)] = 60
    """how many items fill the bin"""
    noise_cm: Annotated[float, Meta(ge=0, le=50)] = 0.5
    """standard deviation of its noise"""
    confirm: bool = False
    """whether it also sees each item that falls, as a beam does"""
    seed: int = 0

    @property
    def confirms(self) -> bool:
        return self.confirm

    @property
    def pace_s(self) -> float:
        return min(self.interval_s, 0.1) if self.confirm else self.interval_s

    def describe(self) -> str:
        return f"{self.empty_cm:g} to {self.full_cm:g} cm"

    def open(self, count_items: CountItems) -> "SimulatedSensor":
        def look() -> VirtualLevel:
            return VirtualLevel(min(1.0, count_items().get(self.bin, ItemCount()).items / self.items))

        return SimulatedSensor(self, look)


@dataclass(frozen=True, slots=True)
class VirtualLevel:
    """What lies in a virtual bin. share: 0 empty to 1 full. fell_s: monotonic time at which the newest item fell in; None: none yet."""

    share: float
    fell_s: float | None = None


@dataclass
class SensorFaults:
    """Faults of a simulated sensor; tests set them at any time.

    no_echo: nothing comes back. stuck: it says the same for ever. spikes: probability that a reading is anything. out_of_range: it looks past the
    bin. dead: it cannot be opened or read. hangs: a reading does not come back until `released` is set.
    """

    no_echo: bool = False
    stuck: bool = False
    spikes: float = 0.0
    out_of_range: bool = False
    dead: bool = False
    hangs: bool = False

    def __post_init__(self) -> None:
        self.released = threading.Event()
        """set it to let readings that hang come back"""


class SimulatedSensor:
    """Measures the distance down to a heap. look: what lies in the bin. now_s: monotonic clock."""

    def __init__(
        self,
        settings: SimulatedLevelSettings,
        look: Callable[[], VirtualLevel],
        faults: SensorFaults | None = None,
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._look, self._now_s = settings, look, now_s
        self.faults = faults or SensorFaults()
        self._rng = np.random.default_rng(settings.seed)
        self._last_cm = math.nan
        self._refuse_if_dead()

    def read(self) -> LevelReading:
        faults, settings = self.faults, self._settings
        if faults.hangs:
            faults.released.wait()
        self._refuse_if_dead()
        if faults.no_echo:
            raise SensorError(f"{settings.name}: no echo")
        level = self._look()
        distance_cm = settings.empty_cm - level.share * (settings.empty_cm - settings.full_cm) + float(self._rng.normal(0, settings.noise_cm))
        if self._rng.random() < faults.spikes:
            distance_cm = float(self._rng.uniform(0, settings.empty_cm))
        if faults.out_of_range:
            distance_cm = 2 * settings.empty_cm
        if faults.stuck and not math.isnan(self._last_cm):
            distance_cm = self._last_cm
        self._last_cm = distance_cm
        return settings.reading(self._now_s(), distance_cm, level.fell_s if settings.confirm else None)

    def close(self) -> None:
        return None

    def _refuse_if_dead(self) -> None:
        if self.faults.dead:
            raise SensorError(f"{self._settings.name}: does not answer")
