"""Publishes the discovery messages, again when Home Assistant starts, and takes back what was published before and is no more."""

import logging
import math
import random
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from device.common.files import write_durably
from device.home_assistant.described_bin import DescribedBin
from device.home_assistant.messages import messages, platforms
from device.home_assistant.settings import HomeAssistantSettings
from device.mqtt.inbox import Message
from device.mqtt.reconnecting_link import Link

log = logging.getLogger("sortbin")

FILE = "home-assistant.json"
AGAIN_S = (1.0, 10.0)
"""wait after Home Assistant's birth message, drawn from here: many bins must not answer at once"""


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What Home Assistant may still know of this bin."""

    topics: tuple[str, ...] = ()
    """discovery topics that may hold a message"""
    components: dict[str, str] = {}
    """platform by key of the entities in a message of the form `device`"""


class Discovery:
    """The discovery messages of one bin. The constructor and `close` wait for the disk; `update` never waits.

    What was published is noted in the state folder before it goes out, so that it can be taken back by any later run.
    """

    def __init__(
        self,
        bin_: DescribedBin,
        settings: HomeAssistantSettings,
        link: Link,
        state: Path,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._link, self._file, self._draw = link, state / FILE, draw
        self._lock = threading.Lock()
        self._again_at_s = math.inf
        self._born = False
        before = _read(self._file)
        found = messages(bin_, settings, before.components) if settings.enabled else {}
        self._now = Published(topics=tuple(found), components=platforms(bin_, settings) if settings.enabled else {})
        self._gone = tuple(topic for topic in before.topics if topic not in found)
        self._noted = before
        self._note(Published(topics=self._now.topics + self._gone, components=before.components | self._now.components))
        for topic in self._gone:
            link.publish_retained(topic, b"")
        for topic, payload in found.items():
            link.publish_retained(topic, payload)
        if settings.enabled:
            link.subscribe(f"{settings.prefix}/status", self._on_status)

    @property
    def topics(self) -> tuple[str, ...]:
        """The discovery topics that hold a message now."""
        return self._now.topics

    @property
    def has_arrived(self) -> bool:
        """Whether the broker has all messages, and has forgotten all that were taken back."""
        return all(self._link.has_arrived(topic) for topic in (*self.topics, *self._gone))

    def update(self, now_s: float) -> None:
        """Publish everything once more a while after Home Assistant has started. now_s: monotonic seconds."""
        with self._lock:
            if self._born:
                self._born, self._again_at_s = False, now_s + self._draw(*AGAIN_S)
            if now_s < self._again_at_s:
                return
            self._again_at_s = math.inf
        for topic in self.topics:
            self._link.publish_again(topic)

    def close(self) -> None:
        """Forget what was taken back, where the broker has it."""
        if self.has_arrived:
            self._note(self._now)

    def _on_status(self, message: Message) -> None:
        with self._lock:
            self._born = self._born or message.payload == b"online"

    def _note(self, published: Published) -> None:
        if published == self._noted:
            return
        try:
            if published == Published():
                self._file.unlink(missing_ok=True)
            else:
                write_durably(self._file, msgspec.json.encode(published))
        except OSError as error:
            log.warning("%s: %s: what Home Assistant was told may not be taken back later", self._file, error.strerror)
        else:
            self._noted = published


def _read(file: Path) -> Published:
    """What was noted before; nothing where the file is missing or damaged."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Published)
    except FileNotFoundError:
        return Published()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.warning("%s: cannot be used: %s", file, error)
        return Published()
