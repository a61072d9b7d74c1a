"""The names of all topics."""

import re
import unicodedata
from dataclasses import dataclass

from device.common.errors import SortbinError


class TopicError(SortbinError, ValueError):
    """A name that is not valid in a topic."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one device: `<base>/<device>/...`. Raises TopicError for an id that is not `[a-z0-9_-]+` or a base with wildcards."""

    device: str
    base: str = "sortbin"

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z0-9_-]+", self.device):
            raise TopicError(f"device id {self.device!r}: expected lower-case letters, digits, _ and - only")
        if not all(_level(part) for part in self.base.split("/")) or self.base.startswith("$"):
            raise TopicError(f"mqtt.base {self.base!r}: expected names separated by /, without + and #, not beginning with $")

    @property
    def availability(self) -> str:
        """`online` or `offline`, retained."""
        return self._named("availability")

    @property
    def info(self) -> str:
        """`payloads.Info`, retained."""
        return self._named("info")

    @property
    def state(self) -> str:
        """`payloads.State`, retained."""
        return self._named("state")

    @property
    def health(self) -> str:
        """`payloads.Health`, retained."""
        return self._named("health")

    @property
    def event(self) -> str:
        """An event when it happens; never published again."""
        return self._named("event")

    @property
    def journal(self) -> str:
        """Every event in order, at least once."""
        return self._named("journal")

    @property
    def commands(self) -> str:
        """The pattern of the topics on which commands come, one a command: `command_payloads.Command`."""
        return self._named("cmd/+")

    @property
    def cmd_result(self) -> str:
        """`command_payloads.CommandResult`: what became of a command. Not retained."""
        return self._named("cmd_result")

    @property
    def image(self) -> str:
        """A JPEG of what the camera sees, retained."""
        return self._named("image/last")

    @property
    def all(self) -> str:
        """The wildcard pattern for all of them."""
        return self._named("#")

    @property
    def check(self) -> str:
        """Where `sortbin check` publishes an empty message, to find out whether the broker allows it."""
        return self._named("check")

    def bin(self, name: str) -> str:
        """`payloads.BinState`, retained. Raises TopicError for a name that is empty or holds `/`, `+`, `#` or control characters."""
        if not _level(name) or "/" in name:
            raise TopicError(f"bin {name!r}: expected a name without /, +, # and control characters")
        return self._named(f"bin/{name}")

    def command(self, name: str) -> str:
        """The topic of one command. Raises TopicError for a name with anything but lower-case letters and `_`."""
        if not re.fullmatch("[a-z_]+", name):
            raise TopicError(f"command {name!r}: expected lower-case letters and _ only")
        return self._named(f"cmd/{name}")

    def name_of(self, topic: str) -> str:
        """The topic without `<base>/<device>/`, such as `journal` or `bin/paper`."""
        return topic.removeprefix(self._named(""))

    def _named(self, name: str) -> str:
        return f"{self.base}/{self.device}/{name}"


def _level(name: str) -> bool:
    """Whether brokers accept it: no wildcards, and no control characters, for which mosquitto ends the connection."""
    return bool(name) and not any(letter in "+#" or unicodedata.category(letter) in ("Cc", "Cn", "Cs") for letter in name)
