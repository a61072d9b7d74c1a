"""A daemon that cannot start or crashes publishes the reason first, and does not delay the next start for long."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from device.common.clock import Clock
from device.daemon.exit_fault import publish_exit_fault
from device.events import ItemSorted
from device.ledger.ledger import Ledger
from device.mqtt import MqttError
from device.mqtt.payloads import FaultState, State
from device.mqtt.publish_once import publish_final_state
from device.mqtt.settings import MqttSettings
from device.settings import SettingsError
from device.vision.inference.bundle import Bundle
from tests.device.mqtt.raw_broker import RawBroker

WAIT_S = 20.0
ROOT = Path(__file__).parents[3]
BINS = ("paper", "glass", "metal", "plastic", "trash")
SILENT = State(mode="fault", fault=FaultState(fault="daemon", message="no"), totals={}, last_item=None, safe_mode=False)

Settings = Callable[..., Path]


@pytest.fixture
def settings(tmp_path: Path, tiny_bundle: Bundle) -> Settings:
    """Writes valid settings with one text replaced."""

    def write(port: int, wrong: tuple[str, str] = ("", "")) -> Path:
        gates = "".join(f'[[gate]]\nkind = "simulated"\nbin = "{name}"\n' for name in BINS)
        text = (
            f'[device]\nid = "bin1"\nstate = "{tmp_path / "state"}"\n[model]\nbundle = "{tiny_bundle.folder}"\n'
            f'[camera]\nkind = "v4l2"\ndevice = "/dev/video97"\n{gates}[mqtt]\nhost = "127.0.0.1"\nport = {port}\n'
        )
        assert wrong[0] in text
        file = tmp_path / "sortbin.toml"
        file.write_text(text.replace(wrong[0], wrong[1].replace("FOLDER", str(tmp_path)), 1) if wrong[0] else text, encoding="utf-8")
        return file

    return write


def run(file: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "device.cli", "run", "--config", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, env=os.environ)


def sorted_item() -> ItemSorted:
    known: dict[str, Any] = {
        "label": "glass",
        "p": 0.9,
        "probabilities": {"glass": 1.0},
        "frames": 1,
        "decided_s": 1.0,
        "moved_s": 1.0,
        "bundle": "b",
    }
    return ItemSorted(item="a", bin="glass", **known)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (('kind = "v4l2"', 'kind = "v4l2"\nspeed = 3'), "camera: unknown key speed"),
        pytest.param(("[model]", '[model]\nrules = "/no/such/rules.toml"'), "/no/such/rules.toml", marks=pytest.mark.slow),
        pytest.param(('bundle = "', 'bundle = "/no/such'), "/no/such", marks=pytest.mark.slow),
        (('kind = "simulated"\nbin = "metal"', 'kind = "line"\nline = "GPIO97"\nbin = "metal"'), "GPIO97"),
        pytest.param(('/state"', '/sortbin.toml"'), "sortbin.toml", marks=pytest.mark.slow),
        pytest.param(('bin = "glass"', 'bin = "glas"'), 'no [[gate]] with bin = "glass"', marks=pytest.mark.slow),
    ],
)
def test_the_reason_of_a_refused_start_is_published(
    wrong: tuple[str, str],
    said: str,
    settings: Settings,
    mosquitto: Callable[..., Any],
    subscribe: Callable[[int], Any],
) -> None:
    broker = mosquitto()
    broker.start()
    listener = subscribe(broker.port)
    ended = run(settings(broker.port, wrong))
    assert ended.returncode == 2
    told = listener.wait_for("state", bool)[-1]
    assert (told["mode"], told["fault"]["fault"]) == ("fault", "daemon")
    assert said in told["fault"]["message"]
    assert ended.stderr.splitlines()[-1] == f"sortbin run: {told['fault']['message']}"
    assert listener.wait_for("availability", bool)[-1] == "offline"
    late = subscribe(broker.port)
    assert late.wait_for("state", bool)[-1] == told
    assert late.wait_for("availability", bool)[-1] == "offline"


def test_the_fault_state_keeps_the_totals(
    settings: Settings,
    tmp_path: Path,
    mosquitto: Callable[..., Any],
    subscribe: Callable[[int], Any],
) -> None:
    ledger = Ledger(tmp_path / "state", "bin1", Clock())
    ledger.record(sorted_item()).result(WAIT_S)
    assert ledger.close(WAIT_S)
    broker = mosquitto()
    broker.start()
    publish_exit_fault(settings(broker.port), SettingsError("no such thing"))
    told = subscribe(broker.port).wait_for("state", bool)[-1]
    assert told["totals"] == msgspec.to_builtins(ledger.totals())
    assert told["totals"]["glass"]["sorted"] == 1
    assert told["last_item"]["item"] == "a"


def test_an_unexpected_exception_is_published_with_its_type(
    settings: Settings,
    mosquitto: Callable[..., Any],
    subscribe: Callable[[int], Any],
) -> None:
    broker = mosquitto()
    broker.start()
    publish_exit_fault(settings(broker.port), ZeroDivisionError("division by zero"))
    assert subscribe(broker.port).wait_for("state", bool)[-1]["fault"]["message"] == "ZeroDivisionError: division by zero"


@pytest.mark.slow
def test_a_second_daemon_publishes_nothing_while_one_runs(
    settings: Settings,
    tmp_path: Path,
    mosquitto: Callable[..., Any],
    subscribe: Callable[[int], Any],
) -> None:
    running = Ledger(tmp_path / "state", "bin1", Clock())
    broker = mosquitto()
    broker.start()
    listener = subscribe(broker.port)
    for wrong in (("", ""), ('kind = "v4l2"', 'kind = "v4l2"\nspeed = 3')):
        assert run(settings(broker.port, wrong)).returncode == 2
    running.close(WAIT_S)
    publish_final_state(MqttSettings(host="127.0.0.1", port=broker.port), "bin1", SILENT, WAIT_S)
    assert [state["fault"]["message"] for state in listener.wait_for("state", bool)] == ["no"]


@pytest.mark.slow
def test_a_forbidden_journal_is_in_health_and_the_status_line(
    settings: Settings, tmp_path: Path, mosquitto: Callable[..., Any], subscribe: Callable[[int], Any]
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read #\ntopic write sortbin/bin1/health\n")
    acl.chmod(0o600)
    broker = mosquitto("allow_anonymous true", f"acl_file {acl}")
    broker.start()
    listener = subscribe(broker.port)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60.0)
        command = [sys.executable, "-m", "device.cli", "run", "--config", str(settings(broker.port))]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=ROOT, env=os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        try:
            while b"the broker refuses" not in (line := manager.recv(4096)) or b"journal" not in line:
                pass
            listener.wait_for("health", lambda heard: "journal" in heard[-1]["refused"])
        finally:
            process.terminate()
            process.wait(WAIT_S)
    assert line.startswith(b"STATUS=fault: ")
    assert {name.rpartition("/")[2] for name in (message.topic for message in listener.heard)} == {"health"}


def test_a_file_without_a_valid_broker_publishes_nothing(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    file = settings(1, ('[mqtt]\nhost = "127.0.0.1"\nport = 1\n', ""))
    publish_exit_fault(file, SettingsError("no"))
    for text in ("[device", "", '[mqtt]\ntsl = { ca_file = "ca.pem" }\n', '[device]\nid = "No Id"\n[mqtt]\n'):
        file.write_text(text)
        publish_exit_fault(file, SettingsError("no"))
    publish_exit_fault(file.with_name("none.toml"), SettingsError("no"))
    assert caplog.text == ""


@pytest.mark.parametrize("wrong", [("", ""), ('/state"', '/state\\u0000"')])
def test_a_failure_to_publish_does_not_hide_the_reason(wrong: tuple[str, str], settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    publish_exit_fault(settings(1, wrong), SettingsError("no"))
    assert "the reason could not be published" in caplog.text


def test_a_silent_broker_or_a_hanging_look_up_ends_in_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    silent = RawBroker(lambda packet: b"")
    publish_exit_fault(settings(silent.port), SettingsError("no"), 0.3)
    silent.close()
    assert caplog.text.count("no answer within") == 1
    found = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found.wait(WAIT_S) and [])
    with pytest.raises(MqttError, match=r"no answer within 0\.2 s"):
        publish_final_state(MqttSettings(host="127.0.0.1", port=silent.port), "bin1", SILENT, 0.2)
    found.set()
