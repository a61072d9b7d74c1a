"""`set_paused`: `pause` and `resume` in one, for switches that send both over one topic."""

from device.remote import RemoteCommand, Steps
from device.remote.controls import BinControls
from device.remote.pause import Pause
from device.remote.resume import Resume


class SetPaused(RemoteCommand, frozen=True, kw_only=True):
    """Pause or resume: for switches that have one topic for both."""

    name = "set_paused"
    paused: bool
    """true: as `pause`; false: as `resume`"""

    def carry_out(self, bin_: BinControls) -> Steps:
        """What the other command does."""
        return (Pause() if self.paused else Resume()).carry_out(bin_)
