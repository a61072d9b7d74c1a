"""The faults that stop sorting."""

from typing import Literal

from device.gates import GateError
from device.ledger.schema import LedgerError
from device.vision.inference.preprocess import Pixels
from device.vision.inference.runtime import RuntimeFault

FaultName = Literal["camera", "classifier", "gate", "jam", "ledger", "hazard", "obstruction"]


class SortingFault(Exception):
    """Sorting cannot go on. name: which fault; message: one line for a person."""

    def __init__(self, name: FaultName, message: str) -> None:
        super().__init__(message)
        self.name: FaultName = name
        self.message = message


class Jammed(SortingFault):
    """An item did not leave through its gate. item_pixels: the last frame of it, H x W x 3 uint8 RGB."""

    def __init__(self, message: str, item_pixels: Pixels) -> None:
        super().__init__("jam", message)
        self.item_pixels = item_pixels


def as_sorting_fault(error: SortingFault | GateError | LedgerError | RuntimeFault) -> SortingFault:
    """The fault that an error of a part means for the bin."""
    match error:
        case SortingFault():
            return error
        case GateError():
            return SortingFault("gate", str(error))
        case LedgerError():
            return SortingFault("ledger", str(error))
        case RuntimeFault():
            return SortingFault("classifier", str(error))
