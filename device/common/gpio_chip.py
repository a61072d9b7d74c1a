"""Claim one line of a GPIO chip, by its name or number, through the kernel's GPIO character device (libgpiod 2)."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device.common.errors import SortbinError

if TYPE_CHECKING:
    import gpiod

DEVICES = Path("/dev")


class GpioError(SortbinError, OSError):
    """A line that cannot be claimed, or a gpiod that cannot be used. The message says whose line it is and what to try."""


@dataclass(frozen=True, slots=True)
class LineName:
    """A line as the settings name it.

    user: what it is for, for messages. line: its name as `gpioinfo` shows it, or its number, with `chip`. chip: device file; empty: any chip that has
    a line of that name. devices: folder of the chips' device files.
    """

    user: str
    line: str
    chip: str = ""
    devices: Path = DEVICES


@dataclass(frozen=True, slots=True)
class ClaimedLine:
    """A claimed line: where it is, for messages, its offset on the chip, and gpiod's request, which has to be released."""

    where: str
    offset: int
    request: "gpiod.LineRequest"

    def release(self) -> None:
        """Give the line back. Any number of calls; never raises."""
        with contextlib.suppress(OSError):
            self.request.release()


def require_number_with_chip(line: str, chip: str) -> None:
    """Raise ValueError for the number of a line without its chip."""
    if line.isdecimal() and not chip:
        raise ValueError(f'Expected `chip` beside the line number {line}, such as "/dev/gpiochip0"')


def gpiod_missing(user: str, error: Exception) -> GpioError:
    """The error for a gpiod that is missing, outdated or built for another system. error: what its import or first use raised."""
    return GpioError(f"{user}: gpiod cannot be imported ({error}); install it with `pip install gpiod`")


def claim_line(name: LineName, settings: "gpiod.LineSettings") -> ClaimedLine:
    """Claim a line; the kernel refuses it to other processes meanwhile. Raises GpioError where there is none, or it is in use."""
    import gpiod

    chips = [Path(name.chip)] if name.chip else sorted(name.devices.glob("gpiochip*"))
    refused: OSError | None = None
    for path in chips:
        try:
            with gpiod.Chip(str(path)) as chip:
                offset = _find_line(chip, name.line)
                if offset is not None:
                    return ClaimedLine(f"line {name.line} of {path}", offset, chip.request_lines({offset: settings}, consumer="sortbin"))
        except OSError as error:
            refused = error
    where = ", ".join(map(str, chips)) or f"{name.devices}/gpiochip*, of which there is none"
    if refused is None:
        raise GpioError(f"{name.user}: no line {name.line} in {where}; `gpioinfo` lists the existing ones")
    is_there = not isinstance(refused, FileNotFoundError)
    cure = "is it in use, and the user in group `gpio`?" if is_there else 'expected the device file of a chip, such as "/dev/gpiochip0"'
    raise GpioError(f"{name.user}: cannot claim line {name.line} of {where}: {refused.strerror}; {cure}")


def _find_line(chip: "gpiod.Chip", line: str) -> int | None:
    try:
        return chip.line_offset_from_id(line)
    except (FileNotFoundError, ValueError):
        return None
