"""`identify`: show a person which bin this is."""

import logging

from device.remote import Refused, RemoteCommand, Steps
from device.remote.background import in_background
from device.remote.controls import BinControls
from device.remote.sorter_request import finished

log = logging.getLogger("sortbin")

BLINK_S = 10.0


class Identify(RemoteCommand, frozen=True, kw_only=True):
    """Show which bin this is: its board's green lamp blinks for ten seconds. Without one, the gate of the residual bin opens and closes once."""

    name = "identify"
    most_s = 60.0

    def carry_out(self, bin_: BinControls) -> Steps:
        """The lamp first: it moves nothing."""
        log.warning("a command asks which bin this is: it is this one")
        try:
            if (yield from in_background(lambda: bin_.led.blink(BLINK_S), "identify")):
                return f"the board's green lamp blinked for {BLINK_S:g} s"
        except OSError as error:
            raise Refused("failed", f"the board's lamp: {error.strerror}") from error
        if bin_.sorter.mode not in ("ready", "paused"):
            raise Refused("not_now", f"no lamp may be used, and no gate moves while the bin is {bin_.sorter.mode}; its log has a line")
        yield from finished(bin_.sorter.manual.test_gate(bin_.rules.residual))
        return f"the gate of {bin_.rules.residual} opened and closed"
