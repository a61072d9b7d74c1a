"""Outputs made safe from the settings alone, after a process died with one of them on. The kernel does not do this by itself."""

from collections.abc import Sequence

from device.hardware import GateError
from device.hardware.gates import open_gate
from device.hardware.settings import GateSettings


def make_safe(settings: Sequence[GateSettings]) -> list[GateError]:
    """Switch off pulses and lines of every gate, each for itself. Returns what could not be reached."""
    errors = []
    for each in settings:
        try:
            open_gate(each).release()
        except GateError as error:
            errors.append(error)
    return errors
