"""`emptied`: a person has emptied a bin."""

from typing import Annotated

import msgspec

from device.remote import RemoteCommand, Steps, require_bin
from device.remote.controls import BinControls

BinName = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class SayEmptied(RemoteCommand, frozen=True, kw_only=True):
    """Say that a bin was emptied: its count begins anew, and where it was full it is open again."""

    name = "emptied"
    bin: BinName
    """which one, as in the topics"""

    def carry_out(self, bin_: BinControls) -> Steps:
        """The event `bin_emptied` follows with the next reading of the levels."""
        require_bin(self.bin, bin_)
        bin_.levels.emptied(self.bin)
        return f"{self.bin} counts from zero"
        yield
