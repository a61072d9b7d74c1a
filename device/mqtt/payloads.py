"""The JSON payloads of the retained topics, one type for each. The schemas in `docs/schemas/` are made from these types and their docstrings."""

from typing import Literal

import msgspec

from device.events import Fault, ItemRejected, ItemSorted
from device.ledger.totals import BinTotals
from device.vision.inference.bundle import Metrics

Mode = Literal["starting", "ready", "sorting", "paused", "fault"]


class Stamped(msgspec.Struct, frozen=True, kw_only=True):
    """When a retained payload was made, in the words of events: `time` by the wall clock, `boot` and `uptime_s` by the monotonic one."""

    boot: str = ""
    """which start of the daemon"""
    uptime_s: float = 0.0
    """seconds since that start, on the monotonic clock; newer payloads and events of the same boot tell how old this one is"""
    time: str = ""
    """RFC 3339, UTC, by the device's clock"""
    clock: Literal["synced", "unsynced"] = "unsynced"
    """whether that clock was synchronised"""


class InfoBundle(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle that classifies the items."""

    name: str
    """its name"""
    version: str
    """its version"""
    sha256: str
    """digest of all its files"""
    metrics: Metrics
    """how accurate it is, and on which data that was measured"""


class InfoRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rule pack that says which label goes into which bin."""

    name: str
    """its name"""
    version: str
    """its edition"""
    sha256: str = ""
    """digest of its file"""


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """The hardware."""

    board: str
    """name in the device tree; empty where there is none"""
    camera: str
    """kind of camera"""
    gates: dict[str, str]
    """kind of gate by bin"""
    levels: dict[str, tuple[str, ...]] = {}
    """kinds of its level sensors by bin; bins without one are missing"""
    runtime: str
    """what executes the model, as in the `started` event"""


class Info(Stamped, frozen=True, kw_only=True):
    """`info`: what this device is. Changes at a start or with another model only."""

    device: str
    """its id, as in its topics and events"""
    title: str = ""
    """what people call it, from the settings"""
    location: str = ""
    """where it stands, from the settings"""
    install: str
    """name of the ledger, as in its events"""
    version: str
    """version of Sortbin"""
    settings_sha256: str = ""
    """digest of the settings without names and files of logins: two bins with the same one are set alike"""
    bundle: InfoBundle
    """what classifies the items"""
    labels: tuple[str, ...]
    """the model's labels in its order, then the labels that were taught"""
    taught: dict[str, int] | None
    """number of photos of each taught label; null where nothing was taught"""
    rules: InfoRules
    """what says which label goes into which bin"""
    bins: dict[str, str]
    """title by name, in the rule pack's order: the name is used in topics and events, the title is for people"""
    bin_of: dict[str, str] = {}
    """the bin of each label"""
    residual: str
    """the bin for items whose label is unsure"""
    hardware: Hardware
    """the hardware"""
    commands: tuple[str, ...] = ()
    """commands that it takes on `cmd/<name>`; empty where it takes none"""
    remarks: tuple[str, ...]
    """what was found wrong at the start and does not keep it from sorting, one line each"""


class FaultState(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing is sorted."""

    fault: str
    """a short name that does not change between versions"""
    message: str
    """one line for a person; follows the cause when that changes"""
    since: str = ""
    """when it began: RFC 3339, UTC, by the device's clock"""


class LastItem(msgspec.Struct, frozen=True, kw_only=True):
    """The item that was sorted or rejected last."""

    item: str
    """its id"""
    bin: str
    """where it went"""
    label: str
    """the likeliest label"""
    p: float
    """the probability of that label, 0 to 1"""
    reason: str | None
    """why it was rejected; null when it was sorted"""
    time: str
    """RFC 3339, UTC, by the device's clock"""


class State(Stamped, frozen=True, kw_only=True):
    """`state`: what the bin is doing. On change, at most once a second."""

    mode: Mode
    """what it is doing"""
    fault: FaultState | None
    """the newest fault; null unless mode is `fault`"""
    faults: tuple[FaultState, ...] = ()
    """all faults, the newest first"""
    safe_mode: bool
    """after repeated crashes everything goes to the residual bin, until the daemon has run for a while"""
    since: str = ""
    """when the ledger began, and with it the totals: RFC 3339, UTC; empty where that is not known"""
    totals: dict[str, BinTotals]
    """by bin, since the ledger began"""
    last_item: LastItem | None
    """the last item, also of before a restart; null before the first one"""


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """What a bin's level sensor says."""

    source: str
    """kind of the sensor, such as `ultrasonic`; `estimate` where it only counts items; `remembered` where none can say, and the bin was full before;
    empty while none has told anything
    """
    measured: str | None
    """when it was measured: RFC 3339, UTC; null before the first time"""
    error: str
    """why it cannot tell, in one line; else empty"""


class BinSinceEmptied(msgspec.Struct, frozen=True, kw_only=True):
    """What went into a bin since it was emptied last, or since the ledger began where it never was."""

    since: str
    """when that was: RFC 3339, UTC, by the device's clock"""
    items: int
    """items, sorted or rejected"""
    hazards: int
    """those of them that may be a hazard"""
    contamination: float
    """how many of the sorted ones are expected to be wrong in it: the sum of 1 - p_right"""
    labels: dict[str, int]
    """items sorted into it, by label"""


class BinState(Stamped, frozen=True, kw_only=True):
    """`bin/<bin>`: how full one bin is, and what went into it. On change."""

    fill_percent: float | None
    """how full it is, in percent of its height; null where that is not known"""
    full: bool | None
    """whether it is closed to items because it is full; null where that is not known"""
    level: Level | None = None
    """where both come from; null without a level sensor"""
    items: int
    """items that went into it since the ledger began, sorted or rejected"""
    hazards: int
    """items sent to it since the ledger began that may be a hazard"""
    emptied: str | None = None
    """when it was emptied last: RFC 3339, UTC; null where that is not known"""
    since_emptied: BinSinceEmptied | None = None
    """what is in it now; null where that is not known"""


class GateHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One gate, since the daemon started."""

    cycles: int
    """how often it began to open"""
    open_s: float
    """seconds that it was not closed"""
    last_fault: str
    """what it reported last; empty where it has reported nothing"""
    last_fault_time: str | None
    """when that was: RFC 3339, UTC; null where it has reported nothing"""


class Health(Stamped, frozen=True, kw_only=True):
    """`health`: every 60 s, when a fault begins or ends, and once connected. null: unknown on this device."""

    address: str = ""
    """IP address on the way to the broker; empty while not connected"""
    wifi_dbm: float | None = None
    """signal of the Wi-Fi on that way, in dBm; null on a cable"""
    temperature_c: float | None
    """hottest thermal zone, in degrees Celsius"""
    throttled: bool | None
    """the board is slowed down by heat or low voltage"""
    load: float = 0.0
    """processes that run or wait, the mean of the last minute"""
    disk_free_mib: float | None
    """free space where the ledger is, in MiB"""
    memory_mib: float
    """resident memory of the daemon, in MiB"""
    frame_age_s: float | None
    """age of the newest frame, in seconds; null before the first one"""
    frames_damaged: int
    """frames since the start that arrived damaged and were dropped"""
    camera_reopened: int
    """how often since the start the camera was reopened after a failure"""
    backend: str
    """what executes the model"""
    degraded: str
    """why the CPU is used although the settings ask for an Edge TPU; else empty"""
    p50_ms: float | None
    """inference over the last items, the median, in milliseconds"""
    p95_ms: float | None
    """the same, 95th percentile"""
    outbox: int
    """events that no broker has acknowledged yet"""
    refused: tuple[str, ...]
    """topics that the broker refuses; only brokers of MQTT 5 say so"""
    dropped: int
    """events dropped since the ledger began because too many waited"""
    restarts: int
    """starts in a row without a clean stop before them"""
    total_restarts: int = 0
    """starts since the ledger began whose previous run did not stop cleanly"""
    last_restart: str = ""
    """how the run before this one ended: `stopped`, `crash`, `power_cut`, or `first start` where there was none"""
    gates: dict[str, GateHealth] = {}
    """each gate, by its bins with / between them"""
    site: dict[str, float]
    """share of each label among the items of this site, as used in decisions: from the settings, learned, or that of the training photos"""
    drift: dict[str, float]
    """distance of each signal of the `drift` events from its usual mean, in standard deviations; 0 until the usual mean is learned"""


def last_item(event: ItemSorted | ItemRejected) -> LastItem:
    """An item's event as `State.last_item`."""
    reason = event.reason if isinstance(event, ItemRejected) else None
    return LastItem(item=event.item, bin=event.bin, label=event.label, p=event.p, reason=reason, time=event.time)


def fault_state(fault: Fault, since: str) -> FaultState:
    """A fault event as one of `State.faults`. since: when it began, RFC 3339."""
    return FaultState(fault=fault.fault, message=fault.message, since=since)
