"""One connection to the broker, from CONNECT to its end. It is never used again: the next one is another connection.

paho keeps a session of its own and resends from it after a reconnect. Ours is in the ledger, so each connection gets a fresh client
that knows nothing, and what is sent again, and in which order, is decided in one place.
"""

import contextlib
import hashlib
import socket
import ssl
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from device.mqtt import MqttError
from device.mqtt.paho_client import GuardedClient
from device.mqtt.settings import MqttSettings, TlsSettings

CLOSE_S = 0.5
"""longest wait for a farewell to leave the socket"""
MOST_UNANSWERED = 65_535
"""messages that a broker takes before it answers the first, where it does not say"""
TAKEN_OVER, NOT_AUTHORIZED = 0x8E, 0x87
_NO_ENTRY = ("Bad user name or password", "Not authorized", "Banned", "Bad authentication method")
"""refusals that would be the same in an older version of MQTT"""
NOT_YET_VALID, EXPIRED = 9, 10
"""what OpenSSL says of a certificate's dates (X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED)"""


class NotUnderstood(MqttError):
    """What listens there does not talk MQTT of this version with us; perhaps of an older one."""


class Acknowledgement(NamedTuple):
    """What the broker says of a message: that it has it, or, as MQTT 5 lets it, why it does not take it."""

    message: int
    refusal: ReasonCode | None


class _Message(NamedTuple):
    number: int
    topic: str
    payload: bytes
    retain: bool


def client_id(device: str, base: str = "sortbin") -> str:
    """Names this device to the broker, and with it its topics: brokers end the older of two connections with one id.

    So a connection that a power cut has left behind ends as soon as the next one comes, and its will is published before the new `online` instead of
    a minute after it. And two bins that were given one id cannot both stay: they say so instead of being taken for one.
    """
    return f"sortbin-{device}" + ("" if base == "sortbin" else f"-{hashlib.sha256(base.encode()).hexdigest()[:8]}")


class Connection:
    """A client, its socket and its network thread. `wake` is called on that thread when there is news: an answer, or the end.

    All other methods belong to one thread.
    """

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        *,
        will_topic: str | None,
        wake: Callable[[], None],
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
    ) -> None:
        self._settings, self._wake = settings, wake
        self.speaks = "MQTT 5" if protocol is MQTTProtocolVersion.MQTTv5 else "MQTT 3.1.1, in which brokers do not say what they refuse"
        self._client = GuardedClient(client_id, protocol, self._on_end)
        self._client.on_connect, self._client.on_disconnect = self._on_connect, self._on_disconnect
        self._client.on_publish = self._on_publish
        if will_topic is not None:
            self._client.will_set(will_topic, b"offline", qos=1, retain=True)
        self._numbers = 0
        self._waiting: deque[_Message] = deque()
        self._under_way: dict[int, tuple[int, float]] = {}
        self._room = MOST_UNANSWERED
        """most messages under way: more would make the broker end the connection"""
        self._answers: deque[tuple[int, ReasonCode]] = deque()
        self._answered, self._ended = threading.Event(), threading.Event()
        self._answer: ReasonCode | None = None
        self._running = False
        self._lost: str | None = None
        self.hung_up = self.taken_over = False
        """the other side ended it; the broker said that it did so because another client came with the same id"""

    @property
    def lost(self) -> str | None:
        """Why the connection is over, None while it is not."""
        return self._lost

    def open(self, wait_s: float) -> None:
        """Connect and log in. Blocks for looking up the name, and for `wait_s` seconds each of TCP, TLS and the broker's answer.

        Raises NotUnderstood, and MqttError for all else, which says what is wrong and which key to look at.
        """
        settings = self._settings
        self._log_in()
        if settings.tls is not None:
            self._client.tls_set_context(_tls_context(settings.tls, wait_s))
        self._client.connect_timeout = wait_s
        try:
            self._client.connect(settings.host, settings.port, settings.keepalive_s)
        except (OSError, UnicodeError) as error:
            raise MqttError(_connect_failed(error, settings, wait_s)) from error
        self._client.loop_start()
        self._running = True
        self._answered.wait(wait_s)
        if self._answer is None or self._answer.is_failure:
            lost = self._lost
            self.close()
            refused = MqttError if str(self._answer) in _NO_ENTRY else NotUnderstood
            raise refused(_refused(self._answer, lost, settings, wait_s))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Hand a message over with QoS 1, without waiting. Returns its number, which comes back in `answers`."""
        self._numbers += 1
        if self._waiting or len(self._under_way) >= self._room:
            self._waiting.append(_Message(self._numbers, topic, payload, retain))
        else:
            self._send(self._numbers, topic, payload, retain)
        return self._numbers

    def answers(self) -> list[Acknowledgement]:
        """What the broker has said of messages since the last call, in that order."""
        answers = []
        while self._answers:
            identifier, reason = self._answers.popleft()
            number, _ = self._under_way.pop(identifier)
            answers.append(Acknowledgement(number, reason if reason.is_failure else None))
        while self._waiting and len(self._under_way) < self._room:
            self._send(*self._waiting.popleft())
        return answers

    def _send(self, number: int, topic: str, payload: bytes, retain: bool) -> None:
        identifier = self._client.publish(topic, payload, 1, retain).mid
        if identifier in self._under_way:
            return self._end("has acknowledged later messages and not an earlier one")
        self._under_way[identifier] = number, time.monotonic()
        return None

    def require_answers(self, now_s: float) -> None:
        """End a connection whose broker is there but answers no message: in a new one it may. now_s: monotonic seconds."""
        patience_s = 2.0 * self._settings.keepalive_s
        oldest_s = next((sent_s for _, sent_s in self._under_way.values()), now_s)
        if self._lost is None and now_s - oldest_s > patience_s:
            self._end(f"has not acknowledged a message for {patience_s:g} s")

    def close(self) -> None:
        """Take leave, so that the broker forgets the will, and end; break off where that takes too long, or where it is lost. Any number of calls."""
        if self._running and self._lost is None:
            self._client.disconnect()
            self._ended.wait(CLOSE_S)
        if self._running and not self._ended.is_set():
            self._break_off()
            self._ended.wait(CLOSE_S)
        if self._ended.is_set() and (open_socket := self._client.socket()) is not None:
            open_socket.close()
        self._running = False
        self._client.on_connect = self._client.on_disconnect = self._client.on_publish = None
        self._client.on_end = lambda _: None

    def _break_off(self) -> None:
        open_socket = self._client.socket()
        if isinstance(open_socket, socket.socket):
            try:
                open_socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    def _log_in(self) -> None:
        settings = self._settings
        if settings.username is None:
            return
        password = None
        if settings.password_file is not None:
            try:
                password = Path(settings.password_file).read_text(encoding="utf-8-sig").rstrip("\r\n")
            except OSError as error:
                raise MqttError(f"mqtt.password_file {settings.password_file}: {error.strerror}") from error
            except UnicodeDecodeError as error:
                raise MqttError(f"mqtt.password_file {settings.password_file}: expected text in UTF-8") from error
        self._client.username_pw_set(settings.username, password)

    def _end(self, why: str) -> None:
        """Known on any thread; the first reason counts."""
        self._lost = self._lost or f"broker {self._settings.host}:{self._settings.port}: {why}"

    def _on_connect(self, client: Client, data: object, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None) -> None:
        self._answer = reason
        self._room = getattr(properties, "ReceiveMaximum", MOST_UNANSWERED)
        self._client.limit_keepalive(getattr(properties, "ServerKeepAlive", self._settings.keepalive_s))
        self._answered.set()

    def _on_disconnect(self, client: Client, data: object, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None) -> None:
        silent = str(reason) == "Keep alive timeout"
        self.hung_up = self._lost is None and not silent
        if flags.is_disconnect_packet_from_server:
            said = self._client.said_at_its_end()
            self.taken_over = said == TAKEN_OVER
            self._end(f"ended the connection ({str(said or 'without a reason').lower()})")
        elif silent:
            self._end(f"silent for {self._settings.keepalive_s} s")
        else:
            self._end("the connection broke")

    def _on_end(self, malformed: str | None) -> None:
        if malformed is not None:
            self._end(f"sent what is no MQTT ({malformed})")
            self._break_off()
        self._end("the connection broke")
        self._ended.set()
        self._answered.set()
        self._wake()

    def _on_publish(self, client: Client, data: object, message: int, reason: ReasonCode, properties: Properties) -> None:
        self._answers.append((message, reason))
        self._wake()


def connected(settings: MqttSettings, client_id: str, *, will_topic: str | None, wake: Callable[[], None], wait_s: float) -> Connection:
    """A connection in MQTT 5, in which a broker says what it refuses; in MQTT 3.1.1 to one that knows no better, or where the settings ask for that.

    Blocks as `Connection.open` does, twice where the first is not understood. Raises MqttError.
    """
    if settings.version == 5:
        connection = Connection(settings, client_id, will_topic=will_topic, wake=wake)
        with contextlib.suppress(NotUnderstood):
            connection.open(wait_s)
            return connection
    older = Connection(settings, client_id, will_topic=will_topic, wake=wake, protocol=MQTTProtocolVersion.MQTTv311)
    older.open(wait_s)
    return older


def in_time(attempt: Callable[[], None], settings: MqttSettings, wait_s: float) -> None:
    """Do what connects, in a thread of its own: to look up a name may take for ever. Raises MqttError, also where it takes longer than `wait_s`."""
    outcome: Future[None] = Future()

    def run() -> None:
        try:
            attempt()
        except MqttError as error:
            outcome.set_exception(error)
        except Exception as error:  # what paho raises of settings that MQTT cannot carry
            outcome.set_exception(MqttError(f"broker {settings.host}:{settings.port}: {type(error).__name__}: {error}"))
        else:
            outcome.set_result(None)

    threading.Thread(target=run, name="mqtt-attempt", daemon=True).start()
    try:
        outcome.result(wait_s)
    except TimeoutError:
        raise MqttError(_connect_failed(TimeoutError(), settings, wait_s)) from None


def probe(settings: MqttSettings, wait_s: float) -> None:
    """Try to connect and log in once, and leave. Returns within about twice `wait_s` seconds. Raises MqttError, which says what is wrong."""

    def attempt() -> None:
        connected(settings, _trial_id(), will_topic=None, wake=lambda: None, wait_s=wait_s).close()

    in_time(attempt, settings, 2 * wait_s + CLOSE_S)


def may_publish(settings: MqttSettings, topic: str, wait_s: float) -> bool | None:
    """Send one message, which is not retained and holds nothing, and hear whether the broker forbids its topic.

    Brokers of MQTT 3.1.1 take what they forbid and throw it away, so this is asked over MQTT 5. None where the broker does not say. Blocks as
    `Connection.open` does, and for `wait_s` seconds more.
    """
    if settings.version != 5:
        return None
    answered = threading.Event()
    connection = Connection(settings, _trial_id(), will_topic=None, wake=answered.set)
    try:
        connection.open(wait_s)
        connection.publish(topic, b"")
        answered.wait(wait_s)
        answer = next(iter(connection.answers()), None)
        return None if answer is None else answer.refusal is None or answer.refusal != NOT_AUTHORIZED
    except MqttError:
        return None
    finally:
        connection.close()


def _trial_id() -> str:
    return f"sortbin-check-{uuid.uuid4().hex[:8]}"


def _tls_context(tls: TlsSettings, handshake_s: float) -> ssl.SSLContext:
    class HandshakeInTime(ssl.SSLSocket):
        """paho gives a handshake as long as the keep-alive, which may be an hour."""

        def do_handshake(self, block: bool = False) -> None:
            self.settimeout(handshake_s)
            super().do_handshake(block)

    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        raise MqttError(f"mqtt.tls.ca_file {tls.ca_file}: expected a readable PEM file of certificates: {_said(error)}") from error
    context.sslsocket_class = HandshakeInTime
    # Python 3.13 began to refuse authorities that lack extensions, as those that people make for their own broker often do.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if tls.cert_file is not None:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except OSError as error:
            files = f"mqtt.tls.cert_file {tls.cert_file}, key_file {tls.key_file}"
            raise MqttError(f"{files}: expected a certificate and its key in PEM, without a passphrase: {_said(error)}") from error
    return context


def _connect_failed(error: OSError | UnicodeError, settings: MqttSettings, wait_s: float) -> str:
    broker = f"broker {settings.host}:{settings.port}"
    match error:
        case socket.gaierror() | UnicodeError():
            return f"{broker}: no such host: check mqtt.host and this device's network"
        case ssl.SSLCertVerificationError(verify_code=code) if code in (NOT_YET_VALID, EXPIRED):
            valid = "not valid yet" if code == NOT_YET_VALID else "no longer valid"
            now = f"by this device's clock, which says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
            return f"{broker}: its certificate is {valid} {now}: check the clock (`timedatectl`), then the certificate's dates"
        case ssl.SSLCertVerificationError():
            untrusted = f"its certificate is not trusted ({error.verify_message})"
            return f"{broker}: {untrusted}: check mqtt.tls.ca_file, and that mqtt.host is a name in the certificate"
        case ssl.SSLError() | ConnectionResetError() if settings.tls is not None:
            return f"{broker}: TLS failed ({_said(error)}): does that port speak TLS? 8883 usually does; see mqtt.port and [mqtt.tls]"
        case ConnectionRefusedError():
            return f"{broker}: nothing listens there: is the broker running, and mqtt.port right?"
        case TimeoutError():
            tls = "" if settings.tls is None else ", that mqtt.port speaks TLS,"
            return f"{broker}: no answer within {wait_s:g} s: check mqtt.host{tls} and for a firewall in between"
        case _:
            return f"{broker}: {_said(error)}: check mqtt.host and this device's network"


def _refused(answer: ReasonCode | None, lost: str | None, settings: MqttSettings, wait_s: float) -> str:
    broker = f"broker {settings.host}:{settings.port}"
    if answer is None and lost is not None and "no MQTT" in lost:
        return f"{lost}: is that an MQTT broker?"
    if answer is None and lost is None:
        return f"{broker}: connected, but no answer within {wait_s:g} s: is that an MQTT broker?"
    if answer is None and settings.tls is None:
        return f"{broker}: closed the connection instead of answering: does it ask for TLS there ([mqtt.tls])?"
    if answer is None:
        return f"{broker}: closed the connection instead of answering: does it ask for a certificate (mqtt.tls.cert_file)?"
    if str(answer) not in ("Bad user name or password", "Not authorized"):
        return f"{broker}: refused ({str(answer).lower()})"
    if settings.username is None:
        return f"{broker}: lets nobody in without a name: set mqtt.username and mqtt.password_file"
    or_topics = ", and that an ACL lets it write to its topics" if str(answer) == "Not authorized" else ""
    return f"{broker}: refused user name or password: check mqtt.username {settings.username!r} and what mqtt.password_file holds{or_topics}"


def _said(error: OSError | UnicodeError) -> str:
    return str(getattr(error, "strerror", None) or error)
