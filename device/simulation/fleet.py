"""Publishes as a fleet of bins: one connection a bin, since will and availability belong to a connection, and one thread for all of them."""

import contextlib
import heapq
import math
import resource
import selectors
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from device.common.errors import SortbinError
from device.mqtt import MqttError
from device.mqtt.connection import client_id, read_password
from device.mqtt.probe import probe
from device.mqtt.settings import MqttSettings
from device.mqtt.tls import tls_context
from device.mqtt.topics import Topics
from device.simulation import mqtt_packets
from device.simulation.fleet_bin import BinPlan, FleetBin, FleetMessage, Step
from device.simulation.fleet_connection import KEEPALIVE_S, OPEN_S, FleetConnection, Unacknowledged
from device.simulation.fleet_payloads import FleetModel

MOST_BINS = 10_000
SPARE_FILES = 64
"""open files beside the connections"""
MOST_UNACKNOWLEDGED = 20_000
"""with so many messages on their way the fleet waits for the broker"""
AGAIN_S = 2.0
"""between two tries to reach a broker that was lost"""
STEPS_AT_ONCE = 1000
"""between two looks at the sockets"""
WAIT_S = 0.05
LEAVE_S = 10.0
"""longest wait for acknowledgements at the end"""


class FleetError(SortbinError, OSError):
    """A fleet that cannot be simulated here. The message says why."""


@dataclass(frozen=True)
class FleetPlan:
    """How many bins, how busy, and when. rate: events a second and bin. begin_s: Unix time of the first; speed: simulated seconds a second."""

    bins: int
    rate: float
    seed: int
    begin_s: float
    seconds: float | None
    speed: float = 1.0
    commands: bool = False


@dataclass
class FleetReport:
    """What was published so far."""

    messages: int = 0
    online: int = 0
    unacknowledged: int = 0
    """messages that the broker has not acknowledged"""
    behind_s: float = 0.0
    """how late the fleet is, in seconds of this computer"""
    broken: int = 0
    """connections that the broker ended or lost"""
    seconds: float = 0.0
    events: Counter[str] = field(default_factory=Counter)
    """on `journal`, by type"""


def device_name(number: int) -> str:
    """The id of a simulated bin."""
    return f"sim-{number:05d}"


class Fleet:
    """The bins, their connections and the clock of one simulation."""

    def __init__(self, plan: FleetPlan, model: FleetModel, settings: MqttSettings) -> None:
        """Raises FleetError where this process may not open so many connections, and MqttError for files of TLS or login that cannot be used."""
        _allow_files(plan.bins + SPARE_FILES)
        self.report = FleetReport()
        self._plan, self._settings = plan, settings
        self._tls = None if settings.tls is None else tls_context(settings.tls, OPEN_S)
        self._login = None if settings.username is None else (settings.username, read_password(settings) or "")
        numbers = range(1, plan.bins + 1)
        plans = {number: BinPlan(device_name(number), f"{plan.seed} {number}", plan.rate, plan.begin_s, plan.commands) for number in numbers}
        self.bins = {number: FleetBin(plans[number], model) for number in numbers}
        self._topics = {number: Topics(device_name(number), settings.base) for number in numbers}
        self._encoded: dict[tuple[int, str], bytes] = {}
        self._connections: dict[int, FleetConnection] = {}
        self._leaving: set[FleetConnection] = set()
        """connections that have sent DISCONNECT, until the broker closes them"""
        self._unsent: dict[int, list[Unacknowledged]] = {}
        """what a bin without a connection has to publish at the next one"""
        self._previous: dict[int, FleetConnection] = {}
        """the last connection of each bin that has left or was cut"""
        self._lost: dict[int, None] = {}
        """bins that have lost their connection, and are to get another one"""
        self._again_at_s = self._ping_at_s = 0.0
        self._selector = selectors.DefaultSelector()

    def run(self, stopping: Callable[[], bool], progress: Callable[[FleetReport], None]) -> FleetReport:
        """Publish until it is time or `stopping`. Then every bin leaves. Raises MqttError where the broker cannot be reached at the beginning."""
        lives = {number: bin_.live() for number, bin_ in self.bins.items()}
        steps = [(step.at_s, number, step) for number, life in lives.items() for step in [next(life)]]
        heapq.heapify(steps)
        probe(self._settings, OPEN_S)
        began_s, last_s = time.monotonic(), math.inf if self._plan.seconds is None else self._plan.seconds
        try:
            while not stopping() and steps[0][0] <= last_s:
                real_s = time.monotonic() - began_s
                now_s = real_s * self._plan.speed
                self._do_due(steps, lives, min(now_s, last_s))
                self._note(real_s, max(0.0, now_s - steps[0][0]) / self._plan.speed)
                progress(self.report)
                self._keep_connected(real_s)
                self._exchange(min(WAIT_S, max(0.0, steps[0][0] - now_s) / self._plan.speed))
            self._again_at_s = 0.0
            self._leave()
        finally:
            for connection in (*self._connections.values(), *self._leaving):
                connection.close()
            self._selector.close()
        self._note(time.monotonic() - began_s, 0.0)
        return self.report

    def _do_due(self, steps: list[tuple[float, int, Step]], lives: Mapping[int, Iterator[Step]], until_s: float) -> None:
        """Do the steps up to a time, in their order; only some of them where the broker does not keep up."""
        for _ in range(STEPS_AT_ONCE):
            if steps[0][0] > until_s or self.report.unacknowledged > MOST_UNACKNOWLEDGED:
                return
            _, number, step = steps[0]
            self._do(number, step)
            following = next(lives[number])
            heapq.heapreplace(steps, (following.at_s, number, following))

    def _do(self, number: int, step: Step) -> None:
        if step.link == "up":
            self._open(number)
        self._publish(number, step.messages)
        if step.link in ("left", "cut"):
            self._end(number, clean=step.link == "left")

    def _publish(self, number: int, messages: Iterable[FleetMessage]) -> None:
        connection = self._connections.get(number)
        for message in messages:
            self.report.messages += 1
            if message.name == "journal":
                self.report.events[_type(message.payload)] += 1
            what = self._topic(number, message.name), message.payload, message.retain
            if connection is None:
                self._unsent.setdefault(number, []).append(what)
            else:
                connection.publish(*what)
        if connection is not None:
            self._flush(connection)

    def _open(self, number: int) -> None:
        """Connect a bin; where the broker is away, it is tried again later. What its last connection did not get through comes first."""
        topics = self._topics[number]
        hello = mqtt_packets.connect(client_id(topics.device, topics.base), KEEPALIVE_S, topics.availability, self._login)
        try:
            connection = FleetConnection(self._settings, self._tls, hello, lambda topic, payload: self._obey(number, topic, payload))
        except MqttError:
            self._lost[number] = None
            return
        self._lost.pop(number, None)
        if self._plan.commands:
            connection.subscribe(f"{topics.all.removesuffix('#')}cmd/+")
        for unsent in (*self._undelivered(number), *self._unsent.pop(number, ())):
            connection.publish(*unsent)
        self._previous.pop(number, None)
        self._connections[number] = connection
        self._selector.register(connection.socket, connection.wants, (number, connection))
        self._flush(connection)

    def _end(self, number: int, *, clean: bool) -> None:
        """A bin leaves, or its connection is cut. Events that the broker has not acknowledged are published at the next connection."""
        self._lost.pop(number, None)
        connection = self._connections.pop(number, None)
        if connection is None:
            return
        if clean:
            connection.leave()
            self._flush(connection)
            self._leaving.add(connection)
        else:
            self._forget(connection)
        self._previous[number] = connection

    def _undelivered(self, number: int) -> list[Unacknowledged]:
        """Events of an earlier connection that the broker has not acknowledged."""
        journal, previous = self._topic(number, "journal"), self._previous.get(number)
        return [] if previous is None else [each for each in previous.unacknowledged.values() if each[0] == journal]

    def _exchange(self, wait_s: float) -> None:
        """Read and write where a socket is ready; wait for one that is, but no longer than `wait_s`."""
        for key, _ in self._selector.select(wait_s):
            number, connection = key.data
            connection.read()
            self._flush(connection)
            if connection.lost:
                self._handle_loss(number, connection)

    def _handle_loss(self, number: int, connection: FleetConnection) -> None:
        self._forget(connection)
        if connection in self._leaving:
            self._leaving.discard(connection)
            return
        if connection.refused:
            raise MqttError(connection.lost)
        self.report.broken += 1
        self._connections.pop(number, None)
        self._unsent[number] = [*connection.unacknowledged.values(), *self._unsent.get(number, ())]
        self._lost[number] = None

    def _keep_connected(self, real_s: float) -> None:
        if real_s >= self._ping_at_s:
            self._ping_at_s = real_s + KEEPALIVE_S / 2
            for connection in self._connections.values():
                connection.ping()
                self._flush(connection)
        if self._lost and real_s >= self._again_at_s:
            self._again_at_s = real_s + AGAIN_S
            for number in list(self._lost):
                self._open(number)
                if number in self._lost:
                    return

    def _leave(self) -> None:
        """Every bin says `offline` and leaves, once the broker has acknowledged what it has published, within LEAVE_S."""
        for number in (*self._connections, *self._lost):
            self._publish(number, [FleetMessage("availability", b"offline", True)])
        until_s = time.monotonic() + LEAVE_S
        while (self._connections or self._lost) and (now_s := time.monotonic()) < until_s:
            self._keep_connected(now_s)
            for number, connection in list(self._connections.items()):
                if not connection.unacknowledged:
                    self._end(number, clean=True)
            self._exchange(WAIT_S)
        while self._leaving and time.monotonic() < until_s:
            self._exchange(WAIT_S)

    def _obey(self, number: int, topic: str, payload: bytes) -> None:
        self._publish(number, self.bins[number].command(topic.rpartition("/")[2], payload))

    def _flush(self, connection: FleetConnection) -> None:
        connection.write()
        with contextlib.suppress(KeyError):
            if self._selector.get_key(connection.socket).events != connection.wants:
                self._selector.modify(connection.socket, connection.wants, self._selector.get_key(connection.socket).data)

    def _forget(self, connection: FleetConnection) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.socket)
        connection.close()

    def _note(self, real_s: float, behind_s: float) -> None:
        self.report.seconds, self.report.behind_s, self.report.online = real_s, behind_s, len(self._connections)
        waiting = sum(len(connection.unacknowledged) for connection in self._connections.values())
        waiting += sum(len(self._undelivered(number)) for number in self._previous)
        self.report.unacknowledged = waiting + sum(map(len, self._unsent.values()))

    def _topic(self, number: int, name: str) -> bytes:
        if (topic := self._encoded.get((number, name))) is None:
            topic = self._encoded[number, name] = f"{self._topics[number].all.removesuffix('#')}{name}".encode()
        return topic


def _type(event: bytes) -> str:
    """The type of an event, which stands first in its JSON."""
    return event[len('{"type":"') :].partition(b'"')[0].decode()


def _allow_files(needed: int) -> None:
    """Raise the limit of open files as far as this process may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise FleetError(f"--bins: needs {needed} open files, and this process may have {hard}: see `ulimit -Hn`")
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
