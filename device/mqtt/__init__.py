"""Publishes to one MQTT broker: status topics, and every event of the ledger at least once. Imports the ledger, events and common."""

from device.common.errors import SortbinError


class MqttError(SortbinError, ConnectionError):
    """A broker that cannot be reached or refuses. The message is one line: which broker, its reason, which settings key to look at."""
