"""What the daemon publishes of its status, and when. Composed on the control thread, sent by the link's thread."""

from typing import TypeVar

import msgspec

from device.adaptation.drift import DriftMonitor
from device.common.clock import Clock
from device.daemon.bin_states import BinStates
from device.daemon.health import measure_health
from device.daemon.info import describe_bin
from device.daemon.parts import BinParts
from device.events import AnyEvent, Fault, ItemRejected, ItemSorted
from device.ledger.totals import BinTotals
from device.mqtt.payloads import LastItem, Mode, Stamped, State, fault_state, last_item
from device.settings import BinSettings

HEALTH_EVERY_S = 60.0
BINS_EVERY_S = 1.0
"""from one look at the levels to the next"""

Payload = TypeVar("Payload", bound=Stamped)


class StatusReporter:
    """Keeps the topics `info`, `state`, `bin/<bin>` and `health` up to date, and a status line for a person. Without MQTT, the line alone."""

    def __init__(self, settings: BinSettings, drift_monitor: DriftMonitor, parts: BinParts) -> None:
        self._settings, self._drift_monitor, self._parts = settings, drift_monitor, parts
        self._last_item: LastItem | None = None if parts.ledger.item_before is None else last_item(parts.ledger.item_before)
        self._published: tuple[object, ...] = ()
        self._bin_states, self._bins_due_s = BinStates(parts), 0.0
        self._health_due_s = 0.0
        self._urgent: tuple[object, ...] = ()
        """what must not wait for the next `health`"""
        self._faults_since: dict[str, str] = {}
        self.line = ""
        """the status line, as `systemctl status` shows it"""
        self._runtime = parts.judge.classifier.runtime
        self._publish_info()

    def note(self, event: AnyEvent) -> None:
        """Remember the last item. Call it with each stored event, from any thread."""
        if isinstance(event, ItemSorted | ItemRejected):
            self._last_item = last_item(event)

    def update(self, now_s: float, mode: Mode, faults: tuple[Fault, ...], safe_mode: bool) -> None:
        """Publish what has changed. Never waits. now_s: monotonic seconds. faults: all that keep the bin from sorting, the newest first."""
        link, ledger = self._parts.link, self._parts.ledger
        refused, addresses = ((), ("", "")) if link is None else (link.refused, link.addresses)
        self._note_faults(faults)
        current = (mode, faults, safe_mode, self._last_item, ledger.newest_seq, refused)
        if current != self._published:
            self._published = current
            totals = self._totals()
            self.line = _line(mode, faults, safe_mode, refused, sum(each.sorted + each.rejected for each in totals.values()))
            self._publish_state(mode, faults, safe_mode, totals)
            self._bins_due_s = now_s
        self._publish_bins(now_s)
        runtime = self._parts.judge.classifier.runtime
        if runtime is not self._runtime:
            self._runtime = runtime
            self._publish_info()
        self._publish_health(now_s, (tuple(self._faults_since), refused, addresses, runtime.name))

    def _note_faults(self, faults: tuple[Fault, ...]) -> None:
        """Note when each fault began."""
        names = {fault.fault for fault in faults}
        if names != self._faults_since.keys():
            time = self._parts.clock.read().time
            self._faults_since = {name: self._faults_since.get(name, time) for name in sorted(names)}

    def _publish_info(self) -> None:
        if self._parts.link is not None:
            self._parts.link.publish_info(stamped(describe_bin(self._settings, self._parts), self._parts.clock))

    def _publish_state(self, mode: Mode, faults: tuple[Fault, ...], safe_mode: bool, totals: dict[str, BinTotals]) -> None:
        if self._parts.link is None:
            return
        shown = tuple(fault_state(fault, self._faults_since[fault.fault]) for fault in faults)
        state = State(
            mode=mode,
            fault=shown[0] if shown else None,
            faults=shown,
            safe_mode=safe_mode,
            since=self._parts.ledger.since,
            totals=totals,
            last_item=self._last_item,
        )
        self._parts.link.publish_state(stamped(state, self._parts.clock))

    def _publish_bins(self, now_s: float) -> None:
        if self._parts.link is None or now_s < self._bins_due_s:
            return
        self._bins_due_s = now_s + BINS_EVERY_S
        for name, state in self._bin_states.changed(self._totals(), now_s).items():
            self._parts.link.publish_bin(name, stamped(state, self._parts.clock))

    def _totals(self) -> dict[str, BinTotals]:
        """Of each bin of the rule pack, zeros where nothing went into it yet, and of bins that have left the pack."""
        return dict.fromkeys(self._parts.rules.bins, BinTotals()) | self._parts.ledger.totals()

    def _publish_health(self, now_s: float, urgent: tuple[object, ...]) -> None:
        """Publish `health` where it is due, or `urgent` has changed."""
        if self._parts.link is None or (now_s < self._health_due_s and urgent == self._urgent):
            return
        self._health_due_s, self._urgent = now_s + HEALTH_EVERY_S, urgent
        health = measure_health(self._parts, self._drift_monitor, self._settings.device.state, now_s)
        self._parts.link.publish_health(stamped(health, self._parts.clock))


def stamped(payload: Payload, clock: Clock) -> Payload:
    """The payload with the present time in it."""
    now = clock.read()
    return msgspec.structs.replace(payload, boot=now.boot, uptime_s=now.uptime_s, time=now.time, clock=now.clock)


def _line(mode: Mode, faults: tuple[Fault, ...], safe_mode: bool, refused: tuple[str, ...], items: int) -> str:
    line = f"{mode}: {'; and '.join(fault.message for fault in faults)}" if faults else f"{mode}, {items} items so far"
    if safe_mode:
        line += "; safe mode after repeated crashes: everything goes to the residual bin"
    if refused:
        line += f"; the broker refuses {', '.join(refused)}: see the log"
    return line
