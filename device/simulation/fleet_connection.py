"""The connection of one bin of the simulated fleet: a socket that never blocks, once it is open."""

import contextlib
import selectors
import socket
import ssl
from collections import deque
from collections.abc import Callable

from device.mqtt import MqttError
from device.mqtt.connection_errors import describe_connect_error
from device.mqtt.settings import MqttSettings
from device.simulation import mqtt_packets as packets

KEEPALIVE_S = 60
OPEN_S = 5.0
CHUNK = 65536
_REFUSED = {
    1: "refused the protocol version",
    2: "refused the client id",
    3: "is not available",
    4: "refused user name or password",
    5: "does not allow this login",
}
"""return codes of CONNACK"""


Unacknowledged = tuple[bytes, bytes, bool]
"""topic, payload and whether it is retained"""


class FleetConnection:
    """One client of the broker. Messages go out with QoS 1; those that are not acknowledged when it breaks are in `unacknowledged`.

    lost: why it ended; empty while it is open. refused: whether the broker did not accept it.
    """

    def __init__(self, settings: MqttSettings, tls: ssl.SSLContext | None, hello: bytes, on_message: Callable[[str, bytes], None]) -> None:
        """Connect; blocks up to OPEN_S for each of TCP and TLS. hello: the CONNECT packet. on_message: gets topic and payload. Raises MqttError."""
        self.lost = ""
        self.refused = False
        self.unacknowledged: dict[int, Unacknowledged] = {}
        self._settings, self._on_message = settings, on_message
        self._identifier = 0
        self._waiting: deque[bytes] = deque([hello])
        self._buffer = bytearray()
        try:
            raw = socket.create_connection((settings.host, settings.port), OPEN_S)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket = raw if tls is None else tls.wrap_socket(raw, server_hostname=settings.host)
        except (OSError, UnicodeError) as error:
            raise MqttError(describe_connect_error(error, settings, OPEN_S)) from error
        self.socket.setblocking(False)

    @property
    def wants(self) -> int:
        """Reading, and writing too while something waits to be sent."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._waiting else 0)

    def publish(self, topic: bytes, payload: bytes, retain: bool) -> None:
        """Queue a message."""
        self._identifier = self._next_identifier()
        self.unacknowledged[self._identifier] = topic, payload, retain
        self._waiting.append(packets.publish(topic, payload, self._identifier, retain))

    def subscribe(self, pattern: str) -> None:
        """Queue a subscription."""
        self._identifier = self._next_identifier()
        self._waiting.append(packets.subscribe(pattern, self._identifier))

    def ping(self) -> None:
        """Queue a sign of life."""
        self._waiting.append(packets.PING)

    def leave(self) -> None:
        """Queue DISCONNECT, after which the broker drops the will."""
        self._waiting.append(packets.DISCONNECT)

    def write(self) -> None:
        """Send what waits, as far as the socket takes it. Call it where the socket is writable, or at once after `publish`."""
        try:
            while self._waiting:
                together = b"".join(self._waiting)
                self._waiting.clear()
                sent = self.socket.send(together)
                if sent < len(together):
                    self._waiting.append(together[sent:])
                    return
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self._waiting.appendleft(together)
        except OSError as error:
            self.lost = self.lost or f"the connection broke: {error.strerror or error}"

    def read(self) -> None:
        """Take in what the broker has sent. Call it where the socket is readable."""
        try:
            while data := self.socket.recv(CHUNK):
                self._buffer += data
                if len(data) < CHUNK and not isinstance(self.socket, ssl.SSLSocket):
                    break
            else:
                self.lost = self.lost or "the broker ended the connection"
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            self.lost = self.lost or f"the connection broke: {error.strerror or error}"
        try:
            for packet in packets.received(self._buffer):
                self._handle(packet)
        except packets.MalformedPackets as error:
            self.lost = self.lost or f"the broker sent what is no MQTT: {error}"

    def close(self) -> None:
        """Close the socket as it is: without DISCONNECT before, the broker publishes the will."""
        with contextlib.suppress(OSError):
            self.socket.close()

    def _handle(self, packet: packets.Packet) -> None:
        match packet.kind:
            case packets.PUBACK:
                self.unacknowledged.pop(int.from_bytes(packet.body[:2], "big"), None)
            case packets.CONNACK if packet.body[1:2] != b"\x00":
                self.refused = True
                why = _REFUSED.get(packet.body[1] if len(packet.body) > 1 else 0, "refused the connection")
                self.lost = f"broker {self._settings.host}:{self._settings.port} {why}"
            case packets.PUBLISH:
                topic, payload, identifier = packets.message(packet)
                if identifier is not None:
                    self._waiting.append(packets.puback(identifier))
                self._on_message(topic, payload)
            case _:
                pass

    def _next_identifier(self) -> int:
        identifier = self._identifier % 0xFFFF + 1
        while identifier in self.unacknowledged:
            identifier = identifier % 0xFFFF + 1
        return identifier
