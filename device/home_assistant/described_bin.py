"""What discovery needs to know of a bin."""

from collections.abc import Mapping
from dataclasses import dataclass

from device.mqtt.connection import client_id
from device.mqtt.topics import Topics


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedBin:
    """A bin, as Home Assistant is told of it."""

    topics: Topics
    title: str
    """what people call it; empty: its id"""
    location: str
    version: str
    """of Sortbin"""
    board: str
    """name of its computer; may be empty"""
    bins: Mapping[str, str]
    """title by name"""
    measured: frozenset[str]
    """bins with a level sensor"""
    commands: frozenset[str]
    """names of the commands that it takes"""
    images: bool
    """whether it publishes pictures"""

    @property
    def key(self) -> str:
        """Names it among all bins of a broker, for as long as it keeps its id and base."""
        return client_id(self.topics.device, self.topics.base)
