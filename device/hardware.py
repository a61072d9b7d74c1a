"""The camera, the gates and the level sensors of a bin, as its settings name them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from device.cameras.camera_thread import CameraThread, open_camera
from device.common.errors import SortbinError
from device.gates.claimed_outputs import clear_claim, read_claim, write_claim
from device.gates.gates import Gates, open_gates
from device.gates.release import make_safe
from device.policy.rules import RulePack
from device.sensors.estimate import EstimateSettings
from device.sensors.levels import WiredSensor
from device.sensors.tof import TofSettings
from device.settings import Settings

log = logging.getLogger(__name__)


class HardwareError(SortbinError, ValueError):
    """Gates or level sensors that do not fit the rule pack, or each other."""


@dataclass(frozen=True)
class BinHardware:
    """The camera and the gates, and the kind of each in the settings (of gates by bin).

    sensors: the level sensors, which are opened later, on threads of their own.
    """

    camera: CameraThread
    camera_kind: str
    gates: Gates
    gate_kinds: Mapping[str, str]
    state: Path | None = None
    """folder in which claimed outputs are stored; None for simulated gates"""
    sensors: tuple[WiredSensor, ...] = ()

    def close(self) -> None:
        """Make the gates safe and close the camera. Any number of calls; never raises."""
        self.gates.release()
        if self.state is not None:
            clear_claim(self.state)
        self.camera.close(0.2)


def open_hardware(settings: Settings, rules: RulePack) -> BinHardware:
    """Open the camera and the gates of the settings. Raises HardwareError when gates or sensors do not fit, GateError when hardware refuses.

    A camera or a sensor that cannot be opened raises nothing: the sorter reports the camera as a fault, and goes on without the sensor.
    """
    check_gates(settings, rules)
    check_sensors(settings, rules)
    presence = settings.presence
    if warning := settings.camera.warning(max(presence.still_s, presence.learn_frames / settings.camera.fps)):
        log.warning("%s", warning)
    sorting, state = settings.sorting, Path(settings.device.state)
    left_on = [gate for gate in read_claim(state) if gate not in settings.gate]
    for error in make_safe(left_on):
        log.warning("%s; claimed by a bin that crashed, and no longer in the settings", error)
    write_claim(state, settings.gate)
    gates = open_gates(settings.gate, max_open_s=sorting.drop_s + 2 * sorting.gate_s)
    kinds = {name: gate.kind for gate in settings.gate for name in gate.serves}
    try:
        return BinHardware(open_camera(settings.camera), settings.camera.kind, gates, kinds, state, wired_sensors(settings))
    except BaseException:
        gates.release()
        raise


def check_gates(settings: Settings, rules: RulePack) -> None:
    """Raises HardwareError unless each bin of the rule pack has a gate and each gate a bin."""
    gated = {name for gate in settings.gate for name in gate.serves}
    for name in rules.bins:
        if name not in gated:
            raise HardwareError(f'gate: no [[gate]] with bin = "{name}", which rule pack {rules.name} sorts into')
    for name in sorted(gated - set(rules.bins)):
        raise HardwareError(f'gate: bin = "{name}" is not a bin of rule pack {rules.name}, which has {", ".join(rules.bins)}')


def check_sensors(settings: Settings, rules: RulePack) -> None:
    """Raises HardwareError for a level sensor of a bin that the rule pack does not have, and for one on a line that another part is on."""
    users = {gate.output: f"gate {gate.name}" for gate in settings.gate if gate.output}
    for sensor in settings.level:
        if sensor.bin not in rules.bins:
            raise HardwareError(f'level: bin = "{sensor.bin}" is not a bin of rule pack {rules.name}, which has {", ".join(rules.bins)}')
        for line in sensor.lines:
            if line in users:
                raise HardwareError(f"level: {users[line]} and {sensor.name} are both on {line}")
            users[line] = sensor.name
        if isinstance(sensor, EstimateSettings):
            for label in set(sensor.items_l) - set(rules.labels):
                log.warning("%s: items_l: there is no label %s now; expected some of %s", sensor.name, label, ", ".join(rules.labels))
    if len(buses := {sensor.bus for sensor in settings.level if isinstance(sensor, TofSettings)}) > 1:
        raise HardwareError(f"level: expected all sensors of the kind tof on one bus, found {' and '.join(map(str, sorted(buses)))}")


def wired_sensors(settings: Settings) -> tuple[WiredSensor, ...]:
    """The level sensors of the settings, not opened yet."""
    return tuple(WiredSensor(sensor, sensor.open) for sensor in settings.level)
