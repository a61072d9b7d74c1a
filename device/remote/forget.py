"""`forget`: the opposite of `teach`."""

from device.remote import RemoteCommand, Steps
from device.remote.controls import BinControls
from device.remote.teach import LabelName, checked_label


class Forget(RemoteCommand, frozen=True, kw_only=True):
    """Forget all photos that were taught of a label, from afar or on the bin. In use after a restart."""

    name = "forget"
    most_s = 400.0
    label: LabelName
    """which one"""

    def carry_out(self, bin_: BinControls) -> Steps:
        """Takes as long as a lesson."""
        head = yield from bin_.lessons.forget(checked_label(self.label))
        left = ", ".join(f"{label} {count}" for label, count in head.photos.items()) or "nothing"
        return f"forgotten; taught are: {left}; in use after a restart"
