"""The body of a virtual bin: its camera and its gates, for the daemon to run as it runs a real one."""

import time
from collections.abc import Iterable
from typing import Protocol

from device.cameras.camera_thread import CameraThread
from device.gates.gates import Gates
from device.gates.simulated import SimulatedGate, SimulatedSettings
from device.hardware import BinHardware
from device.policy.rules import RulePack
from device.simulation.bin import Landed, VirtualBin, VirtualCamera
from device.simulation.items import VirtualItem

TRAVEL_S = 0.35


class Audience(Protocol):
    """Who watches a virtual bin, as `Narrator`. Called on the camera's thread."""

    def has_started(self) -> bool: ...
    def landed(self, landed: Landed, /) -> None: ...
    def hazard_is_held(self) -> bool: ...


def simulated_gates(rules: RulePack) -> dict[str, SimulatedGate]:
    """A simulated gate for each bin of the rule pack."""
    return {name: SimulatedGate(SimulatedSettings(bin=name, travel_s=TRAVEL_S)) for name in rules.bins}


def virtual_hardware(rules: RulePack, things: Iterable[VirtualItem], audience: Audience, *, seed: int, fps: float) -> BinHardware:
    """A bin into which `things` are thrown one after the other, once the audience says that it has started."""
    gates = simulated_gates(rules)
    virtual = VirtualBin(
        gates.values(), things, seed=seed, may_begin=audience.has_started, landed=audience.landed, hand_comes=audience.hazard_is_held
    )
    camera = CameraThread(lambda: VirtualCamera(virtual, time.monotonic, fps))
    return BinHardware(camera, "virtual", Gates(gates.values()), dict.fromkeys(gates, "simulated"))
