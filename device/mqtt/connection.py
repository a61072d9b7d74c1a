"""One connection to the broker, from CONNECT to its end. It is never used again: the next one is another connection.

paho keeps a session of its own and resends from it after a reconnect. Ours is in the ledger, so each connection gets a fresh client
that knows nothing, and what is sent again, and in which order, is decided in one place.
"""

import hashlib
import platform
import socket
import ssl
import threading
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from device.mqtt import MqttError
from device.mqtt.settings import MqttSettings, TlsSettings

CLOSE_S = 0.5
"""longest wait for a farewell to leave the socket"""
NOT_AUTHORIZED = 0x87


def client_id(device: str) -> str:
    """Names this device to the broker; the same at every start, and another on a machine wrongly given the same device id.

    So when a power cut has left a connection behind, the broker ends it as soon as the next one comes, and publishes its will before
    the new `online` instead of a minute after it.
    """
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        machine = platform.node()
    return f"sortbin-{device}-{hashlib.sha256(machine.encode()).hexdigest()[:8]}"


class Connection:
    """A client, its socket and its network thread. `wake` is called on that thread when there is news: an acknowledgement, or the end."""

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        *,
        will_topic: str | None,
        wake: Callable[[], None],
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv311,
    ) -> None:
        self._settings, self._wake = settings, wake
        clean = None if protocol is MQTTProtocolVersion.MQTTv5 else True
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id, clean_session=clean, protocol=protocol, reconnect_on_failure=False)
        self._client.suppress_exceptions = True
        self._client.max_inflight_messages_set(0)
        self._client.on_connect, self._client.on_disconnect = self._on_connect, self._on_disconnect
        self._client.on_publish = self._on_publish
        if will_topic is not None:
            self._client.will_set(will_topic, b"offline", qos=1, retain=True)
        self._acknowledged: deque[int] = deque()
        self._forbidden: set[int] = set()
        self._answered, self._ended = threading.Event(), threading.Event()
        self._answer: ReasonCode | None = None
        self._running = False
        self._lost: str | None = None

    @property
    def lost(self) -> str | None:
        """Why the connection is over, None while it is not."""
        return self._lost

    def open(self, wait_s: float) -> None:
        """Connect and log in. Blocks for looking up the name, for `wait_s` seconds of TCP and as long for the broker's answer.

        Raises MqttError, which says what is wrong and which key to look at.
        """
        settings = self._settings
        self._log_in()
        if settings.tls is not None:
            self._client.tls_set_context(_tls_context(settings.tls))
        self._client.connect_timeout = wait_s
        try:
            self._client.connect(settings.host, settings.port, settings.keepalive_s)
        except (OSError, UnicodeError) as error:
            raise MqttError(_connect_failed(error, settings, wait_s)) from error
        self._client.loop_start()
        self._running = True
        self._answered.wait(wait_s)
        if self._answer is None or self._answer.is_failure:
            ended = self._ended.is_set()
            self.close()
            raise MqttError(_refused(self._answer, ended, settings, wait_s))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Hand a message over with QoS 1, without waiting. Returns its id, which `acknowledged` gives back when the broker has it."""
        return self._client.publish(topic, payload, qos=1, retain=retain).mid

    def acknowledged(self) -> list[int]:
        """Ids of the messages that the broker has acknowledged since the last call, in that order."""
        return [self._acknowledged.popleft() for _ in range(len(self._acknowledged))]

    def forbidden(self, message: int) -> bool:
        """Whether the broker said, as MQTT 5 lets it, that this device must not write there. One that speaks MQTT 3.1.1 never does."""
        return message in self._forbidden

    def close(self) -> None:
        """Take leave, so that the broker forgets the will, and end; break off where that takes too long. Any number of calls."""
        if self._running:
            self._client.disconnect()
            if not self._ended.wait(CLOSE_S):
                self._break_off()
        self._running = False
        self._client.on_connect = self._client.on_disconnect = self._client.on_publish = None

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
                password = Path(settings.password_file).read_text(encoding="utf-8").rstrip("\r\n")
            except OSError as error:
                raise MqttError(f"mqtt.password_file {settings.password_file}: {error.strerror}") from error
            except UnicodeDecodeError as error:
                raise MqttError(f"mqtt.password_file {settings.password_file}: expected text in UTF-8") from error
        self._client.username_pw_set(settings.username, password)

    def _on_connect(self, client: paho.Client, data: object, flags: paho.ConnectFlags, reason: ReasonCode, properties: Properties | None) -> None:
        self._answer = reason
        self._answered.set()

    def _on_disconnect(
        self, client: paho.Client, data: object, flags: paho.DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        where = f"{self._settings.host}:{self._settings.port}"
        silent = str(reason) == "Keep alive timeout"
        self._lost = f"broker {where}: " + (f"silent for {self._settings.keepalive_s} s" if silent else "the connection broke")
        self._ended.set()
        self._answered.set()
        self._wake()

    def _on_publish(self, client: paho.Client, data: object, message: int, reason: ReasonCode, properties: Properties) -> None:
        if reason == NOT_AUTHORIZED:
            self._forbidden.add(message)
        self._acknowledged.append(message)
        self._wake()


def probe(settings: MqttSettings, wait_s: float) -> None:
    """Try to connect and log in once, and leave. Returns within about `wait_s` seconds. Raises MqttError, which says what is wrong."""
    outcome: Future[None] = Future()

    def attempt() -> None:
        connection = Connection(settings, _trial_id(), will_topic=None, wake=lambda: None)
        try:
            connection.open(wait_s)
        except MqttError as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)
        finally:
            connection.close()

    threading.Thread(target=attempt, name="mqtt-probe", daemon=True).start()
    try:
        outcome.result(wait_s + CLOSE_S)
    except TimeoutError:
        raise MqttError(_connect_failed(TimeoutError(), settings, wait_s)) from None


def may_publish(settings: MqttSettings, topic: str, wait_s: float) -> bool | None:
    """Send one message, which is not retained and holds nothing, and hear whether the broker forbids its topic.

    Brokers of MQTT 3.1.1 take what they forbid and throw it away, so this is asked over MQTT 5. None where the broker does not say. Blocks as
    `Connection.open` does, and for `wait_s` seconds more.
    """
    answered = threading.Event()
    connection = Connection(settings, _trial_id(), will_topic=None, wake=answered.set, protocol=MQTTProtocolVersion.MQTTv5)
    try:
        connection.open(wait_s)
        message = connection.publish(topic, b"")
        answered.wait(wait_s)
        return not connection.forbidden(message) if message in connection.acknowledged() else None
    except MqttError:
        return None
    finally:
        connection.close()


def _trial_id() -> str:
    return f"sortbin-check-{uuid.uuid4().hex[:8]}"


def _tls_context(tls: TlsSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        raise MqttError(f"mqtt.tls.ca_file {tls.ca_file}: expected a readable PEM file of certificates: {_said(error)}") from error
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


def _refused(answer: ReasonCode | None, ended: bool, settings: MqttSettings, wait_s: float) -> str:
    broker = f"broker {settings.host}:{settings.port}"
    if answer is None and not ended:
        return f"{broker}: connected, but no answer within {wait_s:g} s: is that an MQTT broker?"
    if answer is None and settings.tls is None:
        return f"{broker}: closed the connection instead of answering: does it ask for TLS there ([mqtt.tls])?"
    if answer is None:
        return f"{broker}: closed the connection instead of answering: does it ask for a certificate (mqtt.tls.cert_file)?"
    if str(answer) not in ("Bad user name or password", "Not authorized"):
        return f"{broker}: refused ({str(answer).lower()})"
    if settings.username is None:
        return f"{broker}: lets nobody in without a name: set mqtt.username and mqtt.password_file"
    return f"{broker}: refused user name or password: check mqtt.username {settings.username!r} and what mqtt.password_file holds"


def _said(error: OSError | UnicodeError) -> str:
    return str(getattr(error, "strerror", None) or error)
