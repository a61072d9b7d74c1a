"""The settings file: the shipped one is complete and true, and every mistake is one line that names file, key and expectation."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from device.body import BodyError, check_gates
from device.cameras.settings import Picamera2Settings, ReplaySettings, V4l2Settings
from device.cli import main
from device.hardware.settings import LineSettings, ServoSettings
from device.mqtt.settings import MqttSettings, TlsSettings
from device.rules import default_rules, read_rules
from device.settings import DeviceSettings, ModelSettings, Settings, SettingsError, read_settings
from device.sorter import SortingSettings
from device.vision.presence import PresenceSettings

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


def table_of(name: str) -> str:
    """The lines of a table in the shipped file, comments included; `gate` gives those of all gates."""
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    wanted, inside = [], False
    for line in lines:
        if head := re.match(r"(?:# )?\[+([a-z.]+)\]+$", line):
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
        ("gate", [ServoSettings, LineSettings]),
        ("presence", [PresenceSettings]),
        ("sorting", [SortingSettings]),
        ("mqtt", [MqttSettings]),
        ("mqtt.tls", [TlsSettings]),
    ],
)
def test_the_shipped_file_shows_every_key_and_the_defaults_it_shows_are_true(table: str, types: list[type[msgspec.Struct]]) -> None:
    shown = dict(re.findall(r"^(?:# )?([a-z0-9_]+) = (.+)$", table_of(table), re.MULTILINE))
    commented = dict(re.findall(r"^# ([a-z0-9_]+) = (.+)$", table_of(table), re.MULTILINE))
    fields = {field.name: field for kind in types for field in msgspec.structs.fields(kind) if field.name != "tls"}
    assert set(shown) - {"kind"} == set(fields)
    for key, text in commented.items():
        default = fields[key].default
        if default not in (msgspec.NODEFAULT, None):
            value = tomllib.loads(f"value = {text}")["value"]
            assert msgspec.to_builtins(default) == value, key


def test_the_shipped_file_has_a_gate_for_each_bin_of_the_default_rules() -> None:
    check_gates(read_settings(SHIPPED), read_rules(default_rules(), LABELS))


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (("[camera]", "[camera]\nspeed = 3"), "camera: object contains unknown field speed"),
        (("[camera]", "[camera]\nfps = 'fast'"), "camera.fps: expected float, got str"),
        (("[camera]", "[camera]\nfps = 1000"), "camera.fps: expected float <= 120"),
        (('id = "bin-1"', 'id = "Bin 1"'), "device.id: expected str matching regex"),
        (('kind = "v4l2"', 'kind = "webcam"'), "camera.kind: invalid value 'webcam'"),
        (('kind = "v4l2"', 'kind = "v4l2"\nregion = { x = 0.6, w = 0.6 }'), "camera.region: expected x + w of at most 1"),
        (("[device]", "[sorting]\nburst = 0\n[device]"), "sorting.burst: expected int >= 1"),
        (("[device]", "[device"), "line 2"),
        (("[camera]", "[lens]"), "unknown field"),
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


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: No such file"):
        read_settings(tmp_path / "none.toml")


def test_a_bin_without_a_gate_and_a_gate_without_a_bin_are_named(tmp_path: Path) -> None:
    rules = read_rules(default_rules(), LABELS)
    file = tmp_path / "sortbin.toml"
    file.write_text(SMALLEST, encoding="utf-8")
    with pytest.raises(BodyError, match='no \\[\\[gate\\]\\] with bin = "glass"'):
        check_gates(read_settings(file), rules)
    surplus = SHIPPED.read_text(encoding="utf-8") + '\n[[gate]]\nkind = "simulated"\nbin = "batteries"\n'
    file.write_text(surplus, encoding="utf-8")
    with pytest.raises(BodyError, match='bin = "batteries" is not a bin'):
        check_gates(read_settings(file), rules)


def test_settings_that_were_read_can_be_trusted_to_be_of_their_types(tmp_path: Path) -> None:
    file = tmp_path / "sortbin.toml"
    file.write_text(SMALLEST, encoding="utf-8")
    settings = read_settings(file)
    assert isinstance(settings, Settings)
    assert settings.mqtt is None
    assert isinstance(settings.camera, V4l2Settings)
