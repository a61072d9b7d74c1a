"""`sortbin cmd`: the exit status, and one line for each mistake. The broker's refusals are in tests/device/remote/test_acl.py."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from device.cli import main
from device.common.clock import Clock
from device.ledger.ledger import Ledger
from device.mqtt.command_payloads import CommandResult
from device.mqtt.inbox import Message
from device.mqtt.reconnecting_link import Link
from device.mqtt.settings import MqttSettings
from device.remote.kinds import COMMANDS
from tests.device.mqtt.conftest import mosquitto as mosquitto
from tests.device.mqtt.conftest import subscribe as subscribe


@pytest.fixture
def heard() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def port(mosquitto: Callable[..., Any], subscribe: Callable[[int], Any], heard: list[dict[str, Any]], tmp_path: Path) -> Iterator[int]:
    """A broker with a bin that agrees to `resume` and refuses everything else."""
    broker = mosquitto()
    broker.start()
    listener = subscribe(broker.port)
    ledger = Ledger(tmp_path / "state", "bin1", Clock())
    link = Link(MqttSettings(host="127.0.0.1", port=broker.port), "bin1", ledger)

    def answer(message: Message) -> None:
        heard.append(sent := json.loads(message.payload))
        ok = message.topic.endswith("/resume")
        for id_ in ("another", sent["id"]):
            link.publish_result(CommandResult(id=id_, command="x", ok=ok, code="done" if ok else "not_now", message="it ü"))

    link.subscribe(link.topics.commands, answer)
    listener.wait_for("availability", bool)
    yield broker.port
    link.stop(1.0)
    ledger.close(10.0)


def test_the_answer_is_printed_and_is_the_exit_status(port: int, heard: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    to = ["--host", "127.0.0.1", "--port", str(port)]
    assert main(["cmd", "bin1", "resume", *to]) == 0
    assert main(["cmd", "bin1", "clear_fault", "tray_is_empty=true", "--ttl", "9", "--id", "abc", "--json", *to]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "bin1: it ü"
    assert json.loads(out[1]) == {"id": "abc", "command": "x", "ok": False, "code": "not_now", "message": "it ü"}
    assert (heard[1]["args"], heard[1]["ttl_s"], heard[1]["sent"][-1]) == ({"tray_is_empty": True}, 9.0, "Z")


def test_the_broker_may_come_from_a_settings_file(port: int, tmp_path: Path) -> None:
    file = tmp_path / "sortbin.toml"
    file.write_text(f'[camera]\nkind = "v4l2"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\n', encoding="utf-8")
    assert main(["cmd", "bin1", "resume", "--config", str(file)]) == 0
    assert main(["cmd", "bin1", "resume", "--config", str(file), "--port", "1"]) == 2


def test_a_broker_of_a_settings_file_that_fails_is_told_by_its_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sortbin.toml"
    file.write_text('[mqtt]\nhost = "127.0.0.1"\nport = 1\n', encoding="utf-8")
    assert main(["cmd", "bin1", "resume", "--config", str(file)]) == 2
    assert "is the broker running, and mqtt.port right?" in capsys.readouterr().err


def test_no_answer_is_exit_status_2(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cmd", "bin2", "resume", "--host", "127.0.0.1", "--port", str(port), "--wait", "0.3"]) == 2
    assert "no answer on sortbin/bin2/cmd_result: is it there, and does it listen" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bin1"], "expected BIN and NAME, or --list"),
        (["Bin 1", "pause"], "device id 'Bin 1': expected lower-case letters"),
        (["bin1", "emptied"], "emptied: missing key bin"),
        (["bin1", "emptied", "bin"], "bin: expected KEY=VALUE"),
        (["bin1", "emptied", "bin=x", "now=1"], "emptied: unknown key now"),
        (["bin1", "clear_fault", "tray_is_empty=perhaps"], "clear_fault: tray_is_empty: expected true or false"),
        (["bin1", "emptied", "bin=paper", "bin=glass"], "emptied: bin: expected once, found paper and glass"),
        (["bin1", "emptied", "bin=\udcff"], "emptied: bin: expected text without control characters, found '\\udcff'"),
        (["bin1", "pause", "--id", "a b"], "--id: expected letters, digits, _ . : and -"),
        (["bin1", "pause", "--id", ""], "--id: expected text, not empty"),
        (["bin1", "pause", "--host", "mqtt://x"], "host: expected the name or address of a broker alone"),
        (["bin1", "pause", "--config", "no-such-file"], "no-such-file: No such file or directory"),
        (["bin1", "pause", "--host", "127.0.0.1", "--port", "1"], "nothing listens there: is the broker running, and --port right?"),
        (["bin1", "pause", "--password-file", "x"], "cmd: expected username beside password_file"),
        (["bin1", "pause", "--username", "x", "--password-file", "no-such-file"], "--password-file no-such-file: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cmd", *words]) == 2
    err = capsys.readouterr().err
    assert said in err and err.startswith("sortbin cmd: ") and err.count("\n") == 1


def test_the_list_has_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cmd", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert set(listed) == set(COMMANDS)
    assert listed["clear_fault"]["args"] == ["[tray_is_empty=false]"]
    assert main(["cmd", "--list"]) == 0
    assert "emptied bin=...\n" in capsys.readouterr().out
