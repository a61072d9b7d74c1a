"""What the daemon publishes of its status. Composed on the control thread, sent by the link's thread."""

from collections.abc import Sequence

import numpy as np

from device import __version__
from device.adaptation.drift import DriftMonitor
from device.common.clock import wall_clock_synced
from device.daemon.parts import BinParts
from device.daemon.system_metrics import board_name, cpu_temperature_c, free_mib, resident_mib, throttled
from device.events import AnyEvent, Fault, ItemRejected, ItemSorted
from device.ledger.totals import BinTotals
from device.mqtt.payloads import BinState, Hardware, Health, Info, InfoBundle, InfoRules, LastItem, Mode, State, fault_state, last_item
from device.settings import DeviceSettings

HEALTH_EVERY_S = 60.0


class StatusReporter:
    """Keeps the topics `info`, `state`, `bin/<bin>` and `health` up to date, and a status line for a person. Without MQTT, the line alone."""

    def __init__(self, device: DeviceSettings, drift_monitor: DriftMonitor, parts: BinParts) -> None:
        self._device, self._drift_monitor, self._remarks = device, drift_monitor, parts.remarks
        self._judge, self._label_prior, self._rules = parts.judge, parts.label_prior, parts.rules
        self._hardware, self._ledger, self._link = parts.hardware, parts.ledger, parts.link
        self._last_item: LastItem | None = None if parts.ledger.item_before is None else last_item(parts.ledger.item_before)
        self._published: tuple[object, ...] = ()
        self._refused: tuple[str, ...] = ()
        self._health_due_s: float | None = None
        self._began_s: float | None = None
        self.line = ""
        """the status line, as `systemctl status` shows it"""
        self._runtime = parts.judge.classifier.runtime
        if self._link is not None:
            self._link.publish_info(self._info())

    def note(self, event: AnyEvent) -> None:
        """Remember the last item. Call it with each stored event, from any thread."""
        if isinstance(event, ItemSorted | ItemRejected):
            self._last_item = last_item(event)

    def update(self, now_s: float, mode: Mode, fault: Fault | None, safe_mode: bool) -> None:
        """Publish what has changed. Never waits. now_s: monotonic seconds."""
        self._began_s = now_s if self._began_s is None else self._began_s
        refused = () if self._link is None else self._link.refused
        if refused != self._refused:
            self._refused, self._health_due_s = refused, None
        current = (mode, fault, safe_mode, self._last_item, self._ledger.newest_seq, refused)
        if current != self._published:
            self._published = current
            self._publish_state(mode, fault, safe_mode)
        if self._judge.classifier.runtime is not self._runtime:
            self._runtime, self._health_due_s = self._judge.classifier.runtime, None
            if self._link is not None:
                self._link.publish_info(self._info())
        if self._link is not None and (self._health_due_s is None or now_s >= self._health_due_s):
            self._health_due_s = now_s + HEALTH_EVERY_S
            self._link.publish_health(self._health(now_s))

    def _publish_state(self, mode: Mode, fault: Fault | None, safe_mode: bool) -> None:
        totals = self._ledger.totals()
        items = sum(bin_.sorted + bin_.rejected for bin_ in totals.values())
        self.line = f"{mode}: {fault.message}" if fault is not None else f"{mode}, {items} items so far"
        if safe_mode:
            self.line += "; safe mode after repeated crashes: everything goes to the residual bin"
        if self._refused:
            self.line += f"; the broker refuses {', '.join(self._refused)}: see the log"
        if self._link is None:
            return
        self._link.publish_state(State(mode=mode, fault=fault_state(fault), safe_mode=safe_mode, totals=totals, last_item=self._last_item))
        for name in self._rules.bins:
            counted = totals.get(name, BinTotals())
            self._link.publish_bin(name, BinState(fill_percent=None, full=False, items=counted.sorted + counted.rejected, hazards=counted.hazards))

    def _info(self) -> Info:
        bundle = self._judge.classifier.bundle.info
        return Info(
            device=self._device.id,
            install=self._ledger.install,
            version=__version__,
            bundle=InfoBundle(name=bundle.name, version=bundle.version, sha256=bundle.digest, metrics=bundle.metrics),
            labels=self._judge.labels,
            taught=None if self._judge.teaching is None else self._judge.teaching.examples.counts(),
            rules=InfoRules(name=self._rules.name, version=self._rules.version),
            bins=dict(self._rules.bins),
            residual=self._rules.residual,
            hardware=Hardware(
                board=board_name(),
                camera=self._hardware.camera_kind,
                gates=dict(self._hardware.gate_kinds),
                runtime=self._runtime.name,
            ),
            remarks=self._remarks,
        )

    def _health(self, now_s: float) -> Health:
        age_s = self._hardware.camera.age_s(now_s)
        p50_ms, p95_ms = _percentiles(self._judge.classifier.took_ms)
        return Health(
            uptime_s=round(now_s - (self._began_s or now_s), 1),
            clock="synced" if wall_clock_synced() else "unsynced",
            temperature_c=cpu_temperature_c(),
            throttled=throttled(),
            disk_free_mib=free_mib(self._device.state),
            memory_mib=round(resident_mib(), 1),
            frame_age_s=round(age_s, 3) if np.isfinite(age_s) else None,
            frames_damaged=self._hardware.camera.damaged,
            camera_reopened=self._hardware.camera.reopened,
            backend=self._runtime.name,
            degraded=self._runtime.degraded,
            p50_ms=p50_ms,
            p95_ms=p95_ms,
            outbox=self._ledger.undelivered,
            refused=self._refused,
            dropped=self._ledger.dropped,
            restarts=self._ledger.restarts,
            site=self._label_prior.shares,
            drift={str(signal): off for signal, off in self._drift_monitor.deviations.items()},
        )


def _percentiles(took_ms: Sequence[float]) -> tuple[float | None, float | None]:
    if not took_ms:
        return None, None
    p50_ms, p95_ms = np.percentile(list(took_ms), [50, 95])
    return round(float(p50_ms), 2), round(float(p95_ms), 2)
