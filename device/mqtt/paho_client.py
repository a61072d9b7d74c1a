"""paho's client with guards: the end of its network thread is always reported, and no broker can fill the memory."""

from collections.abc import Callable

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

MAX_PACKET_BYTES = 16_384
"""longest packet from the broker, which is told so in MQTT 5; a longer message is read and thrown away"""
PUBLISH = PacketTypes.PUBLISH << 4


class MalformedPacket(Exception):
    """The broker sent what this client never gets: it did not ask for it, or it is too long."""


class GuardedClient(paho.Client):
    """Uses private attributes of paho 2.1; each place says which public interface is missing.

    on_end: called on the network thread before it ends, with a line about a malformed packet, or None.
    """

    def __init__(self, client_id: str, protocol: MQTTProtocolVersion, on_end: Callable[[str | None], None]) -> None:
        clean = None if protocol is MQTTProtocolVersion.MQTTv5 else True
        super().__init__(CallbackAPIVersion.VERSION2, client_id, clean_session=clean, protocol=protocol, reconnect_on_failure=False)
        self.suppress_exceptions = True
        self.max_inflight_messages = 0
        self.on_end = on_end
        self.listens = False
        """whether it has subscribed to anything"""

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        """Runs on the network thread. Without this, an exception in paho's parsers ends the thread unnoticed."""
        malformed: str | None = None
        try:
            return super().loop_forever(timeout, retry_first_connection)
        except Exception as error:
            malformed = str(error) if isinstance(error, MalformedPacket) else f"{type(error).__name__}: {error}"
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        finally:
            self.on_end(malformed)

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """paho keeps messages with QoS 2 until the broker releases them, any number. Nothing is subscribed to with QoS 2."""
        code = super().loop_read(max_packets)
        if self._in_messages:
            raise MalformedPacket("a message of QoS 2" if self.listens else "a message, though nothing was subscribed to")
        return code

    def _sock_recv(self, bufsize: int) -> bytes:
        """paho accepts packets of up to 256 MiB and has no limit to set. Of a longer message only the beginning is kept, to be acknowledged."""
        packet = self._in_packet
        if packet["remaining_length"] > MAX_PACKET_BYTES:
            if not (self.listens and packet["command"] & 0xF0 == PUBLISH):
                raise MalformedPacket(f"a packet of {packet['remaining_length']} bytes")
            del packet["packet"][MAX_PACKET_BYTES:]
            bufsize = min(bufsize, MAX_PACKET_BYTES)
        return super()._sock_recv(bufsize)

    def limit_keepalive(self, seconds: int) -> None:
        """Shorten the keep-alive to what the broker asks for in its CONNACK. paho ignores that."""
        self._keepalive = min(self._keepalive, seconds)

    def disconnect_reason(self) -> ReasonCode | None:
        """The reason in the broker's DISCONNECT, within `on_disconnect`. paho does not read a packet that holds only the reason."""
        try:
            return ReasonCode(PacketTypes.DISCONNECT, identifier=self._in_packet["packet"][0])
        except (IndexError, KeyError):
            return None
