"""Composes `health`: how the device itself is."""

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from device.adaptation.drift import DriftMonitor
from device.daemon.network_metrics import wifi_dbm
from device.daemon.parts import BinParts
from device.daemon.system_metrics import cpu_temperature_c, free_mib, resident_mib, throttled
from device.gates.use import GateUse
from device.mqtt.payloads import GateHealth, Health


def measure_health(parts: BinParts, drift_monitor: DriftMonitor, state: str, now_s: float) -> Health:
    """The payload of `health`, not stamped yet. Reads the kernel's tables and no disk.

    state: folder of the ledger. now_s: monotonic seconds.
    """
    camera, ledger, link = parts.hardware.camera, parts.ledger, parts.link
    runtime = parts.judge.classifier.runtime
    age_s = camera.age_s(now_s)
    p50_ms, p95_ms = _percentiles(parts.judge.classifier.took_ms)
    own_address, broker_address = ("", "") if link is None else link.addresses
    return Health(
        address=own_address,
        wifi_dbm=wifi_dbm(own_address, broker_address),
        temperature_c=cpu_temperature_c(),
        throttled=throttled(),
        load=round(os.getloadavg()[0], 2),
        disk_free_mib=free_mib(state),
        memory_mib=round(resident_mib(), 1),
        frame_age_s=round(age_s, 3) if np.isfinite(age_s) else None,
        frames_damaged=camera.damaged,
        camera_reopened=camera.reopened,
        backend=runtime.name,
        degraded=runtime.degraded,
        p50_ms=p50_ms,
        p95_ms=p95_ms,
        outbox=ledger.undelivered,
        refused=() if link is None else link.refused,
        dropped=ledger.dropped,
        restarts=ledger.restarts,
        total_restarts=ledger.total_restarts,
        last_restart=ledger.last_restart,
        gates=_gates(parts.hardware.gates.use, now_s, parts.clock.label),
        site=parts.label_prior.shares,
        drift={str(signal): off for signal, off in drift_monitor.deviations.items()},
    )


def _gates(use: Mapping[str, GateUse], now_s: float, label: Callable[[float], str]) -> dict[str, GateHealth]:
    return {
        name: GateHealth(
            cycles=each.cycles,
            open_s=round(each.open_s(now_s), 1),
            last_fault=each.last_fault,
            last_fault_time=label(each.last_fault_s) if each.last_fault else None,
        )
        for name, each in use.items()
    }


def _percentiles(took_ms: Sequence[float]) -> tuple[float | None, float | None]:
    if not took_ms:
        return None, None
    p50_ms, p95_ms = np.percentile(list(took_ms), [50, 95])
    return round(float(p50_ms), 2), round(float(p95_ms), 2)
