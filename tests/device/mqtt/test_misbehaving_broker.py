"""Wrong, missing or late answers of a broker: the link logs them, reconnects, and the whole journal arrives."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device.common.clock import Clock
from device.events import Fault, decode
from device.ledger.ledger import Ledger
from device.mqtt import MqttError
from device.mqtt.backoff import Backoff
from device.mqtt.connection import Connection
from device.mqtt.connection import connect as open_connection
from device.mqtt.reconnecting_link import Link
from device.mqtt.settings import MqttSettings, TlsSettings
from tests.device.mqtt.raw_broker import CONNECT, HANG_UP, PINGREQ, PUBLISH, Farewell, Packet, RawBroker, connack, message_id, topic_of, well_behaved

EVENTS = 30
WAIT_S = 20.0
NOT_AUTHORIZED = b"\x87"
AFTER_CONNECT = {
    "nothing, and hangs up": b"",
    "half of an answer, and hangs up": b"\x20",
    "a code that does not exist": b"\x20\x03\x00\xee\x00",
    "properties that do not exist": b"\x20\x05\x00\x00\x02\xff\xff",
    "properties that end too early": b"\x20\x04\x00\x00\x7f\x21",
    "no body": b"\x20\x00",
    "a length without an end": b"\x20\xff\xff\xff\xff\xff",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "zeros": bytes(64),
}
AFTER_PUBLISH = {
    "PUBACK without a body": b"\x40\x00",
    "PUBACK with half an id": b"\x40\x01\x00",
    "PUBACK with a code that does not exist": b"\x40\x03\x00\x01\xee",
    "PUBACK with broken properties": b"\x40\x05\x00\x01\x00\x7f\x26",
    "PUBACK of another message": b"\x40\x02\xfe\xfe",
    "PUBREC": b"\x50\x02\x00\x01",
    "SUBACK without a body": b"\x90\x00",
    "UNSUBACK without a body": b"\xb0\x00",
    "AUTH": b"\xf0\x00",
    "a packet of type 0": b"\x00\x00",
    "a message without a topic": b"\x30\x00",
    "a message whose topic is longer than it": b"\x30\x04\xff\xffab",
    "a message that is no text": b"\x30\x06\x00\x02\xff\xfe\x00a",
    "a message of QoS 2": b"\x34\x08\x00\x01a\x00\x07\x00hi",
    "a message of QoS 3": b"\x36\x08\x00\x01a\x00\x07\x00hi",
    "DISCONNECT with a code that does not exist": b"\xe0\x01\xee",
    "DISCONNECT with a code that does not exist, and properties": b"\xe0\x04\xee\x02\x1f\x00",
    "DISCONNECT": b"\xe0\x00",
    "a second CONNACK that refuses": b"\x20\x03\x00\x87\x00",
    "a packet of 256 MB": b"\x30\xff\xff\xff\x7f",
    "a length without an end": b"\x40\xff\xff\xff\xff\xff",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


@pytest.fixture
def raw_broker() -> Iterator[RawBroker]:
    broker = RawBroker()
    yield broker
    broker.close()


def settings_of(broker: RawBroker, **more: Any) -> MqttSettings:
    return MqttSettings(host="127.0.0.1", port=broker.port, keepalive_s=1, **more)


def link_to(broker: RawBroker, ledger: Ledger) -> Link:
    return Link(settings_of(broker), "bin1", ledger, backoff=Backoff(0.02, 0.05))


def fill(ledger: Ledger, n: int = EVENTS) -> None:
    for stored in [ledger.record(Fault(fault="camera", message=f"no frame ({number})")) for number in range(n)]:
        stored.result(WAIT_S)


def journal_of(heard: list[Packet]) -> list[int]:
    """Numbers of the events on the journal, in order of arrival."""
    published = (packet for packet in heard if packet.kind == PUBLISH and topic_of(packet).endswith("/journal"))
    return [decode(packet.body[packet.body.index(b'{"type"') :]).seq for packet in published]


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def well_after(connections: int, answers: Callable[[Packet], bytes]) -> Callable[[Packet], bytes]:
    """A broker that behaves well after so many connections."""
    return lambda packet: well_behaved(packet) if packet.connection > connections else answers(packet)


def connect(broker: RawBroker, wait_s: float = WAIT_S, **more: Any) -> Connection:
    return open_connection(settings_of(broker, **more), "sortbin-bin1", will_topic=None, on_news=lambda: None, wait_s=wait_s)


def refusal(broker: RawBroker, wait_s: float = WAIT_S, **more: Any) -> str:
    with pytest.raises(MqttError) as refused:
        connect(broker, wait_s, **more)
    said = str(refused.value)
    assert said.startswith(f"broker 127.0.0.1:{broker.port}: ")
    assert "\n" not in said
    return said


# Malformed packets


@pytest.mark.parametrize("what", AFTER_CONNECT)
def test_an_invalid_connack_is_logged_and_retried(what: str, raw_broker: RawBroker, ledger: Ledger, link_log: Any) -> None:
    raw_broker.answers = well_after(4, lambda packet: Farewell(AFTER_CONNECT[what]))
    fill(ledger)
    link_to(raw_broker, ledger)
    until(lambda: not ledger.undelivered)
    assert [line for line in link_log.lines if line.startswith(f"broker 127.0.0.1:{raw_broker.port}: ") and "connected in" not in line]


@pytest.mark.parametrize("what", AFTER_PUBLISH)
def test_a_malformed_packet_ends_the_connection_and_the_next_goes_on(what: str, raw_broker: RawBroker, ledger: Ledger) -> None:
    junk = AFTER_PUBLISH[what]
    raw_broker.answers = well_after(1, lambda packet: junk + well_behaved(packet) if packet.number == 5 else well_behaved(packet))
    fill(ledger)
    link = link_to(raw_broker, ledger)
    until(lambda: not ledger.undelivered)
    assert sorted(set(journal_of(raw_broker.heard))) == list(range(1, EVENTS + 1))
    assert link.stop(WAIT_S)


JUNK = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.builds(lambda kind, body: bytes([kind, len(body)]) + body, st.integers(0, 255), st.binary(max_size=20)),
    st.builds(lambda kind, length: bytes([kind]) + length, st.integers(0, 255), st.binary(min_size=1, max_size=5)),
)


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.lists(JUNK, min_size=1, max_size=3), at=st.integers(1, 12), hangs_up=st.booleans())
def test_no_bytes_from_a_broker_lose_an_event(
    junk: list[bytes], at: int, hangs_up: bool, raw_broker: RawBroker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    begun = max((packet.connection for packet in raw_broker.heard), default=0)

    def answers(packet: Packet) -> bytes:
        turn = packet.connection - begun - 1
        if turn >= len(junk) or packet.number != at:
            return well_behaved(packet)
        return Farewell(junk[turn]) if hangs_up or packet.kind == CONNECT else junk[turn] + well_behaved(packet)

    raw_broker.answers = answers
    ledger = Ledger(tmp_path_factory.mktemp("state"), "bin1", Clock())
    fill(ledger)
    link = link_to(raw_broker, ledger)
    until(lambda: not ledger.undelivered)
    heard = [packet for packet in raw_broker.heard if packet.connection > begun]
    assert set(journal_of(heard)) == set(range(1, EVENTS + 1))
    assert link.stop(WAIT_S)
    assert ledger.close(WAIT_S)


# Silence


def test_a_broker_without_connack_times_out(raw_broker: RawBroker) -> None:
    raw_broker.answers = lambda packet: b""
    assert "is that an MQTT broker?" in refusal(raw_broker, wait_s=0.2)


def test_a_tls_handshake_times_out(raw_broker: RawBroker) -> None:
    raw_broker.answers = lambda packet: b""
    patient = MqttSettings(host="127.0.0.1", port=raw_broker.port, keepalive_s=3600, tls=TlsSettings())
    with pytest.raises(MqttError, match=r"no answer within 0\.2 s"):
        open_connection(patient, "sortbin-bin1", will_topic=None, on_news=lambda: None, wait_s=0.2)


@pytest.mark.parametrize("answers_pings", [False, True])
def test_a_broker_that_falls_silent_is_left_and_the_next_goes_on(answers_pings: bool, raw_broker: RawBroker, ledger: Ledger, link_log: Any) -> None:
    def silent(packet: Packet) -> bytes:
        spoken = packet.number <= 5 or (answers_pings and packet.kind == PINGREQ)
        return well_behaved(packet) if spoken else b""

    raw_broker.answers = well_after(1, silent)
    fill(ledger)
    link_to(raw_broker, ledger)
    until(lambda: not ledger.undelivered)
    link_log.wait_for("has not acknowledged a message" if answers_pings else "broker 127.0.0.1")
    assert link_log.lines.count(f"broker 127.0.0.1:{raw_broker.port}: connected in MQTT 5") == 2


def test_a_message_without_acknowledgement_is_published_again(raw_broker: RawBroker, ledger: Ledger, link_log: Any) -> None:
    raw_broker.answers = well_after(1, lambda packet: b"" if packet.number == 5 else well_behaved(packet))
    fill(ledger)
    link_to(raw_broker, ledger)
    until(lambda: not ledger.undelivered)
    link_log.wait_for("has not acknowledged a message")
    assert len(journal_of(raw_broker.heard)) == EVENTS + 1


# Refusals and options


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("code", [*range(1, 6), *range(0x80, 0xA3), 0xFF])
def test_a_refusal_of_any_code_is_one_line(version: int, code: int, raw_broker: RawBroker) -> None:
    raw_broker.answers = lambda packet: Farewell(connack(packet, code if packet.is_mqtt_5 == (version == 5) else 1))
    assert refusal(raw_broker)


@pytest.mark.parametrize("answer", [Farewell(b"\x20\x02\x00\x01"), Farewell(b"\x20\x03\x00\x84\x00"), HANG_UP])
def test_a_broker_without_mqtt_5_gets_mqtt_3(answer: Farewell, raw_broker: RawBroker, ledger: Ledger, link_log: Any) -> None:
    raw_broker.answers = lambda packet: answer if packet.is_mqtt_5 else well_behaved(packet)
    fill(ledger)
    link_to(raw_broker, ledger)
    until(lambda: not ledger.undelivered)
    link_log.wait_for("connected in MQTT 3.1.1")
    assert {packet.connection for packet in raw_broker.heard} == {1, 2}


def test_version_3_begins_with_mqtt_3(raw_broker: RawBroker) -> None:
    raw_broker.answers = lambda packet: b"" if packet.is_mqtt_5 else well_behaved(packet)
    assert connect(raw_broker, 0.2).protocol.startswith("MQTT 3.1.1")
    heard = len(raw_broker.heard)
    connection = connect(raw_broker, version=3)
    assert [packet.is_mqtt_5 for packet in raw_broker.heard[heard:] if packet.kind == CONNECT] == [False]
    connection.close()


@pytest.mark.parametrize("code", [0x86, 0x87, 0x8A])
def test_a_refused_login_is_not_retried_in_an_older_version(code: int, raw_broker: RawBroker) -> None:
    raw_broker.answers = lambda packet: Farewell(connack(packet, code))
    refusal(raw_broker)
    assert len(raw_broker.heard) == 1


def test_session_taken_over_names_the_device_id(raw_broker: RawBroker, ledger: Ledger, link_log: Any) -> None:
    raw_broker.answers = well_after(1, lambda packet: Farewell(b"\xe0\x01\x8e") if packet.number == 5 else well_behaved(packet))
    fill(ledger)
    link_to(raw_broker, ledger)
    link_log.wait_for("ended the connection (session taken over): has another bin the id bin1?")
    until(lambda: not ledger.undelivered)


def test_malformed_packets_do_not_point_to_another_bin(raw_broker: RawBroker, ledger: Ledger, link_log: Any) -> None:
    raw_broker.answers = well_after(6, lambda packet: b"\x90\x00" if packet.number == 3 else well_behaved(packet))
    fill(ledger)
    link_to(raw_broker, ledger)
    until(lambda: not ledger.undelivered)
    assert any("sent what is no MQTT" in line for line in link_log.lines)
    assert not any("another bin" in line for line in link_log.lines)


def test_the_server_keep_alive_is_kept(raw_broker: RawBroker) -> None:
    within_a_second = b"\x13\x00\x01"
    raw_broker.answers = lambda packet: connack(packet, 0, within_a_second) if packet.kind == CONNECT else well_behaved(packet)
    patient = MqttSettings(host="127.0.0.1", port=raw_broker.port, keepalive_s=3600)
    connection = open_connection(patient, "sortbin-bin1", will_topic=None, on_news=lambda: None, wait_s=WAIT_S)
    raw_broker.wait_for(lambda heard: heard[-1].kind == PINGREQ)
    connection.close()


def test_the_receive_maximum_limits_messages_in_flight(raw_broker: RawBroker, ledger: Ledger) -> None:
    at_most_three = b"\x21\x00\x03"
    unanswered: list[Packet] = []

    def answers(packet: Packet) -> bytes:
        if packet.kind != PUBLISH:
            return connack(packet, 0, at_most_three) if packet.kind == CONNECT else well_behaved(packet)
        unanswered.append(packet)
        if len(unanswered) < 3:
            return b""
        answer = b"".join(well_behaved(each) for each in unanswered)
        unanswered.clear()
        return answer

    raw_broker.answers = answers
    fill(ledger, 29)
    link_to(raw_broker, ledger)
    until(lambda: not ledger.undelivered)
    assert {packet.connection for packet in raw_broker.heard} == {1}


def test_a_refused_event_is_published_again(raw_broker: RawBroker, ledger: Ledger, link_log: Any) -> None:
    def forbids_the_journal(packet: Packet) -> bytes:
        if packet.kind == PUBLISH and topic_of(packet).endswith("/journal"):
            return b"\x40\x03" + message_id(packet) + NOT_AUTHORIZED
        return well_behaved(packet)

    raw_broker.answers = forbids_the_journal
    fill(ledger)
    link = link_to(raw_broker, ledger)
    link_log.wait_for("refuses journal (not authorized): expected an ACL that lets it write to sortbin/bin1/#; events stay in the ledger")
    raw_broker.wait_for(lambda heard: len(journal_of(heard)) == 20)
    assert (link.refused, ledger.undelivered) == (("journal",), EVENTS)
    assert link.stop(WAIT_S)
    assert ledger.undelivered == EVENTS
    assert len(journal_of(raw_broker.heard)) == 20
    raw_broker.answers = well_behaved
    link_to(raw_broker, ledger)
    until(lambda: not ledger.undelivered)
    assert journal_of(raw_broker.heard)[20:] == list(range(1, EVENTS + 1))
