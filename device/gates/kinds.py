"""The kinds of gate. A new one is one file beside this one, and its settings here."""

from device.gates.gpio_line import LineSettings
from device.gates.serial import SerialSettings
from device.gates.servo import ServoSettings
from device.gates.simulated import SimulatedSettings

GateSettings = ServoSettings | LineSettings | SerialSettings | SimulatedSettings
"""A table `[[gate]]`: its key `kind` chooses one of these."""
