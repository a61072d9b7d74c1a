"""What stops sorting: the faults a bin knows, and the line a person reads."""

from typing import Literal

from device.gates import GateError
from device.ledger.schema import LedgerError
from device.vision.inference.runtime import RuntimeFault

FaultName = Literal["camera", "classifier", "gate", "jam", "ledger", "hazard", "obstruction"]


class Failure(Exception):
    """Sorting cannot go on; the fault and a line for a person."""

    def __init__(self, fault: FaultName, message: str) -> None:
        super().__init__(message)
        self.fault: FaultName = fault
        self.message = message


def failure_of(error: Failure | GateError | LedgerError | RuntimeFault) -> Failure:
    """What an error of a part means for the bin."""
    match error:
        case Failure():
            return error
        case GateError():
            return Failure("gate", str(error))
        case LedgerError():
            return Failure("ledger", str(error))
        case RuntimeFault():
            return Failure("classifier", str(error))
