"""`restart`: end the daemon cleanly; systemd starts it again."""

from device.remote import RemoteCommand, Steps
from device.remote.controls import BinControls


class Restart(RemoteCommand, frozen=True, kw_only=True):
    """End sortbin cleanly. systemd starts it again within seconds; what was taught and new settings are in use then."""

    name = "restart"

    def carry_out(self, bin_: BinControls) -> Steps:
        """The daemon ends once this is answered."""
        bin_.ask_restart()
        return "restarts now"
        yield
