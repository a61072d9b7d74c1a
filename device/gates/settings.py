"""The keys of a table `[[gate]]` that every kind of gate has."""

import math
from typing import Annotated, Self

from msgspec import Meta, Struct

from device.gates import Gate, GateError


class GateBase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every kind of gate has. A kind is one file: a subclass of this with its `tag`, and its gate. `device.gates.kinds` lists them."""

    bin: Annotated[str, Meta(min_length=1)]
    """name of the bin below it, as the rule pack spells it"""

    @property
    def kind(self) -> str:
        """The value of `kind` in the settings file."""
        return str(self.__struct_config__.tag)

    @property
    def way_s(self) -> float:
        """From the command until the gate counts as arrived, seconds."""
        raise NotImplementedError

    @property
    def max_on_s(self) -> float:
        """Longest time that it can be held open, seconds."""
        return math.inf

    @property
    def output(self) -> str:
        """The output that it drives, for messages. Two gates with the same one are refused. Empty for a gate without hardware."""
        raise NotImplementedError

    @property
    def description(self) -> str:
        """Its output and how it is driven, as `sortbin gate` lists it."""
        return self.output

    def claim(self) -> Gate:
        """Claim the hardware. Raises GateError."""
        raise NotImplementedError

    def slowed(self, travel_s: float) -> Self:
        """The same gate with moves of at least `travel_s` seconds, where its speed can be set."""
        return self

    def at_pulse(self, pulse_us: float) -> Self:
        """The same gate, which opens to this pulse. Raises GateError where it is not moved by pulses."""
        raise GateError(f"gate {self.bin}: --pulse is for servos")
