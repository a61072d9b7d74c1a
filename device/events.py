"""The types of all events, as the ledger stores them and MQTT publishes them. The JSON schemas are generated from these types."""

from typing import Literal

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=False):
    """The fields of every event. The ledger fills them in when it stores the event; until then `seq` is 0.

    seq: never repeats for a device. install: id of the ledger that gave it; another one once the ledger is copied elsewhere or begun anew; empty in
    events of earlier versions. time: RFC 3339, UTC, by the wall clock; clock: whether that was synchronised. boot: id of one start of the daemon;
    uptime_s: monotonic seconds since then.
    """

    device: str = ""
    install: str = ""
    seq: int = 0
    boot: str = ""
    uptime_s: float = 0.0
    time: str = ""
    clock: Literal["synced", "unsynced"] = "unsynced"


class Item(Event, frozen=True, kw_only=True):
    """One item that was judged. item: its own id. probabilities: calibrated, one a label, summing to 1."""

    item: str
    bin: str
    label: str
    p: float
    probabilities: dict[str, float]
    frames: int
    decided_s: float
    """from the item's arrival to the decision"""
    moved_s: float
    """from the decision until the tray was seen empty"""
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


class ItemSorted(Item, frozen=True, kw_only=True, tag="item_sorted"):
    """An item went to the bin that its label belongs in."""


class ItemRejected(Item, frozen=True, kw_only=True, tag="item_rejected"):
    """An item went to the residual bin, because it was unsure or unknown, or its own bin was closed. A suspected hazard, and several things for
    different bins, went where the rule pack says.
    """

    reason: Literal["unsure", "unknown", "safe_mode", "hazard", "several", "full"]


class ItemInterrupted(Event, frozen=True, kw_only=True, tag="item_interrupted"):
    """An item was on its way to `bin`, and where it went is not known: the daemon stopped, the power failed, or the item was taken away."""

    item: str
    bin: str
    label: str
    reason: Literal["restart", "stopped", "removed", "fault"]


class Hazard(Event, frozen=True, kw_only=True, tag="hazard"):
    """An item that may be a hazard lies on the tray. p: the probability of all hazards of the rule pack together; label: the likeliest of them.

    bin: where it goes now; empty where no gate opens until a hand has taken it out, which is the fault `hazard`.
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
    """Sorting stopped: a part failed, a hazard is held, or something reaches in.

    fault: a short name that never changes; message: one line for a person.
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
    """What the bin sees has drifted from its baseline. signal: a short name that never changes; message: one line for a person."""

    signal: Literal["confidence", "labels", "strangeness", "brightness", "sharpness", "view"]
    strayed: float
    """how far the running mean is off the baseline, in standard deviations of that difference, with its sign"""
    message: str


class BinFull(Event, frozen=True, kw_only=True, tag="bin_full"):
    """A bin is full: its items go to the residual bin until it is emptied. percent: how full, None where only that is known; source: what says so."""

    bin: str
    percent: float | None
    source: str
    """the kind of level sensor, such as `ultrasonic` or `estimate`"""


class BinEmptied(Event, frozen=True, kw_only=True, tag="bin_emptied"):
    """A bin was emptied. by: a person said so, or a sensor saw it. items: that went into it since it was emptied before."""

    bin: str
    by: Literal["command", "sensor"]
    items: int


class CommandAccepted(Event, frozen=True, kw_only=True, tag="command"):
    """A command that came over MQTT was accepted. On disk before it is carried out. id: given by its sender; args: as sent."""

    command: str
    id: str
    args: dict[str, str | int | float | bool] = {}


AnyEvent = ItemSorted | ItemRejected | ItemInterrupted | Hazard | Jam | Fault | Cleared | Started | Drift | BinFull | BinEmptied | CommandAccepted

_DECODER: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """The event as one JSON object, UTF-8."""
    return msgspec.json.encode(event)


def decode(data: bytes) -> AnyEvent:
    """The event in the JSON that `encode` returned. Raises msgspec.MsgspecError, or UnicodeDecodeError, for anything else."""
    return _DECODER.decode(data)
