"""Connecting, and the error messages: each names the broker or the file, and the settings key to look at."""

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from device.cli import main
from device.mqtt import MqttError
from device.mqtt.connection import client_id
from device.mqtt.probe import may_publish, probe
from device.mqtt.settings import MqttSettings, TlsSettings

WAIT_S = 5.0


def at(port: int, **settings: Any) -> MqttSettings:
    return MqttSettings(host="127.0.0.1", port=port, **settings)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Accepts TCP connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        yield door


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("s3cret ü\n", encoding="utf-8")
    return file


@pytest.fixture
def guarded(mosquitto: Callable[..., Any], tmp_path: Path) -> Any:
    """A broker with one user."""
    users = tmp_path / "users"
    users.touch(mode=0o600)
    made = shutil.which("mosquitto_passwd")
    if made is None:
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run([made, "-b", str(users), "bin1", "s3cret ü"], check=True, capture_output=True)
    broker = mosquitto("allow_anonymous false", f"password_file {users}")
    broker.start()
    return broker


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with an authority `ca.pem` and its certificates: `server.pem` for 127.0.0.1, `client.pem`; keys as `.key`."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")

    def make(*words: str) -> None:
        subprocess.run([openssl, *words], check=True, capture_output=True, cwd=tmp_path)

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for authority in ("ca", "stranger"):
        make("req", "-x509", *new, "-keyout", f"{authority}.key", "-out", f"{authority}.pem", "-subj", f"/CN={authority}", "-days", "2")
    (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        make("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
        make("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
    return tmp_path


@pytest.fixture
def encrypted(mosquitto: Callable[..., Any], certificates: Path) -> Callable[..., Any]:
    def start(*lines: str) -> Any:
        files = [f"cafile {certificates}/ca.pem", f"certfile {certificates}/server.pem", f"keyfile {certificates}/server.key"]
        broker = mosquitto(*files, *(lines or ["allow_anonymous true"]))
        broker.start()
        return broker

    return start


def refusal(settings: MqttSettings, wait_s: float = WAIT_S) -> str:
    with pytest.raises(MqttError) as refused:
        probe(settings, wait_s)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_successful_login_raises_nothing(broker: Any, version: int) -> None:
    assert probe(at(broker.port, version=version), WAIT_S) is None


def test_a_port_where_nothing_listens_is_named(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    assert refusal(at(port)) == f"broker 127.0.0.1:{port}: nothing listens there: is the broker running, and mqtt.port right?"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70])
def test_a_host_that_does_not_exist_is_named(host: str) -> None:
    said = refusal(MqttSettings(host=host))
    assert said.startswith(f"broker {host}:1883: no such host")
    assert "mqtt.host" in said


def test_a_server_that_never_answers_is_no_broker(listener: socket.socket) -> None:
    assert "is that an MQTT broker?" in refusal(at(listener.getsockname()[1]), wait_s=0.2)


def test_a_missing_login_is_named(guarded: Any) -> None:
    assert "set mqtt.username and mqtt.password_file" in refusal(at(guarded.port))


def test_a_wrong_password_is_named_and_the_right_one_connects(guarded: Any, password_file: Path) -> None:
    settings = at(guarded.port, username="bin1", password_file=str(password_file))
    assert probe(settings, WAIT_S) is None
    password_file.write_text("guess")
    assert "refused user name or password: check mqtt.username 'bin1'" in refusal(settings)


@pytest.fixture
def rationed(mosquitto: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """A broker with an access list, and what was published below `sortbin/`."""

    def start(*lines: str) -> Any:
        acl = tmp_path / "acl"
        acl.write_text("topic read sortbin/#\n" + "".join(f"topic {line}\n" for line in lines), encoding="utf-8")
        acl.chmod(0o600)
        broker = mosquitto("allow_anonymous true", f"acl_file {acl}")
        broker.start()
        return broker

    return start


def test_the_probe_publishes_nothing_that_stays(rationed: Callable[..., Any], subscribe: Callable[[int], Any]) -> None:
    broker = rationed("write sortbin/bin1/#")
    assert may_publish(at(broker.port), "sortbin/bin1/check", WAIT_S) is True, "nobody listens yet"
    early = subscribe(broker.port)
    assert may_publish(at(broker.port), "sortbin/bin1/check", WAIT_S) is True
    assert early.wait_for("check", bool) == [""]
    late = subscribe(broker.port)
    assert may_publish(at(broker.port), "sortbin/bin1/check", WAIT_S) is True
    assert late.wait_for("check", bool) == [""]
    assert not late.heard[0].retain


def test_a_forbidden_topic_is_found_after_a_successful_login(rationed: Callable[..., Any]) -> None:
    broker = rationed("write sortbin/another/#")
    assert probe(at(broker.port), WAIT_S) is None
    assert may_publish(at(broker.port), "sortbin/bin1/check", WAIT_S) is False


@pytest.mark.parametrize("allowed", ["bin-1", "another"])
def test_check_names_the_forbidden_topic(
    allowed: str, rationed: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("device.commands.check.SECOND_TRY_S", 0.3)
    broker = rationed(f"write sortbin/{allowed}/#")
    file = tmp_path / "sortbin.toml"
    state, nothing = tmp_path / "state", tmp_path / "nothing"
    camera = f'[camera]\nkind = "replay"\npath = "{nothing}"\n[[gate]]\nkind = "simulated"\nbin = "paper"\n'
    file.write_text(f'[device]\nid = "bin-1"\nstate = "{state}"\n{camera}[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n', encoding="utf-8")
    if allowed == "bin-1":
        file.write_text(file.read_text(encoding="utf-8") + "[home_assistant]\nenabled = true\n", encoding="utf-8")
    main(["check", "--config", str(file), "--json"])
    (said,) = (part for part in json.loads(capsys.readouterr().out) if part["part"] == "broker")
    where = f"127.0.0.1:{broker.port}"
    expected = {
        "bin-1": (True, f"{where} accepts this device and what it publishes; whether it takes what Home Assistant is told shows when the bin runs"),
        "another": (False, f"broker {where}: forbids the topic sortbin/bin-1/check: expected an ACL that lets it write to sortbin/bin-1/#"),
    }
    assert (said["ok"], said["message"]) == expected[allowed]


def test_a_broker_without_mqtt_5_does_not_tell_of_topics() -> None:
    pytest.importorskip("amqtt")
    from device.simulation.broker import EmbeddedBroker

    broker = EmbeddedBroker()
    try:
        assert probe(at(broker.port), WAIT_S) is None
        assert may_publish(at(broker.port), "sortbin/bin1/check", 1.0) is None
    finally:
        broker.stop()


def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing, binary = tmp_path / "missing", tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    assert refusal(at(1, username="x", password_file=str(missing))) == f"mqtt.password_file {missing}: No such file or directory"
    assert "expected text in UTF-8" in refusal(at(1, username="x", password_file=str(binary)))


def test_tls_with_the_right_authority_connects(encrypted: Any, certificates: Path) -> None:
    broker = encrypted()
    assert probe(at(broker.port, tls=TlsSettings(ca_file=str(certificates / "ca.pem"))), WAIT_S) is None


@pytest.mark.parametrize("ca_file", ["stranger.pem", None])
def test_a_certificate_of_another_authority_is_not_trusted(encrypted: Any, certificates: Path, ca_file: str | None) -> None:
    broker = encrypted()
    said = refusal(at(broker.port, tls=TlsSettings(ca_file=str(certificates / ca_file) if ca_file else None)))
    assert "certificate is not trusted" in said
    assert "mqtt.tls.ca_file" in said


@pytest.mark.parametrize(
    ("valid_from", "valid_until", "said"),
    [
        ("20500101000000Z", "20510101000000Z", "not valid yet by this device's clock"),
        ("20000101000000Z", "20010101000000Z", "no longer valid by"),
    ],
)
def test_an_expired_certificate_points_to_the_clock(encrypted: Any, certificates: Path, valid_from: str, valid_until: str, said: str) -> None:
    """A Pi has no battery clock: without a network its time is in the past."""
    (certificates / "ca.conf").write_text("[ca]\ndefault_ca=own\n[own]\ndatabase=index\nserial=number\npolicy=any\n[any]\ncommonName=supplied\n")
    (certificates / "index").touch()
    (certificates / "number").write_text("1000\n")
    dates = ["-startdate", valid_from, "-enddate", valid_until]
    files = ["-cert", "ca.pem", "-keyfile", "ca.key", "-in", "server.csr", "-out", "server.pem", "-extfile", "names", "-outdir", "."]
    command = ["openssl", "ca", "-batch", "-config", "ca.conf", "-md", "sha256", "-notext", *files, *dates]
    subprocess.run(command, check=True, capture_output=True, cwd=certificates)
    broker = encrypted()
    refused = refusal(at(broker.port, tls=TlsSettings(ca_file=str(certificates / "ca.pem"))))
    assert f"its certificate is {said}" in refused and "check the clock" in refused


def test_a_certificate_for_another_host_is_not_trusted(encrypted: Any, certificates: Path) -> None:
    broker = encrypted()
    said = refusal(MqttSettings(host="localhost", port=broker.port, tls=TlsSettings(ca_file=str(certificates / "ca.pem"))))
    assert "certificate is not trusted" in said
    assert "mqtt.host" in said


def test_a_broker_gets_the_client_certificate_that_it_asks_for(encrypted: Any, certificates: Path) -> None:
    broker = encrypted("require_certificate true", "allow_anonymous true")
    ca = str(certificates / "ca.pem")
    own = TlsSettings(ca_file=ca, cert_file=str(certificates / "client.pem"), key_file=str(certificates / "client.key"))
    assert probe(at(broker.port, tls=own), WAIT_S) is None
    assert "mqtt.tls.cert_file" in refusal(at(broker.port, tls=TlsSettings(ca_file=ca)))


def test_tls_on_one_side_only_is_named(encrypted: Any, mosquitto: Callable[..., Any]) -> None:
    plain = mosquitto()
    plain.start()
    assert "[mqtt.tls]" in refusal(at(encrypted().port))
    assert "does that port speak TLS?" in refusal(at(plain.port, tls=TlsSettings()))


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    missing, empty = str(tmp_path / "missing.pem"), tmp_path / "empty.pem"
    empty.touch()
    assert f"mqtt.tls.ca_file {missing}: " in refusal(at(1, tls=TlsSettings(ca_file=missing)))
    assert f"mqtt.tls.ca_file {empty}: " in refusal(at(1, tls=TlsSettings(ca_file=str(empty))))
    assert "mqtt.tls.cert_file" in refusal(at(1, tls=TlsSettings(cert_file=str(empty), key_file=str(empty))))


@pytest.mark.parametrize(
    "table",
    [
        {"port": 0},
        {"port": 65536},
        {"host": ""},
        {"hots": "x"},
        {"keepalive_s": 1},
        {"password_file": "x"},
        {"base": "a/+"},
        {"base": ""},
        {"tls": {"cert_file": "x"}},
        {"tls": {"insecure": True}},
        {"host": "mqtt://broker"},
        {"host": "mqtts://user:word@broker:8883/"},
        {"host": "broker:1883"},
        {"host": "[::1]"},
        {"host": "[::1]:1883"},
        {"host": "my broker"},
        {"host": "broker/"},
    ],
)
def test_invalid_mqtt_settings_are_refused(table: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(table, MqttSettings)


@pytest.mark.parametrize("host", ["broker", "broker.local", "10.0.0.2", "::1", "fe80::1%eth0", "müll.example", "my_broker"])
def test_names_and_addresses_of_all_kinds_are_valid_hosts(host: str) -> None:
    assert msgspec.convert({"host": host}, MqttSettings).host == host


def test_one_device_and_base_give_one_client_id() -> None:
    assert client_id("bin1") == "sortbin-bin1"
    ids = [client_id("bin1"), client_id("bin2"), client_id("bin1", "site/floor1"), client_id("bin1", "site/floor2")]
    assert len(set(ids)) == 4
