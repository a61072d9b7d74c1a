"""Publishes why the daemon could not start or has crashed, for people who see the broker and not the log."""

import contextlib
import logging
from pathlib import Path

import msgspec

from device.common.clock import Clock
from device.common.default_paths import DEFAULT_STATE
from device.common.errors import SortbinError
from device.common.machine_id import default_device_id
from device.ledger.lock import is_in_use
from device.ledger.reader import read_ledger_state
from device.ledger.schema import LedgerError
from device.ledger.totals import totals_by_bin
from device.mqtt.payloads import FaultState, State, last_item
from device.mqtt.publish_once import publish_final_state
from device.mqtt.settings import DeviceId, MqttSettings

log = logging.getLogger("sortbin")

PUBLISH_S = 3.0
"""longest wait for a broker"""


class _DeviceTable(msgspec.Struct):
    id: DeviceId = msgspec.field(default_factory=default_device_id)
    state: str = str(DEFAULT_STATE)


class _PublishSettings(msgspec.Struct):
    """The tables that are needed to publish. Any other table may hold the mistake that is to be published."""

    device: _DeviceTable = msgspec.field(default_factory=_DeviceTable)
    mqtt: MqttSettings | None = None


def publish_exit_fault(file: Path, error: Exception, most_s: float = PUBLISH_S) -> None:
    """Publish a retained `state` with mode `fault` and the reason, to the broker that the settings file names.

    Takes little more than `most_s` seconds and never raises. Nothing is published where `[device]` or `[mqtt]` cannot be read, or where another
    sortbin has the ledger open: that one publishes for this bin.
    """
    try:
        _publish(file, error, most_s)
    except Exception as failure:  # of any type: it must not hide the reason
        log.warning("the reason could not be published: %s", failure)


def _publish(file: Path, error: Exception, most_s: float) -> None:
    try:
        settings = msgspec.toml.decode(file.read_text(encoding="utf-8-sig"), type=_PublishSettings)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError):
        return
    state = Path(settings.device.state)
    if settings.mqtt is None or is_in_use(state):
        return
    message = str(error) if isinstance(error, SortbinError) else f"{type(error).__name__}: {' '.join(str(error).split())}"
    publish_final_state(settings.mqtt, settings.device.id, _state(state, message), most_s)


def _state(folder: Path, message: str) -> State:
    """The state to publish, with the totals and the last item where the ledger can be read."""
    now = Clock().read()
    fault = FaultState(fault="daemon", message=message, since=now.time)
    state = State(
        boot=now.boot,
        uptime_s=now.uptime_s,
        time=now.time,
        clock=now.clock,
        mode="fault",
        fault=fault,
        faults=(fault,),
        safe_mode=False,
        totals={},
        last_item=None,
    )
    with contextlib.suppress(LedgerError):
        stored, item = read_ledger_state(folder)
        totals, since = totals_by_bin(stored.tallies), stored.notes.since
        return msgspec.structs.replace(state, since=since, totals=totals, last_item=None if item is None else last_item(item))
    return state
