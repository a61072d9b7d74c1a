"""Gate settings in a file."""

import re
from pathlib import Path

import msgspec
import pytest
from msgspec import toml

from device.gates.gpio_line import LineSettings
from device.gates.kinds import GateSettings
from device.gates.serial import SerialSettings
from device.gates.servo import ServoSettings
from device.gates.simulated import SimulatedSettings
from device.sensors.beam import BeamSettings
from device.sensors.estimate import EstimateSettings
from device.sensors.kinds import LevelSettings
from device.sensors.tof import TofSettings
from device.sensors.ultrasonic import UltrasonicSettings
from device.settings import Settings


class File(msgspec.Struct, forbid_unknown_fields=True):
    gate: tuple[GateSettings, ...] = ()
    level: tuple[LevelSettings, ...] = ()


def read(text: str) -> GateSettings:
    (gate,) = toml.decode(f'[[gate]]\nbin = "paper"\n{text}', type=File).gate
    return gate


def test_the_kind_chooses_the_settings_of_a_gate() -> None:
    servo = read('kind = "servo"\nchannel = 1\nclosed_us = 1050\nopen_us = 1900')
    assert servo == ServoSettings(bin="paper", chip="", channel=1, closed_us=1050, open_us=1900)
    assert read('kind = "servo"\nchip = "1-0040"\nchannel = 15\nclosed_us = 2000\nopen_us = 900').chip == "1-0040"
    assert read('kind = "line"\nline = "GPIO17"') == LineSettings(bin="paper", line="GPIO17")
    assert read('kind = "simulated"') == SimulatedSettings(bin="paper")


def test_the_examples_in_the_wiring_guide_are_right() -> None:
    guide = (Path(__file__).parents[3] / "docs/wiring.md").read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    whole = [example for example in examples if example.startswith("[device]")]
    assert [toml.decode(example, type=Settings).device.id for example in whole] == ["bin-trial"]
    files = [toml.decode(example, type=File) for example in examples if example not in whole]
    assert {type(gate) for file in files for gate in file.gate} == {ServoSettings, LineSettings, SerialSettings}
    assert {type(level) for file in files for level in file.level} == {UltrasonicSettings, TofSettings, BeamSettings, EstimateSettings}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('kind = "stepper"', "Invalid value 'stepper' - at `$.gate[0].kind`"),
        ('kind = "servo"\nchannel = 0\nclosed_us = 1000', "missing required field `open_us`"),
        ('kind = "servo"\nchannel = 0\nclosed_us = 1.0\nopen_us = 2.0', "at `$.gate[0].closed_us`"),
        ('kind = "servo"\nchannel = 0\nclosed_us = 1500\nopen_us = 1500', "Expected closed_us and open_us to differ"),
        ('kind = "servo"\nchannel = 0\nclosed_us = 1000\nopen_us = 2000\npin = 18', "unknown field `pin`"),
        ('kind = "line"\nline = "17"', "Expected `chip` beside the line number 17"),
        ('kind = "line"\nline = "GPIO17"\ntravel_s = 5\nmax_on_s = 2', "Expected max_on_s above travel_s"),
    ],
)
def test_a_mistake_is_named_with_its_key(text: str, complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        read(text)
    assert complaint in str(caught.value)
