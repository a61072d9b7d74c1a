"""Tells Home Assistant of this bin, as far as the settings want that."""

from pathlib import Path

from device import __version__
from device.daemon.info import command_names
from device.daemon.parts import BinParts
from device.daemon.system_metrics import board_name
from device.home_assistant.described_bin import DescribedBin
from device.home_assistant.discovery import Discovery
from device.settings import BinSettings


def open_discovery(settings: BinSettings, parts: BinParts) -> Discovery | None:
    """The discovery messages, on their way; None without a broker. Waits for the disk."""
    if parts.link is None or settings.mqtt is None:
        return None
    described = DescribedBin(
        topics=parts.link.topics,
        title=settings.device.title,
        location=settings.device.location,
        version=__version__,
        board=board_name(),
        bins=parts.rules.bins,
        measured=frozenset(sensor.settings.bin for sensor in parts.hardware.sensors),
        commands=frozenset(command_names(settings)),
        images=settings.mqtt.images,
    )
    return Discovery(described, settings.home_assistant, parts.link, Path(settings.device.state))
