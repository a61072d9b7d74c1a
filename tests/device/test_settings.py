"""The settings file: the shipped one is complete and correct; a mistake is one line with file, key and expectation."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from device.adaptation.label_prior import SiteSettings
from device.cameras.picamera import Picamera2Settings
from device.cameras.replay import ReplaySettings
from device.cameras.v4l2 import V4l2Settings
from device.cli import main
from device.gates.gpio_line import LineSettings
from device.gates.serial import SerialSettings
from device.gates.servo import ServoSettings
from device.hardware import HardwareError, check_gates
from device.home_assistant.settings import HomeAssistantSettings
from device.mqtt.settings import MqttSettings, TlsSettings
from device.policy.rules import default_rules, read_rules
from device.samples.collector import KeepSettings
from device.sensors.beam import BeamSettings
from device.sensors.estimate import EstimateSettings
from device.sensors.tof import TofSettings
from device.sensors.ultrasonic import UltrasonicSettings
from device.settings import DeviceSettings, ModelSettings, Settings, SettingsError, read_settings
from device.sorting.sorter import SortingSettings
from device.vision.isolation.occupancy import PresenceSettings

SHIPPED = Path(__file__).parents[2] / "config" / "sortbin.toml"
LABELS = ("cardboard", "glass", "metal", "paper", "plastic", "trash")
SMALLEST = """
[device]
id = "bin-1"
[camera]
kind = "v4l2"
[[gate]]
kind = "simulated"
bin = "paper"
"""
SERVO = 'kind = "servo"\nchannel = 0\nclosed_us = 1000\nopen_us = 2000\n'
SERIAL = 'kind = "serial"\nport = "/dev/ttyACM0"\n'
LINE = 'kind = "line"\nline = "GPIO17"\n'


def table_of(name: str) -> str:
    """The lines of a table in the shipped file, comments included; `gate` gives those of all gates."""
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    wanted, inside = [], False
    for line in lines:
        if head := re.match(r"(?:# )?\[+([a-z_.]+)\]+$", line):
            inside = head[1] == name
        elif inside:
            wanted.append(line)
    return "\n".join(wanted)


@pytest.mark.parametrize(
    ("table", "types"),
    [
        ("device", [DeviceSettings]),
        ("model", [ModelSettings]),
        ("camera", [Picamera2Settings, V4l2Settings, ReplaySettings]),
        ("gate", [ServoSettings, LineSettings, SerialSettings]),
        ("level", [UltrasonicSettings, TofSettings, BeamSettings, EstimateSettings]),
        ("presence", [PresenceSettings]),
        ("sorting", [SortingSettings]),
        ("site", [SiteSettings]),
        ("keep", [KeepSettings]),
        ("home_assistant", [HomeAssistantSettings]),
        ("mqtt", [MqttSettings]),
        ("mqtt.tls", [TlsSettings]),
    ],
)
def test_the_shipped_file_shows_every_key_and_its_default(table: str, types: list[type[msgspec.Struct]]) -> None:
    shown = dict(re.findall(r"^(?:# )?([a-z0-9_]+) = (.+)$", table_of(table), re.MULTILINE))
    commented = dict(re.findall(r"^# (?!kind)([a-z0-9_]+) = (.+)$", table_of(table), re.MULTILINE))
    fields = {field.name: field for kind in types for field in msgspec.structs.fields(kind) if field.name != "tls"}
    assert set(shown) - {"kind"} == set(fields)
    for key, text in commented.items():
        default = fields[key].default
        if default not in (msgspec.NODEFAULT, None):
            value = tomllib.loads(f"value = {text}")["value"]
            assert msgspec.json.decode(msgspec.json.encode(default)) == value, key


def test_the_shipped_file_has_every_table() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert set(re.findall(r"^(?:# )?\[+([a-z_]+)\]+$", text, re.MULTILINE)) == {field.name for field in msgspec.structs.fields(Settings)}


def test_the_shipped_file_has_a_gate_for_each_bin_of_the_default_rules() -> None:
    check_gates(read_settings(SHIPPED), read_rules(default_rules(), LABELS))


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (("[camera]", "[camera]\nspeed = 3"), "camera: unknown key speed"),
        (('kind = "v4l2"', 'kind = "picamera2"\npath = "photos"'), 'camera: unknown key path, which belongs to kind = "replay"'),
        (('kind = "v4l2"', 'kind = "replay"\npath = "a"\nfrozen_s = 1'), 'unknown key frozen_s, which belongs to kind = "picamera2" or "v4l2"'),
        (('kind = "simulated"', 'kind = "simulated"\nactive_low = true'), 'gate[0]: unknown key active_low, which belongs to kind = "line"'),
        (("[camera]", "[camera]\nfps = 'fast'"), "camera.fps: expected a number, found text"),
        (("[camera]", "[camera]\nfps = 1000"), "camera.fps: expected a number of at most 120"),
        (('id = "bin-1"', 'id = "Bin 1"'), "device.id: expected lower-case letters, digits, _ and -"),
        (('kind = "v4l2"', 'kind = "webcam"'), "camera.kind: expected picamera2, v4l2 or replay, found 'webcam'"),
        (('kind = "simulated"', 'kind = "stepper"'), "gate[0].kind: expected servo, line, serial or simulated, found 'stepper'"),
        (('kind = "v4l2"', ""), "camera: missing key kind; expected picamera2, v4l2 or replay"),
        (('kind = "v4l2"', 'kind = "v4l2"\nrotate_deg = 45'), "camera.rotate_deg: expected 0, 90, 180 or 270, found 45"),
        (('kind = "v4l2"', 'kind = "v4l2"\ndevice = [0]'), "camera.device: expected a whole number or text, found a list"),
        (('kind = "v4l2"', 'kind = "v4l2"\ndevice = ""'), "camera.device: expected text, not empty"),
        (("[device]", "[site]\nlabels = 'glass'\n[device]"), "site.labels: expected a table or a list, found text"),
        (("[device]", "[mqtt]\nbase = 'a/+'\n[device]"), "mqtt.base: expected names with / between them, without + and #"),
        (
            ("[device]", "[mqtt]\nhost = 'mqtt://broker:1883'\n[device]"),
            "mqtt.host: expected the name or address of a broker alone, without mqtt://,",
        ),
        (("[device]", "[mqtt]\nhost = '[::1]'\n[device]"), "keys of its own, as ::1; found [::1]"),
        (("[[gate]]", "[gate]"), "gate: expected a list, found a table: write [[gate]], with two pairs of brackets"),
        (("[camera]", "[[camera]]"), "camera: expected a table, found a list: write [camera], with one pair of brackets"),
        (("[device]", "[[home_assistant]]\n[device]"), "home_assistant: expected a table, found a list: write [home_assistant], with one pair of"),
        (("[device]", "[[mqtt]]\n[device]"), "mqtt: expected a table, found a list: write [mqtt], with one pair of brackets"),
        (("[device]", '[keep]\nfolder = "/srv/\\u0000"\n[device]'), "keep.folder: expected text without control characters, found '/srv/\\x00'"),
        (('bin = "paper"', 'bin = "pa\\nper"'), "gate[0].bin: expected text without control characters, found 'pa\\nper'"),
        (("[device]", "[mqtt]\ntls = true\n[device]"), "mqtt.tls: expected a table, found true or false"),
        (("[device]", "[device]\nstate = ''"), "device.state: expected a folder, written in full, without ~"),
        (("[device]", "[device]\nstate = '~/state'"), "device.state: expected a folder, written in full, without ~"),
        (("[device]", "[keep]\nfolder = '~/kept'\n[device]"), "keep.folder: expected a folder, written in full, without ~"),
        (("[device]", "[keep]\nmost_mib = inf\n[device]"), "keep.most_mib: expected a number of at most 1000000000"),
        (("[device]", "[site]\nlabels = { glass = inf }\n[device]"), "site.labels.glass: expected a number of at most 1000000"),
        (("[device]", "[site]\nlabels = { paper = 1, glass = nan }\n[device]"), "site.labels.glass: expected a number above 0"),
        (("[device]", "[site]\nothers = 0.02\n[device]"), "site.others: 0.02 of what, while no labels are named"),
        (('kind = "v4l2"', 'kind = "v4l2"\nregion = { x = 0.6, w = 0.6 }'), "camera.region: expected x + w of at most 1"),
        (('kind = "v4l2"', 'kind = "replay"\npath = "photos"\nfps = 0'), "camera.fps: expected more than 0: the time between frames"),
        (('kind = "v4l2"', 'kind = "v4l2"\nfps = 1\nstale_s = 0.5'), "camera.stale_s: expected at least 1.5 with camera.fps = 1, or every frame"),
        (('kind = "v4l2"', 'kind = "v4l2"\nfps = 0.3\nstale_s = 9'), "sorting.stale_s: expected at least 5 with camera.fps = 0.3, or every frame"),
        (
            ('kind = "v4l2"', 'kind = "v4l2"\nfps = 5\n[presence]\nlearn_frames = 200'),
            "presence.learn_frames: expected at most 120 with camera.fps = 5, or the empty tray is never learned; found 200",
        ),
        (
            ('kind = "v4l2"', 'kind = "v4l2"\nregion = { w = 0.002, h = 0.002 }'),
            "camera: expected a region of at least 32 pixels each way, found 1 x",
        ),
        (
            ('kind = "v4l2"', 'kind = "v4l2"\nrotate_deg = 90\nregion = { w = 0.06 }'),
            "camera: expected a region of at least 32 pixels each way, found 29 x 640",
        ),
        (("[device]", "[sorting]\nburst = 0\n[device]"), "sorting.burst: expected a whole number of at least 1"),
        (("[device]", "[device"), "expected TOML: expected ']' at the end of a table declaration (at line 2, column 8)"),
        (('"bin-1"', "“bin-1”"), "expected a number, true, false, or text between straight quotes (at line 3, column 6)"),
        (("[[gate]]", "[camera]\nfps = 3\n[[gate]]"), "[camera] is there twice, expected once (at line 6, column 8)"),
        (("[[gate]]", "[gate]\n[[gate]]"), "a key or table is there twice, or [[...]] once with one pair of brackets (at line 7, column 7)"),
        (('[[gate]]\nkind = "simulated"\nbin = "paper"\n', ""), "missing key gate; expected a [[gate]] for each bin"),
        (("[camera]", "[lens]"), "unknown key lens"),
    ],
)
def test_a_mistake_is_one_line_with_file_key_and_expectation(
    mistake: tuple[str, str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sortbin.toml"
    file.write_text(SMALLEST.replace(*mistake), encoding="utf-8")
    assert main(["check", "--config", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"sortbin check: {file}: ")
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("[device]", "[presence]\nstill_s = 4.0\n[device]"), "presence.still_s: expected less than sorting.drop_s"),
        (
            ('kind = "simulated"', 'kind = "simulated"\ntravel_s = 4.0'),
            "sorting.drop_s: expected more than the 4 s that gate[0] (paper) takes to open",
        ),
        (
            ('kind = "simulated"', 'kind = "simulated"\ntravel_s = 3.5'),
            "sorting.gate_s: expected more than the 3.5 s that gate[0] (paper) takes to close",
        ),
        (('kind = "simulated"', SERVO + "settle_s = 1.0\ntravel_s = 3.0\n"), "sorting.drop_s: expected more than the 4 s"),
        (('kind = "simulated"', LINE + "max_on_s = 4.0\n"), "gate[0].max_on_s (paper): expected more than sorting.drop_s"),
    ],
)
def test_times_that_contradict_each_other_are_refused(change: tuple[str, str], said: str, tmp_path: Path) -> None:
    """An item cannot fall through a gate that closes too early or opens too late."""
    file = tmp_path / "sortbin.toml"
    assert change[0] in SMALLEST
    file.write_text(SMALLEST.replace(*change), encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        read_settings(file)
    assert str(refused.value).startswith(f"{file}: {said}")


@pytest.mark.parametrize("gate", [SERVO, LINE, SERIAL, 'kind = "simulated"\n'])
def test_the_defaults_of_every_gate_kind_fit_the_sorting_defaults(gate: str, tmp_path: Path) -> None:
    file = tmp_path / "sortbin.toml"
    file.write_text(SMALLEST.replace('kind = "simulated"\n', gate), encoding="utf-8")
    assert read_settings(file).gate[0].bin == "paper"


def test_a_byte_order_mark_is_accepted_and_another_encoding_refused(tmp_path: Path) -> None:
    file = tmp_path / "sortbin.toml"
    file.write_text(SMALLEST, encoding="utf-8-sig")
    assert read_settings(file).device.id == "bin-1"
    file.write_bytes(SMALLEST.replace("[camera]", "# küche\n[camera]").encode("latin-1"))
    with pytest.raises(SettingsError, match=r"sortbin\.toml: expected text in UTF-8: .* at byte \d+$"):
        read_settings(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: No such file"):
        read_settings(tmp_path / "none.toml")


def test_a_bin_without_a_gate_and_a_gate_without_a_bin_are_named(tmp_path: Path) -> None:
    rules = read_rules(default_rules(), LABELS)
    file = tmp_path / "sortbin.toml"
    file.write_text(SMALLEST, encoding="utf-8")
    with pytest.raises(HardwareError, match='no \\[\\[gate\\]\\] with bin = "glass"'):
        check_gates(read_settings(file), rules)
    surplus = SHIPPED.read_text(encoding="utf-8") + '\n[[gate]]\nkind = "simulated"\nbin = "batteries"\n'
    file.write_text(surplus, encoding="utf-8")
    with pytest.raises(HardwareError, match='bin = "batteries" is not a bin'):
        check_gates(read_settings(file), rules)


def test_settings_have_the_types_that_they_declare(tmp_path: Path) -> None:
    file = tmp_path / "sortbin.toml"
    file.write_text(SMALLEST, encoding="utf-8")
    settings = read_settings(file)
    assert isinstance(settings, Settings)
    assert settings.mqtt is None
    assert isinstance(settings.camera, V4l2Settings)
