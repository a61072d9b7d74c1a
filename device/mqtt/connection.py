"""One connection to the broker, from CONNECT to its end. A reconnect makes a new one.

paho keeps a session and resends from it after a reconnect. Here undelivered events are in the ledger, so each connection gets a new client without
a session: what is sent again, and in which order, is decided in one place (`device.mqtt.reconnecting_link`).
"""

import contextlib
import hashlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from device.mqtt import MqttError
from device.mqtt.connection_errors import describe_connect_error, describe_refusal
from device.mqtt.inbox import Inbox, Message
from device.mqtt.paho_client import MAX_PACKET_BYTES, GuardedClient
from device.mqtt.settings import MqttSettings
from device.mqtt.tls import tls_context

CLOSE_S = 0.5
"""longest wait until DISCONNECT is sent, and again until the network thread has ended"""
RECEIVE_MAXIMUM = 65_535
"""most unacknowledged messages, where the broker's CONNACK does not say (MQTT 5, 3.2.2.3.3)"""
SESSION_TAKEN_OVER = 0x8E
"""reason code of MQTT 5"""
_LOGIN_REFUSED = ("Bad user name or password", "Not authorized", "Banned", "Bad authentication method")
"""CONNACK reasons that another version of MQTT would not change"""


class ProtocolMismatch(MqttError):
    """The broker does not speak this version of MQTT; perhaps an older one."""


class Acknowledgement(NamedTuple):
    """The broker's PUBACK for a message."""

    message: int
    """number that `Connection.publish` returned"""
    refusal: ReasonCode | None
    """why the broker does not accept it (MQTT 5 only); None where it does"""


class SubscriptionAnswer(NamedTuple):
    """The broker's SUBACK for a pattern. refusal: why it does not grant it; None where it does."""

    pattern: str
    refusal: ReasonCode | None


class _Message(NamedTuple):
    number: int
    topic: str
    payload: bytes
    retain: bool
    expires_s: float | None


def client_id(device: str, base: str = "sortbin") -> str:
    """The MQTT client id of this device. Brokers disconnect the older of two clients with one client id.

    So the connection that was left by a power cut ends when the next one opens, and its will is published before the new `online`, not a minute
    later. And two bins with one device id disconnect each other, which both log.
    """
    return f"sortbin-{device}" + ("" if base == "sortbin" else f"-{hashlib.sha256(base.encode()).hexdigest()[:8]}")


class Connection:
    """A client, its socket and its network thread. All methods are for one other thread.

    on_news: called on the network thread after an acknowledgement or a message, and at the end of the connection.
    """

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        *,
        will_topic: str | None,
        on_news: Callable[[], None],
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
    ) -> None:
        self._settings, self._on_news = settings, on_news
        self._is_mqtt_5 = protocol is MQTTProtocolVersion.MQTTv5
        self.protocol = "MQTT 5" if self._is_mqtt_5 else "MQTT 3.1.1, in which brokers do not say what they refuse"
        self._client = GuardedClient(client_id, protocol, self._on_end)
        self._client.on_connect, self._client.on_disconnect = self._on_connect, self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_subscribe, self._client.on_message = self._on_subscribe, self._on_message
        if will_topic is not None:
            self._client.will_set(will_topic, b"offline", qos=1, retain=True)
        self._numbers = 0
        self._waiting: deque[_Message] = deque()
        self._in_flight: dict[int, tuple[int, float]] = {}
        self._max_in_flight = RECEIVE_MAXIMUM
        """with more unacknowledged messages the broker would end the connection"""
        self._acknowledged: deque[tuple[int, ReasonCode]] = deque()
        self._asked: dict[int, str] = {}
        self._granted: deque[tuple[int, ReasonCode]] = deque()
        self.inbox = Inbox()
        """what came on the topics that were subscribed to"""
        self._answered, self._ended = threading.Event(), threading.Event()
        self._connack: ReasonCode | None = None
        self._running = False
        self._lost: str | None = None
        self.ended_by_broker = False
        self.addresses = "", ""
        """IP addresses of this end and of the broker's; empty before it is open"""
        self.taken_over = False
        """whether the broker ended it because another client connected with the same client id"""

    @property
    def lost(self) -> str | None:
        """Why the connection has ended; None while it is open."""
        return self._lost

    def open(self, wait_s: float) -> None:
        """Connect and log in. Blocks for the name look-up, and up to `wait_s` seconds for each of TCP, TLS and CONNACK.

        Raises ProtocolMismatch, and MqttError for everything else, which says what is wrong and which key to look at.
        """
        settings = self._settings
        self._log_in()
        if settings.tls is not None:
            self._client.tls_set_context(tls_context(settings.tls, wait_s))
        self._client.connect_timeout = wait_s
        try:
            self._client.connect(settings.host, settings.port, settings.keepalive_s, properties=self._connect_properties())
        except (OSError, UnicodeError) as error:
            raise MqttError(describe_connect_error(error, settings, wait_s)) from error
        self._client.loop_start()
        self._running = True
        self.addresses = _addresses(self._client.socket())
        self._answered.wait(wait_s)
        if self._connack is None or self._connack.is_failure:
            lost = self._lost
            self.close()
            kind = MqttError if str(self._connack) in _LOGIN_REFUSED else ProtocolMismatch
            raise kind(describe_refusal(self._connack, lost, settings, wait_s))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, expires_s: float | None = None) -> int:
        """Queue a message with QoS 1, without waiting. Returns its number, which `acknowledgements` gives back.

        expires_s: seconds after which a broker of MQTT 5 no longer passes it on.
        """
        self._numbers += 1
        message = _Message(self._numbers, topic, payload, retain, expires_s)
        if self._waiting or len(self._in_flight) >= self._max_in_flight:
            self._waiting.append(message)
        else:
            self._send(message)
        return self._numbers

    def acknowledgements(self) -> list[Acknowledgement]:
        """Acknowledgements since the last call, in order. Also sends messages that waited for them."""
        acknowledgements = []
        while self._acknowledged:
            identifier, reason = self._acknowledged.popleft()
            number, _ = self._in_flight.pop(identifier)
            acknowledgements.append(Acknowledgement(number, reason if reason.is_failure else None))
        while self._waiting and len(self._in_flight) < self._max_in_flight:
            self._send(self._waiting.popleft())
        return acknowledgements

    def _send(self, message: _Message) -> None:
        properties = None
        if self._is_mqtt_5 and message.expires_s is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = max(1, round(message.expires_s))
        identifier = self._client.publish(message.topic, message.payload, 1, message.retain, properties).mid
        if identifier in self._in_flight:
            return self._end("has acknowledged later messages and not an earlier one")
        self._in_flight[identifier] = message.number, time.monotonic()
        return None

    def subscribe(self, pattern: str) -> None:
        """Ask for the messages on a topic or pattern with QoS 1, without waiting.

        MQTT 5: the broker sends no earlier retained ones, and marks new ones that it retains. 3.1.1: it sends the earlier ones, and marks only them.
        """
        self._client.listens = True
        if self._is_mqtt_5:
            options = SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
            _, identifier = self._client.subscribe(pattern, options=options)
        else:
            _, identifier = self._client.subscribe(pattern, qos=1)
        if identifier is not None:
            self._asked[identifier] = pattern

    def subscription_answers(self) -> list[SubscriptionAnswer]:
        """The broker's answers to `subscribe` since the last call. One that answers for what was not asked is ignored."""
        answers = []
        while self._granted:
            identifier, reason = self._granted.popleft()
            if (pattern := self._asked.pop(identifier, None)) is not None:
                answers.append(SubscriptionAnswer(pattern, reason if reason.is_failure else None))
        return answers

    def check_acknowledged(self, now_s: float) -> None:
        """End the connection where the broker has not acknowledged a message for two keep-alive periods. now_s: monotonic seconds."""
        limit_s = 2.0 * self._settings.keepalive_s
        oldest_s = next((sent_s for _, sent_s in self._in_flight.values()), now_s)
        if self._lost is None and now_s - oldest_s > limit_s:
            self._end(f"has not acknowledged a message for {limit_s:g} s")

    def close(self) -> None:
        """Send DISCONNECT, so that the broker drops the will, and end the network thread. May be called several times; takes 2 CLOSE_S at most."""
        if self._running and self._lost is None:
            self._client.disconnect()
            self._ended.wait(CLOSE_S)
        if self._running and not self._ended.is_set():
            self._shut_socket()
            self._ended.wait(CLOSE_S)
        if self._ended.is_set() and (open_socket := self._client.socket()) is not None:
            open_socket.close()
        self._running = False
        self._client.on_connect = self._client.on_disconnect = self._client.on_publish = None
        self._client.on_subscribe = self._client.on_message = None
        self._client.on_end = lambda _: None

    def _shut_socket(self) -> None:
        open_socket = self._client.socket()
        if isinstance(open_socket, socket.socket):
            try:
                open_socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    def _connect_properties(self) -> Properties | None:
        """MQTT 5: the broker drops messages that are too long, instead of sending them."""
        if not self._is_mqtt_5:
            return None
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = MAX_PACKET_BYTES
        return properties

    def _log_in(self) -> None:
        settings = self._settings
        if settings.username is None:
            return
        self._client.username_pw_set(settings.username, read_password(settings))

    def _end(self, why: str) -> None:
        """Note why the connection has ended; the first reason counts. Any thread."""
        self._lost = self._lost or f"broker {self._settings.host}:{self._settings.port}: {why}"

    def _on_connect(self, client: Client, data: object, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None) -> None:
        self._connack = reason
        self._max_in_flight = getattr(properties, "ReceiveMaximum", RECEIVE_MAXIMUM)
        self._client.limit_keepalive(getattr(properties, "ServerKeepAlive", self._settings.keepalive_s))
        self._answered.set()

    def _on_disconnect(self, client: Client, data: object, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None) -> None:
        silent = str(reason) == "Keep alive timeout"
        self.ended_by_broker = self._lost is None and not silent
        if flags.is_disconnect_packet_from_server:
            given = self._client.disconnect_reason()
            self.taken_over = given == SESSION_TAKEN_OVER
            self._end(f"ended the connection ({str(given or 'without a reason').lower()})")
        elif silent:
            self._end(f"silent for {self._settings.keepalive_s} s")
        else:
            self._end("the connection broke")

    def _on_end(self, malformed: str | None) -> None:
        if malformed is not None:
            self._end(f"sent what is no MQTT ({malformed})")
            self._shut_socket()
        self._end("the connection broke")
        self._ended.set()
        self._answered.set()
        self._on_news()

    def _on_publish(self, client: Client, data: object, message: int, reason: ReasonCode, properties: Properties) -> None:
        self._acknowledged.append((message, reason))
        self._on_news()

    def _on_subscribe(self, client: Client, data: object, message: int, reasons: list[ReasonCode], properties: Properties | None) -> None:
        self._granted.extend((message, reason) for reason in reasons[:1])
        self._on_news()

    def _on_message(self, client: Client, data: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # no topic of ours
            return
        if self.inbox.put(Message(topic, bytes(message.payload), message.retain)):
            self._on_news()


def _addresses(open_socket: object) -> tuple[str, str]:
    """Both ends of a TCP connection; empty where it has ended already."""
    if isinstance(open_socket, socket.socket):
        with contextlib.suppress(OSError):
            return str(open_socket.getsockname()[0]), str(open_socket.getpeername()[0])
    return "", ""


def read_password(settings: MqttSettings) -> str | None:
    """The password to log in with; None where the settings name no file. Raises MqttError for a file that cannot be read."""
    if settings.password_file is None:
        return None
    try:
        return Path(settings.password_file).read_text(encoding="utf-8-sig").rstrip("\r\n")
    except OSError as error:
        raise MqttError(f"mqtt.password_file {settings.password_file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MqttError(f"mqtt.password_file {settings.password_file}: expected text in UTF-8") from error


def connect(settings: MqttSettings, client_id: str, *, will_topic: str | None, on_news: Callable[[], None], wait_s: float) -> Connection:
    """Open a connection in MQTT 5, in which brokers say what they refuse; in MQTT 3.1.1 where the broker or the settings want that.

    Blocks as `Connection.open` does, twice where the broker does not speak MQTT 5. Raises MqttError.
    """
    if settings.version == 5:
        connection = Connection(settings, client_id, will_topic=will_topic, on_news=on_news)
        with contextlib.suppress(ProtocolMismatch):
            connection.open(wait_s)
            return connection
    older = Connection(settings, client_id, will_topic=will_topic, on_news=on_news, protocol=MQTTProtocolVersion.MQTTv311)
    older.open(wait_s)
    return older


def in_time(attempt: Callable[[], None], settings: MqttSettings, wait_s: float) -> None:
    """Run what connects on a thread of its own: a name look-up has no time limit. Raises MqttError, also where it takes longer than `wait_s`."""
    outcome: Future[None] = Future()

    def run() -> None:
        try:
            attempt()
        except MqttError as error:
            outcome.set_exception(error)
        except Exception as error:  # paho raises many types for settings that MQTT cannot carry
            outcome.set_exception(MqttError(f"broker {settings.host}:{settings.port}: {type(error).__name__}: {error}"))
        else:
            outcome.set_result(None)

    threading.Thread(target=run, name="mqtt-attempt", daemon=True).start()
    try:
        outcome.result(wait_s)
    except TimeoutError:
        raise MqttError(describe_connect_error(TimeoutError(), settings, wait_s)) from None
