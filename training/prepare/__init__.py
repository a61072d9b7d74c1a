"""Pictures to a checked data set: inspected, compared with each other, and split without a leak. Imports report."""

from training.prepare.options import PrepareError, PrepareOptions
from training.prepare.steps import Prepared, prepare

__all__ = ["PrepareError", "PrepareOptions", "Prepared", "prepare"]
