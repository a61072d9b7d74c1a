"""`relearn`: learn the empty tray anew."""

from device.remote import Refused, RemoteCommand, Steps
from device.remote.controls import BinControls
from device.remote.sorter_request import finished


class Relearn(RemoteCommand, frozen=True, kw_only=True):
    """Take the tray as it is for the empty one: after cleaning, or where the bin sees an item that is not there. Only with nothing on the tray."""

    name = "relearn"

    def carry_out(self, bin_: BinControls) -> Steps:
        """Between two items, once the view is still."""
        if bin_.sorter.mode not in ("ready", "paused"):
            raise Refused("not_now", f"the bin is {bin_.sorter.mode}: only while it is ready or paused (in a fault: clear_fault with tray_is_empty)")
        yield from finished(bin_.sorter.manual.relearn())
        return "the tray as it is counts as empty"
