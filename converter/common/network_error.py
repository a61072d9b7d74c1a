"""The error for unusable networks. It stands in a module of its own so that importing it does not import Keras."""

from device.common.errors import SortbinError


class NetworkError(SortbinError, ValueError):
    """A network that is damaged, or whose inputs and outputs are not those of a classifier. The message names the file and the cure."""
