"""What a bin of the simulated fleet publishes, in the types of the device: its parts, its counts, and the payloads made of them."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from device import __version__
from device.common.clock import Reading
from device.events import AnyEvent, BinEmptied, ItemInterrupted, ItemRejected, ItemSorted, Jam
from device.ledger.totals import BinTotals
from device.mqtt.payloads import (
    BinSinceEmptied,
    BinState,
    FaultState,
    GateHealth,
    Hardware,
    Health,
    Info,
    InfoBundle,
    InfoRules,
    LastItem,
    Level,
    State,
    last_item,
)
from device.policy.rules import RulePack
from device.vision.inference.bundle import BundleInfo

NOTHING = BinTotals()
RUNTIME = "ai-edge-litert 2.3.0 xnnpack"


@dataclass(frozen=True)
class FleetModel:
    """What all bins of the fleet have in common: the bundle and the rule pack that Sortbin comes with."""

    bundle: BundleInfo
    rules: RulePack

    def info(self, now: Reading, device: str, install: str, *, commands: tuple[str, ...], measured: bool) -> Info:
        """`info` of one bin. measured: whether it has level sensors."""
        every = dict.fromkeys(self.rules.bins, "simulated")
        return Info(
            **_stamp(now),
            device=device,
            title=f"Bin {device.rpartition('-')[2]}",
            location=f"Floor {int(device.rpartition('-')[2]) % 7}",
            install=install,
            version=__version__,
            bundle=InfoBundle(name=self.bundle.name, version=self.bundle.version, sha256=self.bundle.digest, metrics=self.bundle.metrics),
            labels=self.bundle.labels,
            taught=None,
            rules=InfoRules(name=self.rules.name, version=self.rules.version),
            bins=dict(self.rules.bins),
            bin_of={label: self.rules.bin_of(label) for label in self.bundle.labels},
            residual=self.rules.residual,
            hardware=Hardware(
                board="", camera="simulated", gates=every, levels=dict.fromkeys(self.rules.bins, ("ultrasonic",)) if measured else {}, runtime=RUNTIME
            ),
            commands=commands,
            remarks=(),
        )


@dataclass
class FleetCounts:
    """What a bin has counted since its ledger began, and since each of its bins was emptied, which fills it."""

    bins: tuple[str, ...]
    ever: dict[str, BinTotals] = field(default_factory=dict)
    since_emptied: dict[str, BinTotals] = field(default_factory=dict)
    emptied: dict[str, str] = field(default_factory=dict)
    since: str = ""
    last_item: LastItem | None = None

    def add(self, event: AnyEvent) -> None:
        """Count an event that was stored."""
        self.since = self.since or event.time
        if isinstance(event, BinEmptied):
            self.emptied[event.bin] = event.time
            self.since_emptied.pop(event.bin, None)
        elif isinstance(event, ItemSorted | ItemRejected | ItemInterrupted | Jam):
            for counts in (self.ever, self.since_emptied):
                counts[event.bin] = _counted(counts.get(event.bin, NOTHING), event)
        if isinstance(event, ItemSorted | ItemRejected):
            self.last_item = last_item(event)

    def items_in(self, name: str) -> int:
        """Items since a bin was emptied."""
        totals = self.since_emptied.get(name, NOTHING)
        return totals.sorted + totals.rejected

    def state(self, now: Reading, fault: FaultState | None) -> State:
        """`state` now."""
        return State(
            **_stamp(now),
            mode="ready" if fault is None else "fault",
            fault=fault,
            faults=() if fault is None else (fault,),
            safe_mode=False,
            since=self.since,
            totals={name: self.ever.get(name, NOTHING) for name in self.bins},
            last_item=self.last_item,
        )

    def bin_state(self, now: Reading, name: str, percent: float | None, full: bool) -> BinState:
        """`bin/<name>` now. percent: None without a level sensor."""
        totals, inside = self.ever.get(name, NOTHING), self.since_emptied.get(name, NOTHING)
        return BinState(
            **_stamp(now),
            fill_percent=None if percent is None else round(percent, 1),
            full=None if percent is None else full,
            level=None if percent is None else Level(source="ultrasonic", measured=now.time, error=""),
            items=totals.sorted + totals.rejected,
            hazards=totals.hazards,
            emptied=self.emptied.get(name),
            since_emptied=BinSinceEmptied(
                since=self.emptied.get(name, self.since),
                items=inside.sorted + inside.rejected,
                hazards=inside.hazards,
                contamination=inside.contamination,
                labels=inside.labels,
            ),
        )


def _stamp(now: Reading) -> dict[str, Any]:
    return {"boot": now.boot, "uptime_s": now.uptime_s, "time": now.time, "clock": now.clock}


def _counted(totals: BinTotals, event: ItemSorted | ItemRejected | ItemInterrupted | Jam) -> BinTotals:
    match event:
        case ItemSorted(label=label):
            labels = {**totals.labels, label: totals.labels.get(label, 0) + 1}
            wrong = 1 - (event.p if event.p_right is None else event.p_right)
            return replace(totals, sorted=totals.sorted + 1, labels=labels, contamination=round(totals.contamination + wrong, 6))
        case ItemRejected(reason=reason):
            return replace(totals, rejected=totals.rejected + 1, reasons={**totals.reasons, reason: totals.reasons.get(reason, 0) + 1})
        case ItemInterrupted():
            return replace(totals, interrupted=totals.interrupted + 1)
        case Jam():
            return replace(totals, jams=totals.jams + 1)


def health(now: Reading, rng: random.Random, restarts: int, site: Mapping[str, float], gates: Mapping[str, GateHealth]) -> Health:
    """`health` of a bin that works. site: share of each label."""
    p50_ms = rng.gauss(28.0, 1.5)
    return Health(
        **_stamp(now),
        address="192.0.2.1",
        wifi_dbm=round(rng.gauss(-62.0, 6.0)),
        temperature_c=round(rng.gauss(52.0, 4.0), 1),
        throttled=rng.random() < 0.01,
        load=round(rng.gammavariate(4.0, 0.1), 2),
        disk_free_mib=round(20_000 - now.uptime_s / 1000, 1),
        memory_mib=round(rng.gauss(85.0, 1.0), 1),
        frame_age_s=round(rng.uniform(0.01, 0.12), 3),
        frames_damaged=0,
        camera_reopened=0,
        backend=RUNTIME,
        degraded="",
        p50_ms=round(p50_ms, 2),
        p95_ms=round(p50_ms * 1.3, 2),
        outbox=0,
        refused=(),
        dropped=0,
        restarts=restarts,
        gates=dict(gates),
        site=dict(site),
        drift=dict.fromkeys(("confidence", "labels", "strangeness", "brightness", "sharpness", "view"), 0.0),
    )
