"""The JSON payloads, one type for each topic. The JSON schemas are generated from these types."""

from typing import Any, Literal

import msgspec

from device.events import AnyEvent, Fault, ItemRejected, ItemSorted
from device.ledger.totals import BinTotals
from device.vision.inference.bundle import Metrics

Mode = Literal["starting", "ready", "sorting", "fault"]


class InfoBundle(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle that classifies the items. sha256: digest of all its files."""

    name: str
    version: str
    sha256: str
    metrics: Metrics


class InfoRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rule pack that says which label goes into which bin."""

    name: str
    version: str


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """The hardware. board: name in the device tree, empty where there is none. gates: kind of gate by bin."""

    board: str
    camera: str
    gates: dict[str, str]
    runtime: str
    """what executes the model, as in the `started` event"""


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """`info`: what this device is. Changes at a start or with another model only."""

    device: str
    install: str
    """name of the ledger, as in its events"""
    version: str
    """version of Sortbin"""
    bundle: InfoBundle
    labels: tuple[str, ...]
    """the model's labels in its order, then the labels that were taught"""
    taught: dict[str, int] | None
    """number of photos of each taught label; None where nothing was taught"""
    rules: InfoRules
    bins: dict[str, str]
    """title by name, in the rule pack's order: the name is used in topics and events, the title is for people"""
    residual: str
    """the bin for items whose label is unsure"""
    hardware: Hardware
    remarks: tuple[str, ...]
    """what was found wrong at the start and does not keep it from sorting, one line each"""


class FaultState(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing is sorted. fault: a short name that does not change between versions. message: one line for a person."""

    fault: str
    message: str


class LastItem(msgspec.Struct, frozen=True, kw_only=True):
    """The item that was sorted or rejected last. reason: why it was rejected; None when it was sorted."""

    item: str
    bin: str
    label: str
    p: float
    reason: str | None
    time: str
    """RFC 3339, UTC, by the device's clock"""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: what the bin is doing. On change, at most once a second."""

    mode: Mode
    fault: FaultState | None
    """None unless mode is `fault`"""
    totals: dict[str, BinTotals]
    """per bin, since the ledger began"""
    last_item: LastItem | None
    safe_mode: bool
    """after repeated crashes everything goes to the residual bin, until the daemon has run for a while"""


class BinState(msgspec.Struct, frozen=True, kw_only=True):
    """`bin/<bin>`: items that went into one bin since the ledger began, and how many of them may be a hazard.

    There is no fill sensor yet: fill_percent is None, full is False.
    """

    fill_percent: float | None
    full: bool
    items: int
    hazards: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`health`: every 60 s. None: unknown on this device. p50_ms, p95_ms: inference time over the last items, in milliseconds."""

    uptime_s: float
    clock: Literal["synced", "unsynced"]
    temperature_c: float | None
    throttled: bool | None
    """the board is slowed down by heat or low voltage"""
    disk_free_mib: float | None
    """where the ledger is"""
    memory_mib: float
    frame_age_s: float | None
    """age of the newest frame; None before the first one"""
    frames_damaged: int
    """damaged frames since the start, which were dropped"""
    camera_reopened: int
    """how often since the start the camera was reopened after a failure"""
    backend: str
    degraded: str
    """why the CPU is used although the settings ask for an Edge TPU; else empty"""
    p50_ms: float | None
    p95_ms: float | None
    outbox: int
    """events that no broker has acknowledged yet"""
    refused: tuple[str, ...]
    """topics that the broker refuses; only brokers of MQTT 5 say so"""
    dropped: int
    """events dropped since the ledger began because too many waited"""
    restarts: int
    """starts in a row without a clean stop before them"""
    site: dict[str, float]
    """share of each label among the items of this site, as used in decisions: from the settings, learned, or that of the training photos"""
    drift: dict[str, float]
    """distance of each signal of the `drift` events from its usual mean, in standard deviations; 0 until the usual mean is learned"""


def last_item(event: ItemSorted | ItemRejected) -> LastItem:
    """An item's event as `State.last_item`."""
    reason = event.reason if isinstance(event, ItemRejected) else None
    return LastItem(item=event.item, bin=event.bin, label=event.label, p=event.p, reason=reason, time=event.time)


def fault_state(fault: Fault | None) -> FaultState | None:
    """A fault event as `State.fault`."""
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
