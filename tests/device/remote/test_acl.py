"""`config/mosquitto/acl` in a real Mosquitto: who may publish as a bin, who may command one, and what `sortbin cmd` says of it."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import paho.mqtt.client as paho
import pytest

from device.cli import main
from device.common.clock import Clock
from device.home_assistant.discovery import Discovery
from device.home_assistant.settings import HomeAssistantSettings
from device.ledger.ledger import Ledger
from device.mqtt.backoff import Backoff
from device.mqtt.command_payloads import CommandResult
from device.mqtt.inbox import Message
from device.mqtt.reconnecting_link import Link
from device.mqtt.settings import MqttSettings
from tests.device.home_assistant.test_messages import FULL

ACL = Path(__file__).parents[3] / "config/mosquitto/acl"
USERS = ("bin1", "bin2", "operator", "homeassistant", "viewer", "stranger")
WAIT_S = 20.0


@pytest.fixture
def broker(mosquitto: Callable[..., Any], tmp_path: Path) -> Any:
    """A broker with the shipped access list. The password of each user is its name."""
    passwd = shutil.which("mosquitto_passwd")
    if passwd is None:
        pytest.skip("mosquitto_passwd is not installed")
    users, acl = tmp_path / "users", tmp_path / "acl"
    users.touch(mode=0o600)
    shutil.copyfile(ACL, acl)
    acl.chmod(0o600)
    for user in USERS:
        subprocess.run([passwd, "-b", str(users), user, user], check=True, capture_output=True)
        (tmp_path / user).write_text(user)
    made = mosquitto("allow_anonymous false", f"password_file {users}", f"acl_file {acl}")
    made.start()
    return made


@pytest.fixture
def links(broker: Any, tmp_path: Path) -> Iterator[Callable[[str], Link]]:
    """`links("bin1")`: a bin that answers each command with its name."""
    made: list[tuple[Link, Ledger]] = []

    def make(device: str) -> Link:
        settings = MqttSettings(host="127.0.0.1", port=broker.port, username=device, password_file=str(tmp_path / device))
        ledger = Ledger(tmp_path / f"state-{device}", device, Clock())
        link = Link(settings, device, ledger, backoff=Backoff(0.02, 0.1))
        made.append((link, ledger))

        def answer(message: Message) -> None:
            sent = json.loads(message.payload)
            link.publish_result(CommandResult(id=sent["id"], command="pause", ok=True, code="done", message=f"{device} paused"))

        link.subscribe(link.topics.commands, answer)
        return link

    yield make
    for link, ledger in made:
        link.stop(1.0)
        ledger.close(WAIT_S)


def published(port: int, user: str, topic: str, payload: bytes = b"{}") -> bool:
    """Whether the broker lets a user publish on a topic (MQTT 5 says so)."""
    reasons: list[Any] = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.username_pw_set(user, user)
    client.on_publish = lambda *values: reasons.append(values[3])
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.publish(topic, payload, 1).wait_for_publish(WAIT_S)
    client.disconnect()
    client.loop_stop()
    return not reasons[0].is_failure


def send(port: int, user: str, bin_: str, tmp_path: Path, *more: str) -> int:
    login = ["--username", user, "--password-file", str(tmp_path / user)]
    return main(["cmd", bin_, "pause", "--host", "127.0.0.1", "--port", str(port), *login, *more])


@pytest.mark.parametrize("topic", ["sortbin/bin1/state", "sortbin/bin1/journal", "sortbin/bin1/availability", "sortbin/bin1/cmd/pause"])
@pytest.mark.parametrize("user", ["bin2", "viewer", "stranger"])
def test_nobody_else_publishes_as_a_bin_or_commands_it(broker: Any, user: str, topic: str) -> None:
    assert not published(broker.port, user, topic)


def test_a_bin_publishes_and_an_operator_commands_but_not_more(broker: Any) -> None:
    assert published(broker.port, "bin1", "sortbin/bin1/state")
    assert published(broker.port, "operator", "sortbin/bin1/cmd/pause")
    assert not published(broker.port, "operator", "sortbin/bin1/state")
    assert not published(broker.port, "operator", "sortbin/bin1/cmd/a/b")
    assert not published(broker.port, "viewer", "homeassistant/device/bin1/config")


@pytest.mark.parametrize("form", ["device", "components"])
def test_bins_announce_themselves_to_home_assistant_and_none_another(
    form: Literal["device", "components"], broker: Any, links: Callable[[str], Link], tmp_path: Path
) -> None:
    link = links("bin1")
    bin1 = replace(FULL, topics=link.topics)
    discovery = Discovery(bin1, HomeAssistantSettings(enabled=True, form=form), link, tmp_path, lambda *_: 0.0)
    assert _until(lambda: discovery.has_arrived) and not link.refused
    for user in ("bin2", "viewer", "operator"):
        assert not any(published(broker.port, user, topic) for topic in discovery.topics[:3])
    assert not published(broker.port, "bin1", "homeassistant/status", b"online")
    assert published(broker.port, "homeassistant", "homeassistant/status", b"online")

    def publishes_again() -> bool:
        discovery.update(time.monotonic())
        return not discovery.has_arrived

    assert _until(publishes_again)


def test_an_operator_gets_the_answer_of_the_bin_that_is_commanded(
    broker: Any, links: Callable[[str], Link], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for device in ("bin1", "bin2"):
        link = links(device)
        assert _until(lambda link=link: link.connected)  # type: ignore[misc]
    assert send(broker.port, "operator", "bin2", tmp_path) == 0
    assert capsys.readouterr().out == "bin2: bin2 paused\n"


@pytest.mark.parametrize("user", ["stranger", "viewer", "bin2"])
def test_cmd_says_that_a_user_may_not_command(
    user: str, broker: Any, links: Callable[[str], Link], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    links("bin1")
    assert send(broker.port, user, "bin1", tmp_path, "--wait", "3") == 2
    assert "does not let this user write to sortbin/bin1/cmd/pause (not authorized)" in capsys.readouterr().err


def test_a_viewer_reads_and_a_stranger_does_not(broker: Any, links: Callable[[str], Link]) -> None:
    heard: dict[str, list[str]] = {"viewer": [], "stranger": [], "bin2": []}
    clients = []
    for user in heard:
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.username_pw_set(user, user)
        client.on_message = lambda _, __, message, user=user: heard[user].append(message.topic)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        client.subscribe("#")
        clients.append(client)
    links("bin1")
    assert _until(lambda: "sortbin/bin1/availability" in heard["viewer"])
    assert (heard["stranger"], heard["bin2"]) == ([], [])
    for client in clients:
        client.disconnect()
        client.loop_stop()


def _until(condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < deadline_s:
        threading.Event().wait(0.01)
    return condition()
