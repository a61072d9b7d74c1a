"""Preparing pictures for training: looked at one by one, compared with each other, and split without a leak."""

from training.prepare.order import Order, PrepareError
from training.prepare.steps import Prepared, prepare

__all__ = ["Order", "PrepareError", "Prepared", "prepare"]
