"""What `gpiod.line` has."""

from enum import Enum


class Direction(Enum):
    OUTPUT = 1


class Value(Enum):
    INACTIVE = 0
    ACTIVE = 1
