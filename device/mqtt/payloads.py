"""What is in the messages: one type a topic. The JSON schemas are generated from these types."""

from typing import Any, Literal

import msgspec

from device.events import AnyEvent, Fault, ItemRejected, ItemSorted
from device.ledger.totals import BinTotals
from device.vision.inference.bundle import Metrics

Mode = Literal["starting", "ready", "sorting", "fault"]


class InfoBundle(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle that judges the items. sha256 is the bundle's digest over all its files."""

    name: str
    version: str
    sha256: str
    metrics: Metrics


class InfoRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rule pack that says what goes where, and which edition of it."""

    name: str
    version: str


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """What the bin is built from. board is the device tree's name for it, empty where there is none; gates maps bins to kinds of gate."""

    board: str
    camera: str
    gates: dict[str, str]
    runtime: str
    """what executes the model, as in the `started` event"""


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """`info`: what this device is. Changes at a start or with another model, at no other time."""

    device: str
    install: str
    """names the ledger, as in its events"""
    version: str
    """of Sortbin"""
    bundle: InfoBundle
    labels: tuple[str, ...]
    """what is told apart: the model's labels in its order, then new ones that the bin was taught"""
    taught: dict[str, int] | None
    """photos of each label that the bin was taught on site; None where it was taught nothing"""
    rules: InfoRules
    bins: dict[str, str]
    """title by name, in the rule pack's order; the name is the one in topics and events, the title is for people"""
    residual: str
    """the bin of `bins` that takes what is better not guessed"""
    hardware: Hardware
    remarks: tuple[str, ...]
    """what was found wrong at the start and does not keep it from sorting, one line each"""


class FaultState(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing is sorted. fault is a short name that stays the same, message one line for a person."""

    fault: str
    message: str


class LastItem(msgspec.Struct, frozen=True, kw_only=True):
    """The item that was sorted or rejected last. reason says why it was rejected; None when it was sorted."""

    item: str
    bin: str
    label: str
    p: float
    reason: str | None
    time: str
    """RFC 3339, UTC, as far as the device's clock was right"""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: what the bin is doing. On change, at most once a second."""

    mode: Mode
    fault: FaultState | None
    """None unless mode is `fault`"""
    totals: dict[str, BinTotals]
    """per bin, since the ledger began"""
    last_item: LastItem | None
    safe_mode: bool
    """everything goes to the residual bin, because the daemon has crashed again and again; over once it has run for a while"""


class BinState(msgspec.Struct, frozen=True, kw_only=True):
    """`bin/<bin>`: items that went into one bin since the ledger began, and how many sent there may be a hazard. No sensor looks how full it is:
    fill_percent is None, full False.
    """

    fill_percent: float | None
    full: bool
    items: int
    hazards: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`health`: every 60 s. None means that the device cannot tell. Times of inference are over the last items, in milliseconds."""

    uptime_s: float
    clock: Literal["synced", "unsynced"]
    temperature_c: float | None
    throttled: bool | None
    """the board slows itself down: too hot, or too little voltage"""
    disk_free_mib: float | None
    """where the ledger is"""
    memory_mib: float
    frame_age_s: float | None
    """age of the newest frame; None before the first"""
    frames_damaged: int
    """pictures since the start that arrived from the camera damaged and were dropped"""
    camera_reopened: int
    """how often since the start the camera was opened again after it had failed"""
    backend: str
    degraded: str
    """why the CPU does the work although an Edge TPU was asked for, else empty"""
    p50_ms: float | None
    p95_ms: float | None
    outbox: int
    """events that no broker has acknowledged yet"""
    refused: tuple[str, ...]
    """topics that the broker does not let the device write to, as far as it says so"""
    dropped: int
    """events given up since the ledger began because too many waited"""
    restarts: int
    """starts in a row that did not end with a clean stop"""
    site: dict[str, float]
    """share of each label among the items of this place, as decisions take it: what the owner said, or what was learned, or the training photos'"""
    drift: dict[str, float]
    """how far each signal of the `drift` events is off the usual, in standard deviations; all 0 until the usual is known"""


def last_item(event: ItemSorted | ItemRejected) -> LastItem:
    """The event of an item as the state shows it."""
    reason = event.reason if isinstance(event, ItemRejected) else None
    return LastItem(item=event.item, bin=event.bin, label=event.label, p=event.p, reason=reason, time=event.time)


def fault_state(fault: Fault | None) -> FaultState | None:
    """The fault event that began it as the state shows it."""
    return None if fault is None else FaultState(fault=fault.fault, message=fault.message)


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema (2020-12) of each JSON payload, by the topic's name below the device; `bin` stands for `bin/<bin>`."""
    types: dict[str, Any] = {
        "info": Info,
        "state": State,
        "bin": BinState,
        "health": Health,
        "event": AnyEvent,
        "journal": AnyEvent,
    }
    return {topic: msgspec.json.schema(payload) for topic, payload in types.items()}
