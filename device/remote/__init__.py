"""Commands that come over MQTT: one file for each, with its arguments and what it does.

Imports the sorter, the link, the ledger and what lies below them. Everything that comes from the broker is untrusted here.
"""

from collections.abc import Generator
from typing import TYPE_CHECKING, ClassVar

import msgspec

from device.common.errors import SortbinError

if TYPE_CHECKING:
    from device.remote.controls import BinControls

Steps = Generator[None, float, str]
"""What a command does: resumed with the monotonic time, many times a second, on the control thread. It must never wait. It returns one line for a
person."""


class Refused(SortbinError):
    """A command that is not carried out, or failed. code: a short word that never changes; the message is one line."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RemoteCommand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of command. Its fields are its arguments, texts, numbers and true or false alone; its docstring is what `sortbin cmd --list` says."""

    name: ClassVar[str]
    """in the topic: lower-case letters and _"""
    most_s: ClassVar[float] = 30.0
    """longest time that it may take"""

    def carry_out(self, bin_: "BinControls") -> Steps:
        """Do it, step by step. Raises Refused."""
        raise NotImplementedError


def require_bin(name: str, bin_: "BinControls") -> None:
    """Raises Refused where the bin has no compartment of that name."""
    if name not in bin_.rules.bins:
        raise Refused("out_of_range", f"bin: expected one of {', '.join(bin_.rules.bins)}")
