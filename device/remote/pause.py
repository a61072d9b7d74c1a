"""`pause`: nothing is judged or moved until `resume`."""

import logging

from device.remote import RemoteCommand, Steps
from device.remote.background import in_background
from device.remote.controls import BinControls

log = logging.getLogger("sortbin")


class Pause(RemoteCommand, frozen=True, kw_only=True):
    """Judge and move nothing until `resume`. An item on its way is finished first. Lasts over restarts and power cuts."""

    name = "pause"

    def carry_out(self, bin_: BinControls) -> Steps:
        """Pause at once, then note it on disk, then wait for the item on its way."""
        bin_.sorter.manual.paused = True
        log.info("paused by a command")
        try:
            yield from in_background(bin_.pause_note.write, "pause")
            kept = ""
        except OSError as error:
            kept = f", but not over a restart: {error.strerror}"
        while bin_.sorter.mode == "sorting":
            yield
        return ("paused" if bin_.sorter.fault is None else "paused once the fault is over") + kept
