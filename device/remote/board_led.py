"""The board's own lamp, which the kernel can blink: Linux, Documentation/leds/leds-class.rst. Never tried on a Raspberry Pi."""

import re
import time
from pathlib import Path

LEDS = Path("/sys/class/leds")
NAMES = ("ACT", "led0")
"""of the green lamp on a Raspberry Pi, by newer and older kernels"""


class BoardLed:
    """The lamp that shows the card's activity otherwise."""

    def __init__(self, folder: Path = LEDS) -> None:
        self._folder = folder

    def blink(self, for_s: float) -> bool:
        """Blink once a second, and give the lamp back to what it showed before. Waits so long. False where there is none, or it may not be used."""
        for name in NAMES:
            trigger = self._folder / name / "trigger"
            try:
                before = re.search(r"\[(\S+)\]", trigger.read_text(encoding="ascii"))
                trigger.write_text("timer", encoding="ascii")
            except (OSError, UnicodeDecodeError):
                continue
            time.sleep(for_s)
            trigger.write_text(before[1] if before else "none", encoding="ascii")
            return True
        return False
