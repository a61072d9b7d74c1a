"""What every kind of gate tells of its settings, a table `[[gate]]`."""

import math
from collections.abc import Mapping
from typing import Annotated, Self

from msgspec import Meta, Struct

from device.gates import Gate, GateError

BinName = Annotated[str, Meta(min_length=1)]
"""name of a bin, as the rule pack spells it"""


class GateBase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """The settings of one gate. A kind is one file: a subclass of this with its `tag`, and its gate. `device.gates.kinds` lists them."""

    @property
    def kind(self) -> str:
        """The value of `kind` in the settings file."""
        return str(self.__struct_config__.tag)

    @property
    def serves(self) -> tuple[str, ...]:
        """Names of the bins that it opens, in the order of the file."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The gate in messages: its bins."""
        return "/".join(self.serves)

    @property
    def way_s(self) -> float:
        """Seconds from the command until the gate has arrived."""
        raise NotImplementedError

    @property
    def max_on_s(self) -> float:
        """Longest time that it can be held open, seconds."""
        return math.inf

    @property
    def output(self) -> str:
        """The output that it drives, for messages. Two gates with the same one are refused. Empty for a gate without hardware."""
        raise NotImplementedError

    def describe(self, bin_: str) -> str:
        """Its output and how it is driven for one of its bins, as `sortbin gate` lists it."""
        return self.output

    def warning(self) -> str:
        """What is likely to be a mistake in these settings, one line; empty: nothing."""
        return ""

    def claim(self) -> Gate:
        """Claim the hardware. Raises GateError."""
        raise NotImplementedError

    def slowed(self, travel_s: float) -> Self:
        """The same gate with moves of at least `travel_s` seconds, where its speed can be set."""
        return self

    def at_pulse(self, bin_: str, pulse_us: float) -> Self:
        """The same gate, which opens over `bin_` at this pulse, microseconds. Raises GateError where it is not moved by pulses."""
        raise GateError(f"gate {self.name}: --pulse is for servos")


def require_bin_or_bins(bin_: str | None, bins: Mapping[str, float]) -> None:
    """Raise ValueError unless one of the keys `bin` and `bins` is given, and only one."""
    if bin_ is None and not bins:
        raise ValueError("Expected bin = ..., or bins = {...} for a gate that serves several; found neither")
    if bin_ is not None and bins:
        raise ValueError("Expected bin or bins, found both")


def require_places_apart(closed: float, places: Mapping[str, float]) -> None:
    """Raise ValueError where two of the bins, or a bin and the closed position, have the same place."""
    used: dict[float, str] = {closed: "the closed position"}
    for name, place in places.items():
        if place in used:
            raise ValueError(f"bins: expected a place of its own for each bin, found {place:g} for {used[place]} and {name}")
        used[place] = name
