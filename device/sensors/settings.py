"""What every kind of level sensor tells of its settings, a table `[[level]]`."""

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from device.sensors import CountItems, LevelReading, SensorError

if TYPE_CHECKING:
    from device.sensors import LevelSensor

NamedBin = Annotated[str, Meta(min_length=1)]
"""name of a bin, as the rule pack spells it"""
Percent = Annotated[float, Meta(ge=0, le=100)]
BEYOND = 1.25
"""A distance so many times that of the empty bin was not measured in the bin: it was taken away, or the sensor looks past it."""


class LevelBase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """The settings of one level sensor. A kind is one file: a subclass of this with its `tag`, and its sensor. `device.sensors.kinds` lists them."""

    bin: NamedBin
    """the bin whose level it tells"""
    good_for_s: Annotated[float, Meta(ge=5, le=86400)] = 300.0
    """a reading older than this says nothing any more"""

    @property
    def kind(self) -> str:
        """The value of `kind` in the settings file."""
        return str(self.__struct_config__.tag)

    @property
    def name(self) -> str:
        """The sensor in messages."""
        return f"level {self.bin} ({self.kind})"

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines and addresses that it claims, worded as gates word theirs. Two parts on one are refused. Empty without hardware."""
        return ()

    @property
    def estimates(self) -> bool:
        """Whether it reckons from the items instead of measuring: a sensor that measures then counts before it."""
        return False

    @property
    def confirms(self) -> bool:
        """Whether it sees each item that falls."""
        return False

    @property
    def full_percent(self) -> float:
        """The percentage from which the bin is full."""
        return 100.0

    @property
    def empty_percent(self) -> float:
        """The percentage below which a full bin counts as emptied."""
        return 0.0

    @property
    def pace_s(self) -> float:
        """Seconds from the end of a reading to the next."""
        raise NotImplementedError

    @property
    def smoothed(self) -> int:
        """How many readings the median is taken of."""
        return 5

    def describe(self) -> str:
        """What it is connected to, for `sortbin check`."""
        return ", ".join(self.lines)

    def open(self, count_items: CountItems) -> "LevelSensor":
        """Open it. Called again after each failure, on a thread of its own unless it estimates. Raises SensorError."""
        raise NotImplementedError


class MeasuringBase(LevelBase, frozen=True, kw_only=True):
    """A sensor that tells a percentage."""

    full_at: Percent = 90.0
    """percent from which the bin is full, and closed to items"""
    empty_at: Percent = 60.0
    """percent below which a full bin counts as emptied, and is open again"""
    interval_s: Annotated[float, Meta(ge=0.5, le=3600)] = 20.0
    """from reading to reading"""

    def __post_init__(self) -> None:
        if self.empty_at >= self.full_at:
            raise ValueError(f"Expected empty_at below full_at, found {self.empty_at:g} and {self.full_at:g}")
        if self.good_for_s < 2 * self.interval_s:
            raise ValueError(f"Expected good_for_s of at least twice interval_s, found {self.good_for_s:g} and {self.interval_s:g}")

    @property
    def full_percent(self) -> float:
        return self.full_at

    @property
    def empty_percent(self) -> float:
        return self.empty_at

    @property
    def pace_s(self) -> float:
        return self.interval_s


class RangingBase(MeasuringBase, frozen=True, kw_only=True):
    """A sensor above the bin that measures the distance down to what lies in it."""

    empty_cm: Annotated[float, Meta(ge=5, le=400)]
    """distance that it measures in the empty bin"""
    full_cm: Annotated[float, Meta(ge=1, le=400)]
    """distance that it measures in the full bin"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.full_cm >= self.empty_cm:
            raise ValueError(f"Expected full_cm below empty_cm, found {self.full_cm:g} and {self.empty_cm:g}")

    def reading(self, taken_s: float, distance_cm: float, passed_s: float | None = None) -> LevelReading:
        """The reading that a distance makes. Raises SensorError for one far beyond the empty bin's."""
        if distance_cm > BEYOND * self.empty_cm:
            raise SensorError(f"{self.name}: measures {distance_cm:.0f} cm, and the empty bin has {self.empty_cm:g} cm: is the bin in its place?")
        percent = min(100.0, max(0.0, 100 * (self.empty_cm - distance_cm) / (self.empty_cm - self.full_cm)))
        return LevelReading(taken_s, percent=percent, distance_cm=distance_cm, passed_s=passed_s)
