"""paho's client, watched: its network thread neither ends unheard nor fills the memory."""

from collections.abc import Callable

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

LARGEST = 65_536
"""most bytes of a packet from the broker: it has acknowledgements for us, and nothing else"""


class MalformedPacket(Exception):
    """The broker sent what no broker sends to a client that has subscribed to nothing."""


class GuardedClient(paho.Client):
    """Reads private state of paho 2.1 where it has no public way; each such place says what paho lacks.

    on_end: called on the network thread when it is about to end, with a line about a packet that could not be read, None without one.
    """

    def __init__(self, client_id: str, protocol: MQTTProtocolVersion, on_end: Callable[[str | None], None]) -> None:
        clean = None if protocol is MQTTProtocolVersion.MQTTv5 else True
        super().__init__(CallbackAPIVersion.VERSION2, client_id, clean_session=clean, protocol=protocol, reconnect_on_failure=False)
        self.suppress_exceptions = True
        self.max_inflight_messages = 0
        self.on_end = on_end

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        """What `loop_start` runs in its thread. What a malformed packet makes paho's parsers raise would end that in silence."""
        broken: str | None = None
        try:
            return super().loop_forever(timeout, retry_first_connection)
        except Exception as error:
            broken = str(error) if isinstance(error, MalformedPacket) else f"{type(error).__name__}: {error}"
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        finally:
            self.on_end(broken)

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """paho takes in packets of up to 256 MiB, and keeps messages with QoS 2 until the broker releases them."""
        code = super().loop_read(max_packets)
        if self._in_packet["remaining_length"] > LARGEST:
            raise MalformedPacket(f"a packet of {self._in_packet['remaining_length']} bytes")
        if self._in_messages:
            raise MalformedPacket("a message, though nothing was subscribed to")
        return code

    def limit_keepalive(self, seconds: int) -> None:
        """Ping as often as the broker asks for in its answer to CONNECT. paho passes that over."""
        self._keepalive = min(self._keepalive, seconds)

    def said_at_its_end(self) -> ReasonCode | None:
        """Why the broker ends the connection, to be asked amid `on_disconnect`. paho passes over packets that hold the reason alone."""
        try:
            return ReasonCode(PacketTypes.DISCONNECT, identifier=self._in_packet["packet"][0])
        except (IndexError, KeyError):
            return None
