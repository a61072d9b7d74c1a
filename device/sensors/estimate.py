"""A level without hardware: reckoned from the items that went into the bin since it was emptied. It says that it is an estimate."""

import time
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, field

from device.sensors import CountItems, ItemCount, LevelReading
from device.sensors.settings import MeasuringBase

Litres = Annotated[float, Meta(gt=0, le=10000)]


class EstimateSettings(MeasuringBase, frozen=True, kw_only=True, tag="estimate"):
    """An estimate from the number of items. Only a person can say that the bin was emptied."""

    capacity_l: Litres
    """what the bin holds, litres"""
    item_l: Litres = 0.5
    """what an item takes up in the bin, litres, its gaps included"""
    items_l: dict[str, Litres] = field(default_factory=dict)
    """the same for single labels, such as { plastic = 0.8 }"""

    @property
    def estimates(self) -> bool:
        return True

    @property
    def smoothed(self) -> int:
        return 1

    def describe(self) -> str:
        return f"{self.capacity_l:g} l, {self.item_l:g} l an item"

    def open(self, count_items: CountItems) -> "Estimate":
        return Estimate(self, count_items)


class Estimate:
    """Reckons; reading it takes no time."""

    def __init__(self, settings: EstimateSettings, count_items: CountItems, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._count_items, self._now_s = settings, count_items, now_s

    def read(self) -> LevelReading:
        settings = self._settings
        count = self._count_items().get(settings.bin, ItemCount())
        litres = count.others * settings.item_l + sum(n * settings.items_l.get(label, settings.item_l) for label, n in count.labels.items())
        return LevelReading(self._now_s(), percent=min(100.0, 100 * litres / settings.capacity_l))

    def close(self) -> None:
        return None
