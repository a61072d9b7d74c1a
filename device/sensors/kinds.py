"""The kinds of level sensor. A new one is one file beside this one, and its settings here."""

from device.sensors.beam import BeamSettings
from device.sensors.estimate import EstimateSettings
from device.sensors.simulated import SimulatedLevelSettings
from device.sensors.tof import TofSettings
from device.sensors.ultrasonic import UltrasonicSettings

LevelSettings = UltrasonicSettings | TofSettings | BeamSettings | EstimateSettings | SimulatedLevelSettings
"""A table `[[level]]`: its key `kind` chooses one of these."""
