"""What a bin hears: every connection subscribes anew, and no message of any size, kind or number does harm."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import paho.mqtt.client as paho
import pytest

from device.ledger.ledger import Ledger
from device.mqtt.backoff import Backoff
from device.mqtt.command_payloads import CommandResult
from device.mqtt.inbox import MAX_MESSAGE_BYTES, Message
from device.mqtt.reconnecting_link import Link
from device.mqtt.settings import MqttSettings
from tests.device.mqtt.raw_broker import CONNECT, Packet, RawBroker, connack, well_behaved

SUBSCRIBE, PUBACK = 8, 4
PATTERN, TOPIC = "sortbin/bin1/cmd/+", "sortbin/bin1/cmd/pause"
WAIT_S = 20.0
TEN_MB = b"x" * 10_000_000
JUNK = {
    "a message of QoS 2": b"\x34\x08\x00\x01a\x00\x07\x00hi",
    "a message of QoS 3": b"\x36\x08\x00\x01a\x00\x07\x00hi",
    "SUBACK without a body": b"\x90\x00",
    "a message without a topic": b"\x30\x00",
    "a message with half an id": b"\x32\x04\x00\x01a\x00",
    "an acknowledgement of 20 kB": b"\x40\xa0\x9c\x01" + bytes(20_000),
    "a topic of 40 kB": b"\x30\xd0\xb8\x02\x9c\x40" + b"a" * 40_014,
}


class Heard:
    """A handler that collects messages."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._news = threading.Condition()

    def __call__(self, message: Message) -> None:
        with self._news:
            self.messages.append(message)
            self._news.notify_all()

    def wait_for(self, payload: bytes) -> None:
        with self._news:
            assert self._news.wait_for(lambda: any(each.payload == payload for each in self.messages), WAIT_S), self.messages[-3:]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def raw_broker() -> Iterator[RawBroker]:
    broker = RawBroker()
    yield broker
    broker.close()


@pytest.fixture(params=[3, 5])
def link(request: pytest.FixtureRequest, ledger: Ledger, heard: Heard) -> Iterator[Callable[[int], Link]]:
    """Makes a link that listens to commands, in each version of MQTT."""
    made: list[Link] = []

    def make(port: int) -> Link:
        settings = MqttSettings(host="127.0.0.1", port=port, version=request.param, keepalive_s=2)
        made.append(Link(settings, "bin1", ledger, backoff=Backoff(0.02, 0.1)))
        made[-1].subscribe(PATTERN, heard)
        return made[-1]

    yield make
    for each in made:
        each.stop(1.0)


@pytest.fixture
def publish() -> Iterator[Callable[..., None]]:
    """`publish(port, topic, payload, qos, retain)` returns when the broker has the message."""
    clients: dict[int, paho.Client] = {}

    def send(port: int, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        if port not in clients or clients[port].socket() is None:
            clients[port] = paho.Client(paho.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
            clients[port].connect("127.0.0.1", port)
            clients[port].loop_start()
        with contextlib.suppress(RuntimeError):  # it has noticed just now that the broker was killed
            clients[port].publish(topic, payload, qos, retain).wait_for_publish(WAIT_S)

    yield send
    for client in clients.values():
        client.disconnect()
        client.loop_stop()


def until_heard(heard: Heard, send: Callable[[], None]) -> None:
    """Send until a message is heard: nobody tells when a subscription holds."""
    deadline_s = time.monotonic() + WAIT_S
    while not heard.messages and time.monotonic() < deadline_s:
        send()
        time.sleep(0.02)
    assert heard.messages


def message(payload: bytes, packet: Packet, qos: int = 0, number: int = 1, version: int = 5) -> bytes:
    """PUBLISH from the broker."""
    body = len(TOPIC).to_bytes(2, "big") + TOPIC.encode() + (number.to_bytes(2, "big") if qos else b"") + (b"\0" if version == 5 else b"") + payload
    size, length = len(body), b""
    while True:
        size, low = divmod(size, 128)
        length += bytes([low | (128 if size else 0)])
        if not size:
            return bytes([0x30 | qos << 1]) + length + body


def suback(packet: Packet, code: int, version: int) -> bytes:
    return b"\x90" + (b"\x04" + packet.body[:2] + b"\0" if version == 5 else b"\x03" + packet.body[:2]) + bytes([code])


def version_of(broker: RawBroker) -> int:
    return 5 if next(packet for packet in broker.heard if packet.kind == CONNECT).is_mqtt_5 else 3


def test_each_connection_subscribes_anew(mosquitto: Any, link: Any, heard: Heard, publish: Any) -> None:
    broker = mosquitto()
    for word in (b"before", b"after"):
        broker.start()
        if word == b"before":
            link(broker.port)
        heard.messages.clear()
        until_heard(heard, lambda word=word: publish(broker.port, TOPIC, word))  # type: ignore[misc]
        assert heard.messages[0] == Message(TOPIC, word, False)
        broker.kill()


def test_only_a_topic_of_the_pattern_is_heard(mosquitto: Any, link: Any, heard: Heard, publish: Any) -> None:
    broker = mosquitto()
    broker.start()
    link(broker.port)
    until_heard(heard, lambda: publish(broker.port, TOPIC, b"there?"))
    for topic in ("sortbin/bin1/cmd", "sortbin/bin1/cmd/a/b", "sortbin/bin2/cmd/pause", "sortbin/bin1/state"):
        publish(broker.port, topic, b"not for it")
    publish(broker.port, "sortbin/bin1/cmd/ü $", b"last")
    heard.wait_for(b"last")
    assert {each.payload for each in heard.messages} == {b"there?", b"last"}


def test_a_payload_of_ten_megabytes_ends_nothing(mosquitto: Any, link: Any, heard: Heard, publish: Any, link_log: Any) -> None:
    broker = mosquitto()
    broker.start()
    made = link(broker.port)
    until_heard(heard, lambda: publish(broker.port, TOPIC, b"there?"))
    for qos in (0, 1, 2):
        publish(broker.port, TOPIC, TEN_MB, qos)
    publish(broker.port, TOPIC, b"last")
    heard.wait_for(b"last")
    assert {each.payload for each in heard.messages} == {b"there?", b"last"}
    assert sum("connected in" in line for line in link_log.lines) == 1
    assert made.connected


@pytest.mark.parametrize("qos", [0, 1])
def test_a_long_message_from_a_broker_that_ignores_the_limit_is_dropped(
    qos: int, raw_broker: RawBroker, link: Any, heard: Heard, link_log: Any
) -> None:
    def answers(packet: Packet) -> bytes:
        version = version_of(raw_broker)
        if packet.kind != SUBSCRIBE:
            return well_behaved(packet) if packet.kind != PUBACK else b""
        long = [message(b"y" * size, packet, qos, 7 + size % 7, version) for size in (MAX_MESSAGE_BYTES + 1, 10_000_000)]
        return suback(packet, 1, version) + b"".join(long) + message(b"last", packet, 0, 1, version)

    raw_broker.answers = answers
    made = link(raw_broker.port)
    heard.wait_for(b"last")
    link_log.wait_for(f"of more than {MAX_MESSAGE_BYTES} bytes")
    assert [each.payload for each in heard.messages] == [b"last"]
    assert made.connected
    if qos:
        raw_broker.wait_for(lambda heard: sum(packet.kind == PUBACK for packet in heard) == 2)


@pytest.mark.parametrize("what", JUNK)
def test_what_is_no_mqtt_ends_the_connection_and_the_next_listens(what: str, raw_broker: RawBroker, link: Any, heard: Heard) -> None:
    def answers(packet: Packet) -> bytes:
        if packet.kind != SUBSCRIBE:
            return well_behaved(packet)
        version = version_of(raw_broker)
        return suback(packet, 1, version) + (JUNK[what] if packet.connection == 1 else message(b"well", packet, 0, 1, version))

    raw_broker.answers = answers
    link(raw_broker.port)
    heard.wait_for(b"well")
    assert [each.payload for each in heard.messages] == [b"well"]


def test_a_flood_is_braked_and_ends(mosquitto: Any, link: Any, heard: Heard, publish: Any, link_log: Any) -> None:
    broker = mosquitto()
    broker.start()
    link(broker.port)
    until_heard(heard, lambda: publish(broker.port, TOPIC, b"there?"))
    for _ in range(400):
        publish(broker.port, TOPIC, b"flood", 0)
    link_log.wait_for("that came too fast")
    until = time.monotonic() + WAIT_S
    while not any(each.payload == b"last" for each in heard.messages) and time.monotonic() < until:
        publish(broker.port, TOPIC, b"last")
        time.sleep(0.02)
    assert sum(each.payload == b"flood" for each in heard.messages) < 200
    assert any(each.payload == b"last" for each in heard.messages)


def test_retained_messages_are_marked_or_not_sent_at_all(mosquitto: Any, link: Any, heard: Heard, publish: Any) -> None:
    broker = mosquitto()
    broker.start()
    publish(broker.port, TOPIC, b"old", retain=True)
    made = link(broker.port)
    for _ in range(200):
        publish(broker.port, TOPIC, b"new")
        if any(each.payload == b"new" for each in heard.messages):
            break
    assert made.connected
    assert {each.retained for each in heard.messages if each.payload == b"old"} <= {True}
    assert not any(each.retained for each in heard.messages if each.payload == b"new")


def test_a_message_that_the_broker_retains_is_marked_at_once(
    mosquitto: Callable[..., Any], ledger: Ledger, heard: Heard, publish: Callable[..., None]
) -> None:
    broker = mosquitto()
    broker.start()
    link = Link(MqttSettings(host="127.0.0.1", port=broker.port), "bin1", ledger, backoff=Backoff(0.02, 0.1))
    try:
        link.subscribe(PATTERN, heard)
        until_heard(heard, lambda: publish(broker.port, TOPIC, b"live"))
        publish(broker.port, TOPIC, b"kept", retain=True)
        heard.wait_for(b"kept")
        assert {each.payload: each.retained for each in heard.messages} == {b"live": False, b"kept": True}
    finally:
        link.stop(1.0)


def test_a_refused_subscription_is_named(raw_broker: RawBroker, link: Any, heard: Heard, link_log: Any) -> None:
    def answers(packet: Packet) -> bytes:
        version = version_of(raw_broker)
        return suback(packet, 0x87 if version == 5 else 0x80, version) if packet.kind == SUBSCRIBE else well_behaved(packet)

    raw_broker.answers = answers
    made = link(raw_broker.port)
    link_log.wait_for("refuses cmd/+")
    (line,) = [line for line in link_log.lines if "refuses" in line]
    assert line.endswith("expected an ACL that lets it read sortbin/bin1/cmd/+")
    assert made.refused == ("cmd/+",)
    assert made.connected


def test_a_link_that_listens_to_nothing_sends_no_subscribe(raw_broker: RawBroker, ledger: Ledger) -> None:
    settings = MqttSettings(host="127.0.0.1", port=raw_broker.port)
    made = Link(settings, "bin1", ledger)
    made.publish_retained("sortbin/bin1/image/last", b"\xff\xd8")
    raw_broker.wait_for(lambda heard: any(b"image/last" in packet.body for packet in heard))
    assert made.stop(WAIT_S)
    assert not [packet for packet in raw_broker.heard if packet.kind == SUBSCRIBE]


def test_a_broker_is_told_the_longest_packet(raw_broker: RawBroker, ledger: Ledger) -> None:
    made = Link(MqttSettings(host="127.0.0.1", port=raw_broker.port), "bin1", ledger)
    raw_broker.wait_for(bool)
    assert b"\x27\x00\x00\x40\x00" in raw_broker.heard[0].body
    assert made.stop(WAIT_S)


def test_a_handler_that_raises_does_not_end_the_link(mosquitto: Any, link: Any, heard: Heard, publish: Any) -> None:
    def raises(_: Message) -> None:
        raise KeyError("bad")

    broker = mosquitto()
    broker.start()
    made = link(broker.port)
    made.subscribe("sortbin/bin1/cmd/#", raises)
    until_heard(heard, lambda: publish(broker.port, TOPIC, b"one"))
    publish(broker.port, TOPIC, b"two")
    heard.wait_for(b"two")
    assert made.alive


def test_a_result_is_published_and_not_retained(mosquitto: Any, link: Any, subscribe: Any) -> None:
    broker = mosquitto()
    broker.start()
    listener = subscribe(broker.port)
    made = link(broker.port)
    made.publish_result(CommandResult(id="a1", command="pause", ok=True, code="done", message="paused"))
    (told,) = listener.wait_for("cmd_result", bool)
    assert told == {"id": "a1", "command": "pause", "ok": True, "code": "done", "message": "paused"}
    assert not [each for each in listener.heard if each.topic.endswith("cmd_result") and each.retain]


def test_retained_bytes_come_again_when_asked_and_go_with_an_empty_payload(mosquitto: Any, link: Any, subscribe: Any) -> None:
    broker = mosquitto()
    broker.start()
    made = link(broker.port)
    early = subscribe(broker.port)
    made.publish_retained("sortbin/any/config", b'{"a":1}')
    early.wait_for("any/config", lambda told: len(told) == 1)
    made.publish_again("sortbin/any/config")
    made.publish_again("sortbin/another/config")
    early.wait_for("any/config", lambda told: len(told) == 2)
    made.publish_retained("sortbin/any/config", b"")
    early.wait_for("any/config", lambda told: told[-1] == "")
    late = subscribe(broker.port)
    late.wait_for("availability", bool)
    assert late.payloads("any/config") == []


def test_a_connection_refused_after_connack_is_tried_again(raw_broker: RawBroker, link: Any, heard: Heard) -> None:
    """A broker may end the connection at a SUBSCRIBE that it forbids."""

    def answers(packet: Packet) -> bytes:
        version = version_of(raw_broker)
        if packet.kind == CONNECT:
            return connack(packet)
        if packet.kind == SUBSCRIBE:
            return b"\xe0\x01\x87" if packet.connection < 3 else suback(packet, 1, version) + message(b"well", packet, 0, 1, version)
        return well_behaved(packet)

    raw_broker.answers = answers
    link(raw_broker.port)
    heard.wait_for(b"well")
