"""The link to the broker: connects, reconnects until it is stopped, and publishes status and events.

One thread connects, publishes and handles acknowledgements. The control thread and the ledger only put values into its queues.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Mapping

import msgspec

from device.ledger.ledger import Ledger
from device.mqtt import MqttError
from device.mqtt.backoff import Backoff
from device.mqtt.command_payloads import CommandResult
from device.mqtt.connection import Acknowledgement, Connection, client_id, connect
from device.mqtt.outbox import REFUSED_S, Outbox
from device.mqtt.payloads import BinState, Health, Info, State
from device.mqtt.retained import Retained
from device.mqtt.settings import MqttSettings
from device.mqtt.subscriptions import Handler, Subscriptions
from device.mqtt.topics import Topics

log = logging.getLogger(__name__)

OPEN_S = 5.0
"""time-out of each step of connecting"""
STATE_INTERVAL_S = 1.0
"""least time between two messages on `state`"""
MAX_LIVE = 20
"""most messages on `event` that wait or are unacknowledged; beyond that, events are published on `journal` only"""
MAX_RESULTS = 64
"""most answers to commands that wait for a connection; then the oldest is dropped: its sender may ask again"""
COMPLAIN_EVERY_S = 60.0
"""least time between two lines in the log about messages that were dropped"""
OFFLINE_SHARE = 0.3
"""share of the time for stopping that is reserved for publishing `offline`"""
IDLE_S = 5.0
SHORT_S, SHORT_IN_A_ROW = 20.0, 3
"""So many connections in a row that the broker ended sooner than this point to a second bin with the same device id: brokers disconnect the older
of two clients with one client id."""


class Link:
    """Connects when it is made, and reconnects until it is stopped with back-off.

    Each connection subscribes, then publishes every retained value, then `online`, then the journal from the oldest unacknowledged event. All methods
    but `stop` return at once, whatever the network does.
    """

    def __init__(self, settings: MqttSettings, device: str, ledger: Ledger, *, backoff: Backoff | None = None) -> None:
        """Raises TopicError for a device id or base that is not valid in a topic."""
        self.topics = Topics(device, settings.base)
        self._settings, self._ledger, self._backoff = settings, ledger, backoff or Backoff()
        self._client_id, self._device = client_id(device, settings.base), device
        self._retained, self._subscriptions = Retained(), Subscriptions()
        self._results: deque[bytes] = deque(maxlen=MAX_RESULTS)
        self._complain_at_s = -math.inf
        self._live: deque[bytes] = deque(maxlen=MAX_LIVE)
        self._broker = f"broker {settings.host}:{settings.port}"
        self._connected = False
        self._addresses = "", ""
        self._error: str | None = f"{self._broker}: not connected yet"
        self._refused: Mapping[str, str] = {}
        self._online_at_s = -math.inf
        """when `online` is due in this connection; monotonic seconds"""
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._stop_by_s = self._leave_at_s = 0.0
        ledger.listen(self._on_event)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    def publish_info(self, info: Info) -> None:
        """Set what is published on `info`."""
        self._set(self.topics.info, info)

    def publish_state(self, state: State) -> None:
        """Set what is published on `state`, at most once a second. Call it as often as the state changes."""
        self._set(self.topics.state, state, STATE_INTERVAL_S)

    def publish_bin(self, name: str, state: BinState) -> None:
        """Set what is published on `bin/<name>`. Raises TopicError for a name that is not valid in a topic."""
        self._set(self.topics.bin(name), state)

    def publish_health(self, health: Health) -> None:
        """Set what is published on `health`."""
        self._set(self.topics.health, health)

    def publish_image(self, jpeg: bytes) -> None:
        """Set what is published on `image/last`."""
        self.publish_retained(self.topics.image, jpeg)

    def publish_retained(self, topic: str, payload: bytes) -> None:
        """Set what is published, retained, on any topic. An empty payload makes the broker forget it."""
        self._retained.put(topic, payload)
        self._wake.set()

    def publish_again(self, topic: str) -> None:
        """Publish once more what was set for a retained topic, as others ask who missed it."""
        self._retained.put_again(topic)
        self._wake.set()

    def has_arrived(self, topic: str) -> bool:
        """Whether the broker has what was set for a retained topic."""
        return self._retained.has_arrived(topic)

    def publish_result(self, result: CommandResult) -> None:
        """Publish what became of a command on `cmd_result`. While there is no connection it waits."""
        self._results.append(msgspec.json.encode(result))
        self._wake.set()

    def subscribe(self, pattern: str, handler: Handler) -> None:
        """Listen to a topic, or to those that a pattern matches, over every connection from now on. Messages too long or too fast are dropped."""
        self._subscriptions.add(pattern, handler)
        self._wake.set()

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the broker."""
        return self._connected

    @property
    def addresses(self) -> tuple[str, str]:
        """IP addresses of this end of the connection and of the broker's; both empty without a connection."""
        return self._addresses

    @property
    def error(self) -> str | None:
        """Why there is no connection, in one line; None while there is one."""
        return self._error

    @property
    def refused(self) -> tuple[str, ...]:
        """Topics that the broker refuses, without `<base>/<device>/`, sorted. Brokers of MQTT 3.1.1 say so only of subscriptions."""
        return tuple(sorted(self._refused))

    @property
    def alive(self) -> bool:
        """Whether the link's thread runs."""
        return self._thread.is_alive()

    def stop(self, wait_s: float) -> bool:
        """Publish what waits, then `offline`, and disconnect, in at most `wait_s` seconds. False when the thread did not end in time."""
        self._stop_by_s = time.monotonic() + wait_s
        self._leave_at_s = self._stop_by_s - OFFLINE_SHARE * wait_s
        self._stopping.set()
        self._wake.set()
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _set(self, topic: str, value: Info | State | BinState | Health, interval_s: float = 0.0) -> None:
        self._retained.put(topic, value, interval_s)
        self._wake.set()

    def _on_event(self, event: bytes) -> None:
        if self._connected:
            self._live.append(event)
        self._wake.set()

    def _run(self) -> None:
        short = 0
        while not self._stopping.is_set():
            connection: Connection | None = None
            held_s = 0.0
            try:
                will = self.topics.availability
                connection = connect(self._settings, self._client_id, will_topic=will, on_news=self._wake.set, wait_s=OPEN_S)
                opened_s = time.monotonic()
                self._set_connected(connection)
                self._serve(connection)
                held_s = time.monotonic() - opened_s
                short = short + 1 if held_s < SHORT_S else 0
                self._set_error(self._why_it_ended(connection, short))
            except MqttError as error:
                self._set_error(str(error))
            except Exception as error:  # of any type: the link reconnects in any case
                log.exception("%s", self._broker)
                self._set_error(f"{self._broker}: {type(error).__name__}: {error}")
            finally:
                if connection is not None:
                    connection.close()
            self._stopping.wait(self._backoff.next_s(held_s))

    def _why_it_ended(self, connection: Connection, short: int) -> str:
        """Why the connection ended, in one line. short: connections in a row that lasted less than SHORT_S."""
        if connection.lost is None:
            return f"{self._broker}: connection closed, since the bin stops"
        if not connection.taken_over and not (connection.ended_by_broker and short >= SHORT_IN_A_ROW):
            return connection.lost
        often = f" {short} times in a row" if short >= SHORT_IN_A_ROW else ""
        return f"{connection.lost}{often}: has another bin the id {self._device}? Without device.id each gets one of its own"

    def _serve(self, connection: Connection) -> None:
        """Publish over a connection until it ends or it is time to stop."""
        journal = self.topics.journal
        outbox = Outbox(self._ledger, lambda event: connection.publish(journal, event))
        in_flight: dict[int, str] = {}
        self._retained.start_over()
        self._subscriptions.start_over()
        self._refused, self._online_at_s = {}, -math.inf
        while connection.lost is None:
            self._wake.clear()
            acknowledgements = connection.acknowledgements()
            outbox.acknowledged([each.message for each in acknowledgements if each.refusal is None])
            outbox.refused([each.message for each in acknowledgements if each.refusal is not None])
            stopping, now_s = self._stopping.is_set(), time.monotonic()
            for each in acknowledgements:
                topic = in_flight.pop(each.message, journal)
                if topic is not journal or each.refusal is not None or self._refused:
                    self._handle_acknowledgement(each, topic, now_s)
            self._listen(connection, now_s)
            for topic, payload in self._retained.due(math.inf if stopping else now_s):
                in_flight[connection.publish(topic, payload, retain=True)] = topic
            if now_s >= self._online_at_s:
                in_flight[connection.publish(self.topics.availability, b"online", retain=True)] = self.topics.availability
                self._online_at_s = math.inf
            while self._results:
                in_flight[connection.publish(self.topics.cmd_result, self._results.popleft())] = self.topics.cmd_result
            while self._live:
                event = self._live.popleft()
                if sum(topic == self.topics.event for topic in in_flight.values()) < MAX_LIVE:
                    in_flight[connection.publish(self.topics.event, event)] = self.topics.event
            outbox.publish_next()
            if stopping and (now_s >= self._leave_at_s or not (in_flight or self._ledger.busy or not (outbox.empty or outbox.paused))):
                return self._publish_offline(connection)
            connection.check_acknowledged(now_s)
            held_back_s = self._retained.wait_s(now_s)
            wait_s = min(IDLE_S if held_back_s is None else held_back_s, IDLE_S, self._settings.keepalive_s)
            self._wake.wait(min(wait_s, self._leave_at_s - now_s) if stopping else wait_s)
        return None

    def _listen(self, connection: Connection, now_s: float) -> None:
        """Subscribe to what is due, and pass on what has come."""
        for pattern in self._subscriptions.due(now_s):
            connection.subscribe(pattern)
        for pattern, refusal in connection.subscription_answers():
            name = self.topics.name_of(pattern)
            if refusal is not None:
                self._subscriptions.refused(pattern, now_s + REFUSED_S)
                self._note_refusal(name, str(refusal).lower(), f"lets it read {pattern}")
            else:
                self._note_acceptance(name, pattern)
        for message in connection.inbox.take():
            self._subscriptions.handle(message)
        if now_s >= self._complain_at_s and (dropped := connection.inbox.take_complaint()):
            self._complain_at_s = now_s + COMPLAIN_EVERY_S
            log.warning("%s: messages were dropped: %s", self._broker, dropped)

    def _handle_acknowledgement(self, acknowledgement: Acknowledgement, topic: str, now_s: float) -> None:
        """Note that the broker has a message, or refuses its topic: a refused value is published again after a pause."""
        refusal = acknowledgement.refusal
        if topic == self.topics.availability:
            self._online_at_s = math.inf if refusal is None else now_s + REFUSED_S
        elif topic not in (self.topics.journal, self.topics.event, self.topics.cmd_result):
            if refusal is None or self._stopping.is_set():
                self._retained.acknowledged(topic)
            else:
                self._retained.refused(topic, now_s + REFUSED_S)
        name = self.topics.name_of(topic)
        if refusal is not None:
            self._note_refusal(name, str(refusal).lower(), f"lets it write to {topic if name == topic else self.topics.all}")
        else:
            self._note_acceptance(name, topic)

    def _note_refusal(self, name: str, reason: str, expected: str) -> None:
        """Store what the broker refuses. Log it once: the journal always, of all other topics the first with the same reason.

        expected: what its ACL should do.
        """
        cause = f"{reason}: expected an ACL that {expected}"
        is_new = name not in self._refused and (name == "journal" or cause not in self._refused.values())
        self._refused = {**self._refused, name: cause}
        if is_new:
            effect = "; events stay in the ledger" if name == "journal" else ""
            log.warning("%s: refuses %s (%s): expected an ACL that %s%s", self._broker, name, reason, expected, effect)

    def _note_acceptance(self, name: str, topic: str) -> None:
        if name in self._refused:
            self._refused = {other: cause for other, cause in self._refused.items() if other != name}
            log.info("%s: accepts %s again", self._broker, topic)

    def _publish_offline(self, connection: Connection) -> None:
        offline = connection.publish(self.topics.availability, b"offline", retain=True)
        while connection.lost is None and (left_s := self._stop_by_s - time.monotonic()) > 0:
            self._wake.clear()
            if any(each.message == offline for each in connection.acknowledgements()):
                return
            self._wake.wait(left_s)

    def _set_connected(self, connection: Connection) -> None:
        self._live.clear()
        self._connected, self._error, self._addresses = True, None, connection.addresses
        log.info("%s: connected in %s", self._broker, connection.protocol)

    def _set_error(self, error: str) -> None:
        """Store why there is no connection, and log it where it has changed."""
        is_new = error != self._error
        self._live.clear()
        self._connected, self._error, self._addresses = False, error, ("", "")
        if is_new:
            log.log(logging.INFO if self._stopping.is_set() else logging.WARNING, "%s", error)
