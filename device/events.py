"""What happens in a bin, as the ledger keeps it and MQTT carries it. The JSON schemas are generated from these types."""

from typing import Literal

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=False):
    """What every event says of itself. The ledger fills these in when it commits the event; until then `seq` is 0.

    seq never repeats for a device. install names the ledger that gave it, which stays the same until the ledger is copied elsewhere or begun anew;
    empty in events of earlier versions. time is RFC 3339 in UTC, as the wall clock had it; clock says whether that was synchronised.
    boot names one start of the daemon, uptime_s counts from it on the monotonic clock.
    """

    device: str = ""
    install: str = ""
    seq: int = 0
    boot: str = ""
    uptime_s: float = 0.0
    time: str = ""
    clock: Literal["synced", "unsynced"] = "unsynced"


class Item(Event, frozen=True, kw_only=True):
    """One item that was looked at. item is its own id; probabilities are calibrated, one per label, and sum to 1."""

    item: str
    bin: str
    label: str
    p: float
    probabilities: dict[str, float]
    frames: int
    decided_s: float
    """from the item's arrival to the decision"""
    moved_s: float
    """from the decision until the chamber was seen empty"""
    bundle: str
    """name of the bundle that judged it"""
    isolated: bool = False
    """whether the item was told apart from the empty view, rather than the whole frame looked at"""
    not_isolated: str = ""
    """why the whole frame was looked at, in a few words; empty where the item was isolated, and in events of earlier versions"""
    unknown: float | None = None
    """how unlike everything known it looked, 0 familiar to 1; None where the bundle does not say what it knows, and in events of earlier versions"""
    pieces: int = 1
    """in how many pieces it lay, apart or joined by a neck, each looked at alone: two for two things, or for one thing under a strap; 1 in events of
    earlier versions
    """


class ItemSorted(Item, frozen=True, kw_only=True, tag="item_sorted"):
    """An item went to the bin that its label belongs in."""


class ItemRejected(Item, frozen=True, kw_only=True, tag="item_rejected"):
    """An item went to the residual bin because it was better not to guess, or not possible to do as decided; one that may be a hazard, and several
    things that do not belong in one bin, went where the rule pack says.
    """

    reason: Literal["unsure", "unknown", "safe_mode", "hazard", "several"]


class ItemInterrupted(Event, frozen=True, kw_only=True, tag="item_interrupted"):
    """An item was on its way to `bin` when the daemon stopped or the power failed, or it left by itself: where it went is not known."""

    item: str
    bin: str
    label: str
    reason: Literal["restart", "stopped", "removed", "fault"]


class Hazard(Event, frozen=True, kw_only=True, tag="hazard"):
    """An item that may be a hazard lies on the tray. p is the probability of all hazards of the rule pack together, label the likeliest of them.

    bin is where it is going now; empty where no gate opens until a hand has taken it out, which is the fault `hazard`.
    """

    item: str
    bin: str
    label: str
    p: float


class Jam(Event, frozen=True, kw_only=True, tag="jam"):
    """The gate over `bin` opened, and the item did not leave within `waited_s`."""

    item: str
    bin: str
    waited_s: float


class Fault(Event, frozen=True, kw_only=True, tag="fault"):
    """A part failed, a hazard is held, or something reaches in, and sorting stopped.

    fault is a short name that stays the same, message a line for a person.
    """

    fault: Literal["camera", "classifier", "gate", "jam", "ledger", "hazard", "obstruction"]
    message: str


class Cleared(Event, frozen=True, kw_only=True, tag="cleared"):
    """A fault is over."""

    fault: str
    lasted_s: float


class Started(Event, frozen=True, kw_only=True, tag="started"):
    """The daemon is ready to sort."""

    version: str
    bundle: str
    runtime: str
    restarts: int
    """starts in a row that did not end with a clean stop"""


class Drift(Event, frozen=True, kw_only=True, tag="drift"):
    """What the bin sees has changed from what it saw at first. signal is a short name that stays the same, message one line for a person."""

    signal: Literal["confidence", "labels", "strangeness", "brightness", "sharpness", "view"]
    strayed: float
    """how far its running mean is off what was usual, in standard deviations of that difference, with its sign"""
    message: str


AnyEvent = ItemSorted | ItemRejected | ItemInterrupted | Hazard | Jam | Fault | Cleared | Started | Drift

_DECODER: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """The event as one JSON object, UTF-8."""
    return msgspec.json.encode(event)


def decode(data: bytes) -> AnyEvent:
    """The event that `encode` wrote. Raises msgspec.MsgspecError, or UnicodeDecodeError, when it is none."""
    return _DECODER.decode(data)
