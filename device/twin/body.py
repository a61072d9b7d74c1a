"""The body of a virtual bin: its camera and its gates, for the daemon to run as it runs a real one."""

import time
from collections.abc import Callable, Iterable

from device.body import Body
from device.cameras.newest import NewestFrame
from device.hardware.gates import Gates
from device.hardware.simulated import SimulatedGate
from device.rules import RulePack
from device.twin.bin import Landed, VirtualBin, VirtualCamera
from device.twin.items import Thing

TRAVEL_S = 0.35


def simulated_gates(rules: RulePack) -> dict[str, SimulatedGate]:
    """A simulated gate for each bin of the rule pack."""
    return {name: SimulatedGate(name, travel_s=TRAVEL_S) for name in rules.bins}


def virtual_body(
    rules: RulePack, things: Iterable[Thing], *, seed: int, fps: float, may_begin: Callable[[], bool], landed: Callable[[Landed], None]
) -> Body:
    """A bin into which `things` are thrown one after the other, once `may_begin` says so. landed: told of each that fell into a bin, on the camera's
    thread.
    """
    gates = simulated_gates(rules)
    virtual = VirtualBin(gates, things, seed=seed, may_begin=may_begin, landed=landed)
    camera = NewestFrame(lambda: VirtualCamera(virtual, time.monotonic, fps))
    return Body(camera, "virtual", Gates(gates), dict.fromkeys(gates, "simulated"))
