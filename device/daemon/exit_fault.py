"""Why a daemon could not start, or ended by itself, for those who see its broker and not its log."""

import contextlib
import logging
from pathlib import Path

import msgspec

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

TELL_S = 3.0
"""longest wait for a broker"""


class _Device(msgspec.Struct):
    id: DeviceId = msgspec.field(default_factory=default_device_id)
    state: str = str(DEFAULT_STATE)


class _Speaker(msgspec.Struct):
    """What is needed to speak. What is wrong may be anything else in the file."""

    device: _Device = msgspec.field(default_factory=_Device)
    mqtt: MqttSettings | None = None


def publish_exit_fault(file: Path, error: Exception, most_s: float = TELL_S) -> None:
    """Leave a `state` with mode `fault` and the reason at the broker that the settings file names. Takes little more than `most_s`; never raises.

    Nothing is told where the file does not say soundly who this is and which broker to tell, nor where another sortbin has the ledger and speaks for
    this bin.
    """
    try:
        _tell(file, error, most_s)
    except Exception as silent:  # whatever it is, it must not hide the reason
        log.warning("the broker could not be told why: %s", silent)


def _tell(file: Path, error: Exception, most_s: float) -> None:
    try:
        speaker = msgspec.toml.decode(file.read_text(encoding="utf-8-sig"), type=_Speaker)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError):
        return
    state = Path(speaker.device.state)
    if speaker.mqtt is None or is_in_use(state):
        return
    message = str(error) if isinstance(error, SortbinError) else f"{type(error).__name__}: {' '.join(str(error).split())}"
    publish_final_state(speaker.mqtt, speaker.device.id, _state(state, FaultState(fault="daemon", message=message)), most_s)


def _state(folder: Path, fault: FaultState) -> State:
    """What the ledger counted is still true, as far as it can be read."""
    with contextlib.suppress(LedgerError):
        stored, item = read_ledger_state(folder)
        return State(
            mode="fault",
            fault=fault,
            totals=totals_by_bin(stored.counts),
            last_item=None if item is None else last_item(item),
            safe_mode=False,
        )
    return State(mode="fault", fault=fault, totals={}, last_item=None, safe_mode=False)
