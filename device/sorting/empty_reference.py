"""What the tray looks like with nothing on it."""

from typing import NamedTuple

from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.occupancy import OccupancyDetector


class EmptyReference(NamedTuple):
    """The empty tray: `detector` detects that something lies there, `background` tells what. Both follow the tray and change in place."""

    detector: OccupancyDetector
    background: BackgroundModel

    @property
    def learned(self) -> bool:
        """Whether both have been learned."""
        return self.detector.learned and self.background.learned

    def copy(self) -> "EmptyReference":
        """The same reference, which does not change with this one."""
        return EmptyReference(self.detector.copy(), self.background.copy())

    def copy_from(self, other: "EmptyReference") -> None:
        """Take the state of another reference."""
        self.detector.copy_from(other.detector)
        self.background.copy_from(other.background)

    def replace(self, pixels: Pixels) -> None:
        """Take one frame (H x W x 3 uint8 RGB) for the empty tray from now on."""
        self.detector.replace(pixels)
        self.background.clear()
        self.background.add(pixels)
