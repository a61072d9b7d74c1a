"""What is said of a network that cannot be used, for code that must not wait for Keras."""

from device.common.errors import SortbinError


class NetworkError(SortbinError, ValueError):
    """A network that is damaged or whose inputs and outputs are not a classifier's. The message names the file and says what to do."""
