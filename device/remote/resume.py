"""`resume`: the end of a pause."""

import logging

from device.remote import Refused, RemoteCommand, Steps
from device.remote.background import in_background
from device.remote.controls import BinControls

log = logging.getLogger("sortbin")


class Resume(RemoteCommand, frozen=True, kw_only=True):
    """Sort again after `pause`."""

    name = "resume"

    def carry_out(self, bin_: BinControls) -> Steps:
        """Delete the note first: a pause must not come back with the next power cut."""
        try:
            yield from in_background(bin_.pause_note.delete, "pause")
        except OSError as error:
            raise Refused("failed", f"stays paused: the note on disk cannot be deleted: {error.strerror}") from error
        bin_.sorter.manual.paused = False
        log.info("resumed by a command")
        return "sorts again" if bin_.sorter.fault is None else "sorts again once the fault is over"
