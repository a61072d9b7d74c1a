"""How the world hears of it: one connection to one broker, fed from the ledger."""

from device.common.errors import SortbinError


class MqttError(SortbinError, ConnectionError):
    """A broker that cannot be reached or refuses. The message is one line: which broker, what it said, which key to look at."""
