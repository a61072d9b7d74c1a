"""`teach`: what an item that the bin has judged really was."""

from typing import Annotated

import msgspec

from device.common.label_names import LabelError, label_of
from device.remote import Refused, RemoteCommand, Steps
from device.remote.controls import BinControls

LabelName = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^\w[\w .-]*$", description="letters, digits, _, blanks, . and -")]


class Teach(RemoteCommand, frozen=True, kw_only=True):
    """Teach what one of the last four items was, under an old label or a new one that the rule pack has a bin for. In use after a restart."""

    name = "teach"
    most_s = 400.0
    label: LabelName
    """what it was"""
    item: Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[0-9a-f]*$", description="digits and a to f")] = ""
    """its id, as in its event; empty for the last one"""

    def carry_out(self, bin_: BinControls) -> Steps:
        """Takes seconds to minutes on a small computer; the bin sorts on meanwhile."""
        head = yield from bin_.lessons.teach(self.item, checked_label(self.label))
        right = "" if head.right is None else f"; cross-validated, {head.right:.0%} get the right label"
        return f"taught: {', '.join(f'{label} {count}' for label, count in head.photos.items())}{right}; in use after a restart"


def checked_label(text: str) -> str:
    """The label in its one spelling. Raises Refused."""
    try:
        return label_of(text)
    except LabelError as error:
        raise Refused("out_of_range", str(error)) from error
