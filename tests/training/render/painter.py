"""A photographer without Blender: paints a bright square for an item. Processes of an album import it by its name."""

import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training.render.album import OutOfView, Taken
from training.render.sensor import jpeg


@dataclass(frozen=True)
class Painter:
    """log: where every picture and every metering is noted. Kinds named "hidden" cannot be seen, "deadly" kills the process, and with "large" the
    process may write no larger file than a few hundred bytes, as on a full disk."""

    log: Path

    def meter(self, place):
        self._note(f"meter {place.name}")
        return 2.0

    def take(self, shot, exposure):
        assert exposure == 2.0
        self._note(shot.image)
        picture = np.full((24, 32, 3), 60, np.uint8)
        if shot.kind is None:
            return Taken(jpeg(picture, 90))
        if shot.kind.name == "hidden":
            raise OutOfView(f"{shot.image}: a hidden cannot be brought into view")
        if shot.kind.name == "deadly":
            os._exit(1)
        if shot.kind.name == "large":
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        x, y = shot.generator().integers(2, 16, 2)
        mask = np.zeros((24, 32), np.uint8)
        cv2.rectangle(mask, (int(x), int(y)), (int(x) + 5, int(y) + 3), 255, -1)
        picture[mask > 0] = 220
        return Taken(jpeg(picture, 90), mask, 1.0)

    def _note(self, line):
        with self.log.open("a") as log:
            log.write(line + "\n")
