"""Settings of level sensors in a file: mistakes are named with their key, and sensors fit the rule pack, the gates and each other."""

from pathlib import Path

import pytest

from device.hardware import HardwareError, check_sensors
from device.policy.rules import default_rules, read_rules
from device.settings import SettingsError, read_settings

LABELS = ("cardboard", "glass", "metal", "paper", "plastic", "trash")
OTHERS = """
[camera]
kind = "v4l2"
[[gate]]
kind = "line"
bin = "paper"
line = "GPIO17"
"""
ULTRASONIC = '[[level]]\nbin = "paper"\nkind = "ultrasonic"\ntrigger = "GPIO5"\necho = "GPIO6"\nempty_cm = 60\nfull_cm = 10\n'
BEAM = '[[level]]\nbin = "glass"\nkind = "beam"\nline = "GPIO23"\n'
TOF = '[[level]]\nbin = "paper"\nkind = "tof"\nempty_cm = 60\nfull_cm = 10\n'
ESTIMATE = '[[level]]\nbin = "paper"\nkind = "estimate"\ncapacity_l = 60\n'


def checked(text: str, tmp_path: Path) -> None:
    file = tmp_path / "sortbin.toml"
    file.write_text(OTHERS + text, encoding="utf-8")
    check_sensors(read_settings(file), read_rules(default_rules(), LABELS))


@pytest.mark.parametrize("text", ["", ULTRASONIC + BEAM + TOF + ESTIMATE, ULTRASONIC + ESTIMATE, TOF + TOF.replace("empty", "address = 0x30\nempty")])
def test_any_number_of_sensors_may_tell_the_level_of_a_bin(text: str, tmp_path: Path) -> None:
    checked(text, tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ULTRASONIC.replace("full_cm = 10", "full_cm = 60"), "level[0]: expected full_cm below empty_cm, found 60 and 60"),
        (ULTRASONIC.replace("GPIO5", "GPIO6"), "level[0]: expected trigger and echo on two lines, found GPIO6 for both"),
        (ULTRASONIC.replace("GPIO5", "5"), "level[0]: expected chip beside the line number 5"),
        (ULTRASONIC + "full_at = 50\nempty_at = 50\n", "level[0]: expected empty_at below full_at, found 50 and 50"),
        (ESTIMATE + "interval_s = 200\n", "level[0]: expected good_for_s of at least twice interval_s, found 300 and 200"),
        (BEAM + "full_at = 50\n", 'level[0]: unknown key full_at, which belongs to kind = "ultrasonic", "tof", "estimate" or "simulated"'),
        (BEAM.replace("beam", "radar"), "level[0].kind: expected ultrasonic, tof, beam, estimate or simulated, found 'radar'"),
        (ESTIMATE + "items_l = { glass = 0 }\n", "level[0].items_l.glass: expected a number above 0"),
    ],
)
def test_a_mistake_is_named_with_its_key(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        checked(text, tmp_path)
    assert f"sortbin.toml: {said}" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BEAM.replace("glass", "glas"), 'level: bin = "glas" is not a bin of rule pack trashnet, which has paper, glass, metal, plastic, trash'),
        (BEAM.replace("GPIO23", "GPIO17"), "level: gate paper and level glass (beam) are both on line GPIO17"),
        (ULTRASONIC + BEAM.replace("GPIO23", "GPIO6"), "level: level paper (ultrasonic) and level glass (beam) are both on line GPIO6"),
        (TOF + TOF, "level: level paper (tof) and level paper (tof) are both on address 0x29 of /dev/i2c-1"),
        (TOF + TOF.replace("empty", "bus = 3\nempty"), "level: expected all sensors of the kind tof on one bus, found 1 and 3"),
    ],
)
def test_sensors_that_fit_nothing_are_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(HardwareError) as refused:
        checked(text, tmp_path)
    assert str(refused.value) == said


def test_a_label_that_no_item_has_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checked(ESTIMATE + "items_l = { glas = 0.8, glass = 0.5 }\n", tmp_path)
    assert "level paper (estimate): items_l: there is no label glas now; expected some of " in caplog.text
