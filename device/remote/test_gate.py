"""`test_gate`: open and close a gate once."""

from device.remote import Refused, RemoteCommand, Steps, require_bin
from device.remote.controls import BinControls
from device.remote.emptied import BinName
from device.remote.sorter_request import finished


class GateTest(RemoteCommand, frozen=True, kw_only=True):
    """Open and close the gate over a bin once. Only while nothing lies on the tray and nothing reaches in."""

    name = "test_gate"
    most_s = 60.0
    bin: BinName
    """which one, as in the topics"""

    def carry_out(self, bin_: BinControls) -> Steps:
        """A gate that does not move is the fault `gate`."""
        require_bin(self.bin, bin_)
        if bin_.sorter.mode not in ("ready", "paused"):
            raise Refused("not_now", f"the bin is {bin_.sorter.mode}: only while it is ready or paused")
        yield from finished(bin_.sorter.manual.test_gate(self.bin))
        return f"the gate of {self.bin} opened and closed"
