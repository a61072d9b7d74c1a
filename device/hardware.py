"""The camera and the gates of a bin, opened and closed together."""

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
from device.settings import Settings

log = logging.getLogger(__name__)


class HardwareError(SortbinError, ValueError):
    """Gates that do not fit the rule pack."""


@dataclass(frozen=True)
class BinHardware:
    """The camera and the gates, and the kind of each in the settings (of gates by bin)."""

    camera: CameraThread
    camera_kind: str
    gates: Gates
    gate_kinds: Mapping[str, str]
    state: Path | None = None
    """folder in which claimed outputs are stored; None for simulated gates"""

    def close(self) -> None:
        """Make the gates safe and close the camera. Any number of calls; never raises."""
        self.gates.release()
        if self.state is not None:
            clear_claim(self.state)
        self.camera.close(0.2)


def open_hardware(settings: Settings, rules: RulePack) -> BinHardware:
    """Open the camera and the gates of the settings. Raises HardwareError when a bin has no gate, GateError when hardware refuses.

    A camera that cannot be opened raises nothing: the sorter reports it as a fault and continues when it is there.
    """
    check_gates(settings, rules)
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
        return BinHardware(open_camera(settings.camera), settings.camera.kind, gates, kinds, state)
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
