"""`clear_fault`: try at once what a fault waits for."""

from device.remote import Refused, RemoteCommand, Steps
from device.remote.controls import BinControls

NEEDS_A_LOOK = ("jam", "hazard")
"""faults that only end by themselves once the tray is seen empty"""
TRY_S = 30.0
"""how long to wait for the end of the fault"""


class ClearFault(RemoteCommand, frozen=True, kw_only=True):
    """Try at once to get over a fault. With tray_is_empty a person has looked and says that nothing lies there, which ends a jam or a held hazard.

    It opens no gate, and moves none while something reaches in.
    """

    name = "clear_fault"
    most_s = 60.0
    tray_is_empty: bool = False
    """a person has looked: nothing lies on the tray. It is learned anew as it is, and what lies there after all is never sorted"""

    def carry_out(self, bin_: BinControls) -> Steps:
        """Waits until no fault is left."""
        fault = bin_.sorter.fault
        if fault is None:
            raise Refused("not_now", "there is no fault")
        if not self.tray_is_empty and fault.fault in NEEDS_A_LOOK:
            raise Refused("not_now", f"{fault.fault}: take away what lies on the tray; if nothing lies there, say so with tray_is_empty")
        bin_.sorter.try_again(tray_is_empty=self.tray_is_empty)
        until_s: float | None = None
        while bin_.sorter.fault is not None:
            now_s = yield
            until_s = now_s + TRY_S if until_s is None else until_s
            if now_s > until_s:
                raise Refused("failed", f"the fault is still there: {bin_.sorter.fault.message}")
        return f"{fault.fault} is over"
