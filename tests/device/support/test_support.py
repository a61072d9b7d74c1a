"""`sortbin support`: everything that helps, and no secret."""

import json
import os
import platform
import stat
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

from device.cli import main
from device.common.clock import Clock
from device.events import Fault
from device.ledger.ledger import Ledger
from device.support import archive, hardware_report, programs
from device.support.archive import FOLDER, PARTS, collect_parts, write_archive
from device.support.programs import ProgramError, output_of
from device.support.secrets import Scrubber, secrets_of_machine
from device.support.supported_bin import read_supported_bin

WAIT_S = 20.0
SECRETS = {
    "password": "correct-horse-battery",
    "username": "harriet.brooks",
    "key": "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
    "token": "ghp_16C7e42F292c6912E7710c838347Ae",
    "wifi": "Harriets Kitchen",
    "wifi_password": "lemon-tree-9",
    "mac": "b8:27:eb:4d:5e:6f",
    "serial": "10000000fe98dc76",
    "usb_serial": "95735353032351F0C1A2",
    "place": "12 Orchard Lane",
    "unknown_key": "plain-old-word",
}
LOG = f"""2026-12-01T10:00:00 sortbin[1]: WARNING broker: refused {SECRETS["username"]} password={SECRETS["password"]}
2026-12-01T10:00:01 sortbin[1]: fetched https://user:{SECRETS["token"]}@host/x?token={SECRETS["token"]}#{SECRETS["token"]}
2026-12-01T10:00:02 wpa_supplicant[2]: wlan0: Trying to associate with {SECRETS["mac"]} (SSID='{SECRETS["wifi"]}' freq=2412 MHz)
2026-12-01T10:00:03 kernel: usb 1-1: SerialNumber: {SECRETS["usb_serial"]}; board Serial : {SECRETS["serial"]}
2026-12-01T10:00:04 -----BEGIN PRIVATE KEY----- {SECRETS["key"]} -----END PRIVATE KEY-----
2026-12-01T10:00:05 Authorization: Bearer {SECRETS["token"]} from fe80::ba27:ebff:fe4d:5e6f
2026-12-01T10:00:06 sortbin[1]: paper 97.3 % -> paper
"""


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of a bin, with a secret wherever one can stand."""
    (tmp_path / "password").write_text(SECRETS["password"] + "\n")
    (tmp_path / "key.pem").write_text(f"-----BEGIN PRIVATE KEY-----\n{SECRETS['key']}\n")
    file = tmp_path / "sortbin.toml"
    file.write_text(
        f'''
        # the Wi-Fi is {SECRETS["wifi"]}, {SECRETS["wifi_password"]}
        gate = []
        [device]
        id = "bin1"
        state = "{tmp_path / "state"}"
        [camera]
        kind = "v4l2"
        device = "/dev/v4l/by-id/usb-Acme_Cam_{SECRETS["usb_serial"]}-video-index0"
        [mqtt]
        host = "broker.example"
        username = "{SECRETS["username"]}"
        password_file = "{tmp_path / "password"}"
        [mqtt.tls]
        ca_file = "{tmp_path / "ca.pem"}"
        cert_file = "{tmp_path / "cert.pem"}"
        key_file = "{tmp_path / "key.pem"}"
        '''
    )
    return file


@pytest.fixture
def computer(tmp_path: Path) -> Path:
    """The files of a computer that tell its secrets."""
    files = {
        "proc/device-tree/serial-number": SECRETS["serial"] + "\0",
        "sys/class/net/wlan0/address": SECRETS["mac"],
        "sys/bus/usb/devices/1-1/serial": SECRETS["usb_serial"],
        "etc/wpa_supplicant/wpa_supplicant.conf": f'network={{\n ssid="{SECRETS["wifi"]}"\n psk="{SECRETS["wifi_password"]}"\n}}',
    }
    for name, text in files.items():
        file = tmp_path / "root" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "root"


def unpacked(file: Path) -> dict[str, str]:
    with tarfile.open(file) as packed:
        return {name.removeprefix(f"{FOLDER}/"): packed.extractfile(name).read().decode() for name in packed.getnames()}  # type: ignore[union-attr]


@pytest.mark.parametrize("broken", [False, True])
def test_no_secret_is_in_any_file(tmp_path: Path, config: Path, computer: Path, monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    if broken:
        config.write_text(config.read_text() + f'location = "{SECRETS["place"]}"\nfoo = "{SECRETS["unknown_key"]}"\n = "\n')
    else:
        config.write_text(f'location = "{SECRETS["place"]}"\nnote = "{SECRETS["unknown_key"]}"\n' + config.read_text())
    monkeypatch.setenv("UPLOAD_TOKEN", SECRETS["token"])
    monkeypatch.setenv("HOME_WIFI_SSID", SECRETS["wifi"])
    program(tmp_path / "programs", "journalctl", f"cat {tmp_path / 'log'}")
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:{os.environ['PATH']}")
    (tmp_path / "log").write_text(LOG + "\n".join(SECRETS[name] for name in ("token", "wifi", "mac", "serial", "usb_serial", "wifi_password")))
    ledger = Ledger(tmp_path / "state", "bin1", Clock())
    ledger.record(Fault(fault="gate", message=f"{SECRETS['usb_serial']} {SECRETS['mac']} at {SECRETS['token']}")).result(WAIT_S)
    ledger.close(WAIT_S)
    (tmp_path / "state" / f"{SECRETS['wifi']} {SECRETS['serial']} {SECRETS['token']}").touch()
    bin_ = read_supported_bin(config)
    scrubber = Scrubber([*secrets_of_machine(computer), *bin_.secrets()])
    found = {part.name for part in write_archive(tmp_path / "out.tar.gz", collect_parts(bin_, scrubber))}
    assert found == set(PARTS)
    for name, text in unpacked(tmp_path / "out.tar.gz").items():
        assert [kind for kind, secret in SECRETS.items() if secret.lower() in text.lower() or json.dumps(secret)[1:-1] in text] == [], name
        assert "ebff:fe4d" not in text
    log = unpacked(tmp_path / "out.tar.gz")["log.txt"]
    assert "paper 97.3 % -> paper" in log
    assert "https://***@host/x?***" in log


def test_the_archive_says_what_a_helper_asks_first(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program(tmp_path / "programs", "journalctl", "echo no space left")
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:{os.environ['PATH']}")
    ledger = Ledger(tmp_path / "state", "bin1", Clock())
    ledger.record(Fault(fault="camera", message="no frame")).result(WAIT_S)
    try:
        assert main(["support", "--config", str(config), "--out", str(tmp_path / "out.tar.gz")]) == 0
    finally:
        ledger.close(WAIT_S)
    assert stat.S_IMODE((tmp_path / "out.tar.gz").stat().st_mode) == 0o600
    files = unpacked(tmp_path / "out.tar.gz")
    assert files["parts.txt"].splitlines() == [f"{name}: collected" for name in PARTS]
    assert "look through it" in capsys.readouterr().out
    told = {name: json.loads(text) for name, text in files.items() if name.endswith(".json")}
    assert told["settings.json"]["settings"]["mqtt"]["host"] == "broker.example"
    assert told["settings.json"]["settings"]["mqtt"]["username"] == "***"
    assert told["versions.json"]["packages"]["msgspec"]
    assert told["health.json"]["daemon_runs"] is True
    assert told["ledger.json"]["remarks"] == ["integrity: ok"]
    assert told["ledger.json"]["newest"][0]["message"] == "no frame"
    assert files["log.txt"] == "no space left\n"
    assert files["checks.txt"].startswith("the daemon runs: not tried: camera, gates, levels, state\n")
    assert "rules" in files["checks.txt"]
    assert "\ncamera" not in files["checks.txt"]


def test_a_failing_part_is_a_line_and_the_others_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    bin_ = read_supported_bin(tmp_path / "missing.toml")
    write_archive(tmp_path / "out.tar.gz", collect_parts(bin_, Scrubber([]), {name: PARTS[name] for name in PARTS if name != "checks.txt"}))
    files = unpacked(tmp_path / "out.tar.gz")
    lines = dict(line.split(": ", 1) for line in files["parts.txt"].splitlines())
    assert lines["log.txt"] == "ProgramError: journalctl: No such file or directory"
    assert "No such file" in json.loads(files["settings.json"])["error"]
    assert json.loads(files["health.json"])["service"] == "systemctl is not installed"
    assert "error" in json.loads(files["ledger.json"])


def test_a_part_that_hangs_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PART_S", 0.1)
    never = threading.Event()
    parts = {"hung.txt": lambda _: str(never.wait(WAIT_S)), "versions.json": lambda _: "3.11"}
    hung, kept = collect_parts(read_supported_bin(tmp_path / "missing.toml"), Scrubber([]), parts)
    never.set()
    assert (hung.failure, kept.text) == ("not done within 0.1 s", "3.11")


def test_settings_that_are_no_toml_are_told_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "sortbin.toml"
    file.write_text('# a note\n[mqtt]\nhost = "broker\nusername = "joe"\nweather = "fine"\nlonely\n')
    told = json.loads(PARTS["settings.json"](read_supported_bin(file)))
    assert "line 3" in told["error"]
    assert told["settings"] == ["2: [mqtt]", '3: host = "broker', "4: username = ***", "5: *** = ***", "6: ***"]


def test_files_that_never_end_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for endless in (str(tmp_path / "pipe"), "/dev/zero"):
        refused = json.loads(PARTS["settings.json"](read_supported_bin(Path(endless))))
        assert refused["error"].startswith(f"{endless}: expected a settings file of at most")
        file = tmp_path / "sortbin.toml"
        file.write_text(f'[mqtt]\nusername = "harriet"\npassword_file = "{endless}"\n')
        assert list(read_supported_bin(file).secrets()) == ["harriet"]


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "GRACE_S", 0.5)
    script = f"import os, signal, time; signal.signal(15, signal.SIG_IGN); open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); "
    with pytest.raises(ProgramError, match="not done within 1 s, ended; it printed: begun"):
        output_of(["sh", "-c", f'echo begun; {sys.executable} -c "{script}time.sleep(60)"'], limit_s=1)
    number = int((tmp_path / "pid").read_text())
    deadline_s = time.monotonic() + WAIT_S
    while Path(f"/proc/{number}").exists() and "Z" not in Path(f"/proc/{number}/stat").read_text().split(")")[1]:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_long_output_keeps_its_end() -> None:
    printed = output_of([sys.executable, "-c", "print('x' * 1_000_000); print('end')"], limit_s=WAIT_S)
    assert len(printed) == programs.MOST_BYTES
    assert printed.endswith("end\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mqtt.password_file /etc/sortbin/pw: No such file", "mqtt.password_file /etc/sortbin/pw: No such file"),
        ("10:00:00 a gate over paper", "10:00:00 a gate over paper"),
        ('{"psk": "a b", "p": 0.5}', '{"psk": "***", "p": 0.5}'),
        ("mqtt://joe:pw@broker:1883", "mqtt://***@broker:1883"),
        ("/dev/serial/by-id/usb-Uno_123-if00: gone", "/dev/serial/by-id/*** gone"),
    ],
)
def test_a_text_keeps_what_is_no_secret(text: str, told: str) -> None:
    assert Scrubber(["root", "abc"]).scrub(text) == told


def test_the_folder_that_a_command_runs_in_is_no_secret(tmp_path: Path) -> None:
    environment = {"PWD": "/etc/sortbin", "OLDPWD": "/srv/pictures", "DB_PWD": "hunter22"}
    assert set(secrets_of_machine(tmp_path, environment)) == {platform.node(), "hunter22"}


def test_the_hardware_report_names_buses_and_an_edge_tpu(tmp_path: Path) -> None:
    files = {
        "bus/usb/devices/2-1/idVendor": "18d1",
        "bus/usb/devices/2-1/idProduct": "9302",
        "bus/usb/devices/2-1/serial": "95735353",
        "class/video4linux/video0/name": "unicam-image",
        "class/i2c-dev/i2c-1/name": "bcm2835 (i2c@7e804000)",
        "class/net/wlan0/address": SECRETS["mac"],
        "class/net/wlan0/operstate": "up",
        "class/net/wlan0/wireless/link": "1",
    }
    for name, text in files.items():
        (tmp_path / "sys" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys" / name).write_text(text + "\n")
    told = hardware_report.report(tmp_path)
    assert told["edge_tpu"] == ["Coral USB"]
    assert told["cameras"] == {"video0": {"name": "unicam-image"}}
    assert told["i2c"] == {"i2c-1": {"name": "bcm2835 (i2c@7e804000)"}}
    assert told["network"] == {"wlan0": {"state": "up", "speed_mbit": "", "wireless": True, "mtu": ""}}
    assert "95735353" not in json.dumps(told)


def test_support_needs_nothing_of_the_bin(tmp_path: Path) -> None:
    """A broken installation of a library is when help is wanted most: the command itself starts on a computer without camera, service and ledger."""
    command = [sys.executable, "-m", "device.cli", "support", "--config", str(tmp_path / "none.toml"), "--out", str(tmp_path / "out.tar.gz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[3])
    assert (done.returncode, done.stderr) == (0, "")
    assert set(unpacked(tmp_path / "out.tar.gz")) >= {"settings.json", "versions.json", "health.json", "hardware.json", "ledger.json", "parts.txt"}
