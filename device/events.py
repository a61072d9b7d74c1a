"""The types of all events, as the ledger stores them and MQTT publishes them. The JSON schemas are generated from these types."""

from typing import Literal

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=False):
    """The fields of every event. The ledger fills them in when it stores the event; until then `seq` is 0."""

    device: str = ""
    """id of the device"""
    install: str = ""
    """id of the ledger that gave `seq`; another one once the ledger is copied elsewhere or begun anew; empty in events of earlier versions"""
    seq: int = 0
    """number of the event, never repeats for a device"""
    boot: str = ""
    """which start of the daemon"""
    uptime_s: float = 0.0
    """seconds since that start, on the monotonic clock"""
    time: str = ""
    """RFC 3339, UTC, by the wall clock"""
    clock: Literal["synced", "unsynced"] = "unsynced"
    """whether the wall clock was synchronised"""


class Item(Event, frozen=True, kw_only=True):
    """One item that was judged."""

    item: str
    """its id"""
    bin: str
    """where it went"""
    label: str
    """the likeliest label"""
    p: float
    """calibrated probability of that label, 0 to 1"""
    probabilities: dict[str, float]
    """of each label, calibrated, summing to 1"""
    frames: int
    """number of frames that it was judged by"""
    decided_s: float
    """seconds from the item's arrival to the decision"""
    moved_s: float
    """seconds from the decision until the tray was seen empty"""
    bundle: str
    """name of the bundle that judged it"""
    isolated: bool = False
    """whether the item was isolated from the empty tray; otherwise the whole frame was judged"""
    not_isolated: str = ""
    """why the whole frame was judged, in a few words; empty where the item was isolated, and in events of earlier versions"""
    unknown: float | None = None
    """novelty score, 0 familiar to 1 out of distribution; None where the bundle has no novelty model, and in events of earlier versions"""
    pieces: int = 1
    """number of pieces it lay in, apart or joined by a neck, each judged alone: 2 for two things, or for one thing under a strap; 1 in events of
    earlier versions
    """
    p_right: float | None = None
    """probability that it belongs in `bin`, all labels of that bin together; None in events of earlier versions"""
    confirmed: bool | None = None
    """whether a beam behind the gate saw it fall; None where there is no beam, or it does not work, and in events of earlier versions"""


class ItemSorted(Item, frozen=True, kw_only=True, tag="item_sorted"):
    """An item went to the bin that its label belongs in."""


class ItemRejected(Item, frozen=True, kw_only=True, tag="item_rejected"):
    """An item went to the residual bin, because it was unsure or unknown, or its own bin was closed. A suspected hazard, and several things for
    different bins, went where the rule pack says.
    """

    reason: Literal["unsure", "unknown", "safe_mode", "hazard", "several", "full"]
    """why it did not go where its label belongs"""


class ItemInterrupted(Event, frozen=True, kw_only=True, tag="item_interrupted"):
    """An item was on its way to `bin`, and where it went is not known: the daemon stopped, the power failed, or the item was taken away."""

    item: str
    """its id"""
    bin: str
    """where it was to go"""
    label: str
    """the likeliest label"""
    reason: Literal["restart", "stopped", "removed", "fault"]
    """what interrupted it"""


class Hazard(Event, frozen=True, kw_only=True, tag="hazard"):
    """An item that may be a hazard lies on the tray."""

    item: str
    """its id"""
    bin: str
    """where it goes now; empty where no gate opens until a hand has taken it out, which is the fault `hazard`"""
    label: str
    """the likeliest hazard"""
    p: float
    """probability of all hazards of the rule pack together, 0 to 1"""


class Jam(Event, frozen=True, kw_only=True, tag="jam"):
    """The gate over `bin` opened, and the item did not leave within `waited_s`."""

    item: str
    """its id"""
    bin: str
    """whose gate it is"""
    waited_s: float
    """seconds that it had to leave"""


class Fault(Event, frozen=True, kw_only=True, tag="fault"):
    """Sorting stopped: a part failed, a hazard is held, or something reaches in."""

    fault: Literal["camera", "classifier", "gate", "jam", "ledger", "hazard", "obstruction"]
    """a short name that never changes"""
    message: str
    """one line for a person"""


class Cleared(Event, frozen=True, kw_only=True, tag="cleared"):
    """A fault is over."""

    fault: str
    """its name"""
    lasted_s: float
    """seconds from its beginning"""


class Started(Event, frozen=True, kw_only=True, tag="started"):
    """The daemon is ready to sort."""

    version: str
    """version of Sortbin"""
    bundle: str
    """name of the bundle that classifies the items"""
    runtime: str
    """what executes it"""
    restarts: int
    """starts in a row that did not end with a clean stop"""


class Drift(Event, frozen=True, kw_only=True, tag="drift"):
    """What the bin sees has drifted from its baseline."""

    signal: Literal["confidence", "labels", "strangeness", "brightness", "sharpness", "view"]
    """what strayed: a short name that never changes"""
    strayed: float
    """how far the running mean is off the baseline, in standard deviations of that difference, with its sign"""
    message: str
    """one line for a person"""


class BinFull(Event, frozen=True, kw_only=True, tag="bin_full"):
    """A bin is full: its items go to the residual bin until it is emptied."""

    bin: str
    """which bin"""
    percent: float | None
    """how full it is, in percent; None where its sensor only tells full from not full"""
    source: str
    """the kind of level sensor, such as `ultrasonic` or `estimate`"""


class BinEmptied(Event, frozen=True, kw_only=True, tag="bin_emptied"):
    """A bin was emptied."""

    bin: str
    """which bin"""
    by: Literal["command", "sensor"]
    """whether a person said so, or a sensor saw it"""
    items: int
    """items that went into it since it was emptied before"""


class CommandAccepted(Event, frozen=True, kw_only=True, tag="command"):
    """A command that came over MQTT was accepted. On disk before it is carried out."""

    command: str
    """its name"""
    id: str
    """given by its sender"""
    args: dict[str, str | int | float | bool] = {}
    """as sent"""


AnyEvent = ItemSorted | ItemRejected | ItemInterrupted | Hazard | Jam | Fault | Cleared | Started | Drift | BinFull | BinEmptied | CommandAccepted

LATER_FIELDS = frozenset({"install", "isolated", "not_isolated", "unknown", "pieces", "p_right"})
"""fields that events of earlier versions lack"""

_DECODER: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """The event as one JSON object, UTF-8."""
    return msgspec.json.encode(event)


def decode(data: bytes) -> AnyEvent:
    """The event in the JSON that `encode` returned. Raises msgspec.MsgspecError, or UnicodeDecodeError, for anything else."""
    return _DECODER.decode(data)
