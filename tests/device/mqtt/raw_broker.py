"""A broker on a bare socket that answers each packet with the bytes that a test gives."""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

CONNECT, PUBLISH, PINGREQ, DISCONNECT = 1, 3, 12, 14


class Farewell(bytes):
    """Bytes after which the broker closes the connection."""


HANG_UP = Farewell()


class Packet(NamedTuple):
    """connection: 1 for the first one. number: 1 for its first packet. kind: MQTT's packet type."""

    connection: int
    number: int
    kind: int
    body: bytes

    @property
    def is_mqtt_5(self) -> bool:
        return self.kind == CONNECT and self.body[6] == 5


Answers = Callable[[Packet], bytes]


def well_behaved(packet: Packet) -> bytes:
    """The answers of a broker that accepts everything."""
    match packet.kind:
        case 1:
            return connack(packet)
        case 3:
            return b"\x40\x02" + message_id(packet)
        case 12:
            return b"\xd0\x00"
        case _:
            return HANG_UP


def connack(packet: Packet, code: int = 0, properties: bytes = b"") -> bytes:
    """CONNACK in the version of the CONNECT."""
    body = bytes([0, code]) + (bytes([len(properties)]) + properties if packet.is_mqtt_5 else b"")
    return bytes([0x20, len(body)]) + body


def message_id(publish: Packet) -> bytes:
    topic_size = int.from_bytes(publish.body[:2], "big")
    return publish.body[2 + topic_size : 4 + topic_size]


def topic_of(publish: Packet) -> str:
    return publish.body[2 : 2 + int.from_bytes(publish.body[:2], "big")].decode()


class RawBroker:
    """Listens on the loopback interface. answers: gives the bytes to send after a packet."""

    def __init__(self, answers: Answers = well_behaved) -> None:
        self.answers = answers
        self.heard: list[Packet] = []
        self._news = threading.Condition()
        self._ends: list[socket.socket] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        threading.Thread(target=self._welcome, daemon=True).start()

    def wait_for(self, enough: Callable[[list[Packet]], bool], wait_s: float = 20.0) -> None:
        with self._news:
            assert self._news.wait_for(lambda: enough(self.heard), wait_s), self.heard[-3:]

    def close(self) -> None:
        for end in [self._door, *self._ends]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _welcome(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                end, _ = self._door.accept()
                self._ends.append(end)
                threading.Thread(target=self._serve, args=(end, len(self._ends)), daemon=True).start()

    def _serve(self, end: socket.socket, connection: int) -> None:
        with contextlib.suppress(OSError), end, end.makefile("rb") as stream:
            number = 0
            while head := stream.read(1):
                number += 1
                packet = Packet(connection, number, head[0] >> 4, stream.read(_length(stream.read)))
                with self._news:
                    self.heard.append(packet)
                    self._news.notify_all()
                answer = self.answers(packet)
                end.sendall(answer)
                if isinstance(answer, Farewell):
                    _hang_up(end, stream)
                    return


def _hang_up(end: socket.socket, stream: BinaryIO) -> None:
    """Close so that the client gets the last bytes: with unread bytes the kernel would reset the connection and drop them."""
    end.shutdown(socket.SHUT_WR)
    end.settimeout(1.0)
    while stream.read(1):
        pass


def _length(read: Callable[[int], bytes]) -> int:
    length, shift = 0, 0
    while byte := read(1):
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            break
    return length
