"""The last lines that the service has logged."""

from device.support.programs import output_of
from device.support.supported_bin import SupportedBin

LINES = 2000
LIMIT_S = 30.0


def collect(bin_: SupportedBin) -> str:
    """What journalctl gives of the unit, oldest first, without the computer's name. Raises ProgramError."""
    return output_of(
        ["journalctl", "--unit=sortbin.service", f"--lines={LINES}", "--output=short-iso-precise", "--no-hostname", "--no-pager", "--quiet"],
        limit_s=LIMIT_S,
    )
