"""The camera and gates of a virtual bin, which the daemon runs as it runs a real one."""

import time
from collections.abc import Iterable
from typing import Protocol

from device.cameras.camera_thread import CameraThread
from device.gates.gates import Gates
from device.gates.simulated import SimulatedGate, SimulatedSettings
from device.hardware import BinHardware
from device.policy.rules import RulePack
from device.simulation.bin import FallenItem, Scenario, VirtualBin, VirtualCamera
from device.simulation.items import VirtualItem

TRAVEL_S = 0.35


class BinObserver(Protocol):
    """Observes a virtual bin, as `Narrator` does. Its methods are called on the camera's thread."""

    def has_started(self) -> bool:
        """Whether items may come."""
        ...

    def item_fell(self, fallen: FallenItem, /) -> None:
        """An item has fallen into a bin."""
        ...

    def hazard_is_held(self) -> bool:
        """Whether the bin waits for a hand."""
        ...


def simulated_gates(rules: RulePack) -> dict[str, SimulatedGate]:
    """A simulated gate for each bin of the rule pack."""
    return {name: SimulatedGate(SimulatedSettings(bin=name, travel_s=TRAVEL_S)) for name in rules.bins}


def virtual_hardware(rules: RulePack, items: Iterable[VirtualItem], observer: BinObserver, *, seed: int, fps: float) -> BinHardware:
    """A bin into which `items` are thrown one after the other, once the observer says that it has started."""
    gates = simulated_gates(rules)
    scenario = Scenario(seed=seed, may_begin=observer.has_started, hand_comes=observer.hazard_is_held, on_fallen=observer.item_fell)
    virtual = VirtualBin(gates.values(), items, scenario)
    camera = CameraThread(lambda: VirtualCamera(virtual, time.monotonic, fps))
    return BinHardware(camera, "virtual", Gates(gates.values()), dict.fromkeys(gates, "simulated"))
