"""The camera, gates and level sensors of a virtual bin, which the daemon runs as it runs a real one."""

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from device.cameras.camera_thread import CameraThread
from device.gates.gates import Gates
from device.gates.simulated import SimulatedGate, SimulatedSettings
from device.hardware import BinHardware
from device.policy.rules import RulePack
from device.sensors.levels import WiredSensor
from device.sensors.simulated import SensorFaults, SimulatedLevelSettings, SimulatedSensor
from device.simulation.bin import FallenItem, Scenario, VirtualBin, VirtualCamera
from device.simulation.contents import BinContents
from device.simulation.items import VirtualItem

TRAVEL_S = 0.35
LEVEL_EVERY_S = 2.0
COLLECTED_AFTER_S = 30.0
"""how long a virtual bin stays full until somebody empties it"""


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
    levels = [SimulatedLevelSettings(bin=name, interval_s=LEVEL_EVERY_S, seed=seed + number) for number, name in enumerate(rules.bins)]
    contents = BinContents(rules.bins, levels[0].items, COLLECTED_AFTER_S)

    def on_fallen(fallen: FallenItem) -> None:
        contents.add(fallen.bin, fallen.at_s)
        observer.item_fell(fallen)

    scenario = Scenario(seed=seed, may_begin=observer.has_started, hand_comes=observer.hazard_is_held, on_fallen=on_fallen)
    virtual = VirtualBin(gates.values(), items, scenario)
    camera = CameraThread(lambda: VirtualCamera(virtual, time.monotonic, fps))
    sensors = tuple(virtual_sensor(each, contents, time.monotonic) for each in levels)
    return BinHardware(camera, "virtual", Gates(gates.values()), dict.fromkeys(gates, "simulated"), sensors=sensors)


def virtual_sensor(
    settings: SimulatedLevelSettings, contents: BinContents, now_s: Callable[[], float], faults: SensorFaults | None = None
) -> WiredSensor:
    """A sensor that looks into a virtual bin. now_s: monotonic clock."""
    return WiredSensor(settings, lambda _: SimulatedSensor(settings, lambda: contents.look(settings.bin, now_s()), faults, now_s=now_s))
