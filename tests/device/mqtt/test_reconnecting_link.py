import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from device.common.clock import Clock
from device.events import Fault
from device.ledger.ledger import Ledger
from device.ledger.totals import BinTotals
from device.mqtt.connection import client_id
from device.mqtt.payloads import BinState, State
from device.mqtt.reconnecting_link import Link
from device.mqtt.settings import MqttSettings
from device.mqtt.topics import TopicError

WAIT_S = 20.0
ROOT = Path(__file__).parents[3]

Connect = Callable[..., Link]
Subscribe = Callable[[int], Any]


def old_connect(name: str, will_topic: str) -> bytes:
    """An MQTT 3.1.1 CONNECT with a retained will `offline`, QoS 1, keep-alive an hour."""
    texts = [name.encode(), will_topic.encode(), b"offline"]
    body = b"\x00\x04MQTT\x04\x2e\x0e\x10" + b"".join(len(text).to_bytes(2, "big") + text for text in texts)
    return b"\x10" + bytes([len(body)]) + body


def state(done: int = 0, mode: Any = "ready") -> State:
    return State(mode=mode, fault=None, totals={"paper": BinTotals(sorted=done)}, last_item=None, safe_mode=False)


def done(heard: list[Any]) -> list[int]:
    return [told["totals"]["paper"]["sorted"] for told in heard]


def test_a_new_subscriber_gets_info_and_online(broker: Any, connect: Connect, subscribe: Subscribe) -> None:
    early = subscribe(broker.port)
    link = connect(broker.port)
    link.publish_state(state(3))
    link.publish_bin("可回收物", BinState(fill_percent=12.5, full=False, items=3, hazards=0))
    early.wait_for("bin/可回收物", bool)
    early.wait_for("state", bool)
    early.wait_for("availability", bool)
    late = subscribe(broker.port)
    assert done(late.wait_for("state", bool))[-1] == 3
    known = late.wait_for("bin/可回收物", bool)[-1]
    assert (known["fill_percent"], known["full"], known["items"]) == (12.5, False, 3)
    assert late.wait_for("availability", bool)[-1] == "online"
    kept = {message.topic for message in late.heard if message.retain}
    assert kept == {"sortbin/bin1/state", "sortbin/bin1/bin/可回收物", "sortbin/bin1/availability"}


def test_online_is_published_after_the_retained_values(broker: Any, connect: Connect, subscribe: Subscribe, road: Any) -> None:
    to_broker = road(broker.port)
    to_broker.shut()
    listener = subscribe(broker.port)
    link = connect(to_broker.port)
    link.publish_state(state(1))
    link.publish_state(state(2))
    to_broker.open()
    listener.wait_for("availability", bool)
    assert [message.topic.rpartition("/")[2] for message in listener.heard] == ["state", "availability"]
    assert done(listener.payloads("state")) == [2]


def test_of_many_states_in_a_second_two_are_published(broker: Any, connect: Connect, subscribe: Subscribe) -> None:
    listener = subscribe(broker.port)
    link = connect(broker.port)
    listener.wait_for("availability", bool)
    for n in range(100):
        link.publish_state(state(n))
    told = done(listener.wait_for("state", lambda heard: done(heard)[-1:] == [99]))
    assert len(told) <= 3
    assert told == sorted(told)


def test_an_event_is_the_same_on_event_and_journal(broker: Any, ledger: Ledger, connect: Connect, subscribe: Subscribe) -> None:
    listener = subscribe(broker.port)
    connect(broker.port)
    listener.wait_for("availability", bool)
    event = ledger.record(Fault(fault="camera", message="no frame")).result(WAIT_S)
    (live,), (journal,) = listener.wait_for("event", bool), listener.wait_for("journal", bool)
    assert live == journal
    assert (live["type"], live["seq"], live["device"], live["time"]) == ("fault", event.seq, "bin1", event.time)
    assert not any(message.retain for message in listener.heard if message.topic.endswith(("event", "journal")))


def test_stopping_delivers_recorded_events(broker: Any, ledger: Ledger, connect: Connect, subscribe: Subscribe) -> None:
    listener = subscribe(broker.port)
    link = connect(broker.port)
    listener.wait_for("availability", bool)
    for _ in range(50):
        ledger.record(Fault(fault="camera", message="no frame"))
    assert link.stop(WAIT_S)
    assert (ledger.newest_seq, ledger.undelivered) == (50, 0)
    assert not link.connected
    assert not link.alive


def test_the_newest_state_and_offline_are_published_last(
    mosquitto: Callable[..., Any], ledger: Ledger, connect: Connect, subscribe: Subscribe
) -> None:
    # Not with amqtt: it loses acknowledged messages when the sender disconnects.
    broker = mosquitto()
    broker.start()
    listener = subscribe(broker.port)
    link = connect(broker.port)
    listener.wait_for("availability", bool)
    link.publish_state(state(1))
    link.publish_state(state(2))
    ledger.record(Fault(fault="camera", message="no frame"))
    assert link.stop(WAIT_S)
    assert listener.wait_for("availability", lambda heard: len(heard) == 2) == ["online", "offline"]
    assert len(listener.payloads("journal")) == 1
    assert done(listener.payloads("state"))[-1] == 2
    assert listener.heard[-1].topic.endswith("availability")


def test_stopping_without_a_broker_ends_the_thread(connect: Connect, link_log: Any, road: Any) -> None:
    nowhere = road(1)
    link = connect(nowhere.port)
    link_log.wait_for("closed the connection")
    assert not link.connected
    assert link.error is not None
    assert link.stop(WAIT_S)
    assert not link.alive


def test_a_refused_password_is_logged_once_and_retried(
    mosquitto: Callable[..., Any], tmp_path: Path, connect: Connect, link_log: Any, subscribe: Subscribe
) -> None:
    password, users = tmp_path / "password", tmp_path / "users"
    password.write_text("wrong")
    users.touch(mode=0o600)
    try:
        subprocess.run(["mosquitto_passwd", "-b", str(users), "bin1", "right"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("mosquitto_passwd is not installed")
    broker = mosquitto("allow_anonymous false", f"password_file {users}")
    broker.start()
    link = connect(broker.port, username="bin1", password_file=str(password))
    link_log.wait_for("refused user name or password")
    assert "mqtt.password_file" in str(link.error)
    password.write_text("right\n")
    link_log.wait_for(": connected")
    assert link.connected
    assert link.error is None
    assert sum("refused" in line for line in link_log.lines) == 1


def test_two_bins_with_one_id_log_the_cause(mosquitto: Callable[..., Any], connect: Connect, link_log: Any) -> None:
    broker = mosquitto()
    broker.start()
    connect(broker.port)
    connect(broker.port)
    link_log.wait_for("has another bin the id bin1?")


def test_a_small_receive_maximum_of_the_broker_is_kept(mosquitto: Callable[..., Any], ledger: Ledger, connect: Connect, link_log: Any) -> None:
    broker = mosquitto("allow_anonymous true", "max_inflight_messages 3")
    broker.start()
    for _ in range(100):
        ledger.record(Fault(fault="camera", message="no frame")).result(WAIT_S)
    link = connect(broker.port)
    for number in range(20):
        link.publish_bin(f"bin{number}", BinState(fill_percent=None, full=False, items=number, hazards=0))
    link_log.wait_for("connected in MQTT 5")
    assert link.stop(WAIT_S)
    assert ledger.undelivered == 0
    assert sum("connected" in line for line in link_log.lines) == 1


def test_a_forbidden_journal_is_delivered_once_it_is_allowed(
    mosquitto: Callable[..., Any], tmp_path: Path, ledger: Ledger, connect: Connect, subscribe: Subscribe, link_log: Any, road: Any
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read #\ntopic write sortbin/bin1/availability\ntopic write sortbin/bin1/state\n")
    acl.chmod(0o600)
    broker = mosquitto("allow_anonymous true", f"acl_file {acl}")
    broker.start()
    to_broker = road(broker.port)
    listener = subscribe(broker.port)
    link = connect(to_broker.port)
    events = [ledger.record(Fault(fault="camera", message="no frame")).result(WAIT_S) for _ in range(30)]
    link.publish_state(state(1))
    link.publish_bin("paper", BinState(fill_percent=None, full=False, items=1, hazards=0))
    listener.wait_for("state", bool)
    link_log.wait_for("refuses journal (not authorized): expected an ACL that lets it write to sortbin/bin1/#; events stay in the ledger")
    assert listener.payloads("journal") == []
    assert link.connected
    assert {"journal"} <= set(link.refused) <= {"journal", "event", "bin/paper"}
    assert ledger.undelivered == 30
    to_broker.shut()
    broker.kill()
    acl.write_text("topic read #\ntopic write sortbin/bin1/#\n")
    broker.start()
    listener = subscribe(broker.port)
    to_broker.open()
    heard = listener.wait_for("journal", lambda heard: len(heard) >= 30)
    assert [event["seq"] for event in heard] == [event.seq for event in events]
    assert link.stop(WAIT_S)
    assert (link.refused, ledger.undelivered) == ((), 0)


def test_refused_retained_values_are_published_once_allowed(
    mosquitto: Callable[..., Any], tmp_path: Path, connect: Connect, subscribe: Subscribe, link_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.mqtt.reconnecting_link.REFUSED_S", 0.1)
    acl = tmp_path / "acl"
    acl.write_text("topic read #\n")
    acl.chmod(0o600)
    broker = mosquitto("allow_anonymous true", f"acl_file {acl}")
    broker.start()
    listener = subscribe(broker.port)
    link = connect(broker.port)
    link.publish_state(state(1))
    link.publish_bin("paper", BinState(fill_percent=None, full=False, items=1, hazards=0))
    link_log.wait_for("refuses")
    until_s = time.monotonic() + WAIT_S
    while set(link.refused) != {"availability", "bin/paper", "state"}:
        assert time.monotonic() < until_s, link.refused
        time.sleep(0.01)
    assert listener.heard == []
    acl.write_text("topic read #\ntopic write sortbin/bin1/#\n")
    broker.reload()
    for name in ("state", "bin/paper"):
        listener.wait_for(name, bool)
    assert listener.wait_for("availability", bool) == ["online"]
    link_log.wait_for("accepts sortbin/bin1/availability again")
    assert "availability" not in link.refused
    assert sum(": connected" in line for line in link_log.lines) == 1
    assert subscribe(broker.port).wait_for("availability", bool) == ["online"]


def test_an_unexpected_exception_is_logged_and_the_link_reconnects(
    mosquitto: Callable[..., Any], tmp_path: Path, connect: Connect, link_log: Any
) -> None:
    """With a password that is too long for MQTT, paho raises an undocumented exception."""
    password = tmp_path / "password"
    password.write_text("x" * 70_000)
    broker = mosquitto()
    broker.start()
    link = connect(broker.port, username="bin1", password_file=str(password))
    link_log.wait_for("error")
    assert link.alive and not link.connected
    password.write_text("right")
    link_log.wait_for(": connected")
    assert link.error is None


DEVICE = """
import sys, threading
from pathlib import Path
from device.common.clock import Clock
from device.events import Fault
from device.ledger.ledger import Ledger
from device.mqtt.connection import client_id
from device.mqtt.reconnecting_link import Link
from device.mqtt.settings import MqttSettings

ledger = Ledger(Path(sys.argv[2]), "bin1", Clock())
link = Link(MqttSettings(host="127.0.0.1", port=int(sys.argv[1]), version=int(sys.argv[3])), "bin1", ledger)
while True:
    print(ledger.record(Fault(fault="camera", message="no frame")).result(20).seq, flush=True)
"""


def test_a_killed_device_goes_offline_and_loses_no_event(broker: Any, version: Any, tmp_path: Path, subscribe: Subscribe) -> None:
    listener = subscribe(broker.port)
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", DEVICE, str(broker.port), str(folder), str(version)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )
    listener.wait_for("journal", lambda heard: len(heard) >= 5)
    process.kill()
    assert process.stdout is not None
    said = [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    assert process.wait(WAIT_S) == -signal.SIGKILL
    process.stdout.close()
    assert listener.wait_for("availability", lambda heard: heard[-1:] == ["offline"]) == ["online", "offline"]
    assert set(subscribe(broker.port).wait_for("availability", bool)) == {"offline"}

    ledger = Ledger(folder, "bin1", Clock())
    link = Link(MqttSettings(host="127.0.0.1", port=broker.port, version=version), "bin1", ledger)
    listener.wait_for("journal", lambda heard: {event["seq"] for event in heard} >= set(said))
    assert link.stop(WAIT_S)
    ledger.close(WAIT_S)
    seqs = list(dict.fromkeys(event["seq"] for event in listener.payloads("journal")))
    assert seqs == list(range(1, len(seqs) + 1))


def test_a_quick_restart_ends_up_online(mosquitto: Callable[..., Any], tmp_path: Path, subscribe: Subscribe) -> None:
    # The broker still holds the old connection, whose will must not follow the new connection's `online`.
    broker = mosquitto()
    broker.start()
    listener = subscribe(broker.port)
    hung = socket.create_connection(("127.0.0.1", broker.port), WAIT_S)
    hung.sendall(old_connect(client_id("bin1"), "sortbin/bin1/availability"))
    assert hung.recv(4)[:2] == b"\x20\x02"
    ledger = Ledger(tmp_path / "back", "bin1", Clock())
    link = Link(MqttSettings(host="127.0.0.1", port=broker.port), "bin1", ledger)
    listener.wait_for("availability", lambda heard: "online" in heard)
    assert hung.recv(1) == b""
    hung.close()
    event = ledger.record(Fault(fault="camera", message="no frame")).result(WAIT_S)
    listener.wait_for("journal", lambda heard: heard[-1:] and heard[-1]["seq"] == event.seq)
    assert listener.payloads("availability")[-1] == "online"
    assert subscribe(broker.port).wait_for("availability", bool) == ["online"]
    link.stop(WAIT_S)
    ledger.close(WAIT_S)


def test_invalid_topic_names_are_refused_at_once(broker: Any, connect: Connect, ledger: Ledger) -> None:
    link = connect(broker.port)
    with pytest.raises(TopicError, match="bin 'a/b'"):
        link.publish_bin("a/b", BinState(fill_percent=None, full=False, items=0, hazards=0))
    with pytest.raises(TopicError, match="device id"):
        Link(MqttSettings(), "No Id", ledger)
