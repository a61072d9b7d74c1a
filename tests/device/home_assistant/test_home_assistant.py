"""A bin in Home Assistant itself. Runs where SORTBIN_HASS names its executable `hass`; docs/home-assistant.md says how to install one."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from device.events import BinEmptied, CommandAccepted, decode
from device.home_assistant.messages import messages
from device.home_assistant.settings import HomeAssistantSettings
from device.ledger.reader import read_events
from device.vision.inference.bundle import Bundle
from device.vision.inference.preprocess import Pixels
from tests.device.home_assistant.home_assistant import HomeAssistant
from tests.device.home_assistant.test_messages import FULL
from tests.device.mqtt.conftest import Mosquitto, Subscriber, free_port, mosquitto, subscribe

__all__ = ["mosquitto", "subscribe"]

PROGRAM = os.environ.get("SORTBIN_HASS", "")
FORM = os.environ.get("SORTBIN_HASS_FORM", "components")
BINS = ("paper", "glass", "metal", "plastic", "trash")
SHOWN = ("unit_of_measurement", "device_class", "state_class")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PROGRAM, reason="SORTBIN_HASS does not name an executable of Home Assistant")]


class Bin:
    """`sortbin run` on a replayed camera that sees an empty tray, then one with a large green item, in turn."""

    def __init__(self, folder: Path, bundle: Bundle, port: int) -> None:
        self.state, self._file = folder / "state", folder / "sortbin.toml"
        gates = "".join(f'[[gate]]\nkind = "simulated"\nbin = "{name}"\n' for name in BINS)
        self._file.write_text(
            f'[device]\nid = "bin-1"\ntitle = "Kitchen"\nlocation = "Hall 3"\nstate = "{self.state}"\n[model]\nbundle = "{bundle.folder}"\n'
            f'[camera]\nkind = "replay"\npath = "{folder / "pictures"}"\nhold_s = 1.5\n{gates}[[level]]\nbin = "paper"\nkind = "estimate"\n'
            f'capacity_l = 40.0\n[home_assistant]\nenabled = true\nform = "{FORM}"\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\ncommands = true\n',
            encoding="utf-8",
        )
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", "device.cli", "run", "--config", str(self._file)], stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)

    def start_without_home_assistant(self) -> None:
        self._file.write_text(self._file.read_text(encoding="utf-8").replace("enabled = true", "enabled = false"), encoding="utf-8")
        self.start()

    def events(self) -> list[Any]:
        return [decode(payload) for _, payload in read_events(self.state)]


@pytest.fixture
def broker(mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    made = mosquitto()
    made.start()
    return made


@pytest.fixture
def bin_(broker: Mosquitto, tiny_bundle: Bundle, tmp_path: Path, painted: Callable[..., Pixels]) -> Iterator[Bin]:
    (tmp_path / "pictures").mkdir()
    empty, with_item = painted("", 240, 320), painted("", 240, 320).copy()
    with_item[20:220, 26:294] = painted("glass", 200, 268)
    for number, pixels in enumerate([empty, empty, with_item, empty]):
        cv2.imwrite(str(tmp_path / "pictures" / f"{number}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    made = Bin(tmp_path, tiny_bundle, broker.port)
    yield made
    made.stop()


@pytest.fixture
def home(broker: Mosquitto, tmp_path: Path) -> Iterator[HomeAssistant]:
    made = HomeAssistant(PROGRAM, tmp_path / "home", free_port(), broker.port)
    yield made
    made.stop()


def told() -> dict[str, dict[str, Any]]:
    """What the discovery messages say of each entity, by its id."""
    settings = HomeAssistantSettings(enabled=True, form="components")
    found = [json.loads(payload) for payload in messages(FULL, settings, {}).values()]
    return {f"{each['platform']}.{each['object_id']}": each for each in found}


def test_home_assistant_shows_the_bin_and_its_buttons_reach_it(
    home: HomeAssistant, bin_: Bin, broker: Mosquitto, subscribe: Callable[[int], Subscriber]
) -> None:
    answers = subscribe(broker.port)
    glass = "sensor.sortbin_bin_1_glass_items"
    states = home.wait_for(lambda all_: all_.get(glass, {}).get("state", "") not in ("", "unknown", "unavailable", "0"))
    named = {entity: state["attributes"] for entity, state in states.items() if "sortbin_bin_1" in entity}
    assert {f"sensor.sortbin_bin_1_{name}_{what}" for name in BINS for what in ("items", "total", "contamination", "since")} <= named.keys()
    wanted = {entity: [config.get(key) for key in SHOWN] for entity, config in told().items() if entity in named}
    assert len(wanted) > 35
    assert {entity: [named[entity].get(key) for key in SHOWN] for entity in wanted} == wanted
    assert named[glass]["friendly_name"] == "Kitchen Glass items" and named[glass]["last_reset"]
    assert states["binary_sensor.sortbin_bin_1_connection"]["state"] == "on"
    assert states["binary_sensor.sortbin_bin_1_problem"]["state"] == "off"
    assert states["sensor.sortbin_bin_1_paper_level"]["state"] == "0.0"

    home.ask("/api/services/button/press", {"entity_id": "button.sortbin_bin_1_emptied_glass"})
    answers.wait_for("cmd_result", lambda heard: [(each["command"], each["ok"]) for each in heard] == [("emptied", True)])
    home.wait_for(lambda all_: all_[glass]["state"] == "0", 60.0)
    (command,) = [event for event in bin_.events() if isinstance(event, CommandAccepted)]
    assert (command.command, command.args, command.id[:3]) == ("emptied", {"bin": "glass"}, "ha-")
    assert [event.bin for event in bin_.events() if isinstance(event, BinEmptied)] == ["glass"]

    pause_and_resume(home)
    assert home.warnings() == []

    bin_.stop()
    home.wait_for(lambda all_: all_[glass]["state"] == "unavailable" and all_["binary_sensor.sortbin_bin_1_connection"]["state"] == "off", 60.0)
    bin_.start_without_home_assistant()
    home.wait_for(lambda all_: not any("sortbin_bin_1" in entity for entity in all_), 60.0)


def pause_and_resume(home: HomeAssistant) -> None:
    """By the switch, or by the select that stands for it in the old form."""
    mode = "sensor.sortbin_bin_1_mode"
    if FORM == "device":
        calls = [("switch/turn_on", {}), ("switch/turn_off", {})]
        entity = "switch.sortbin_bin_1_paused"
    else:
        calls = [("select/select_option", {"option": "paused"}), ("select/select_option", {"option": "sorting"})]
        entity = "select.sortbin_bin_1_paused"
    for (service, data), is_paused in zip(calls, (True, False), strict=True):
        home.ask(f"/api/services/{service}", {"entity_id": entity} | data)
        home.wait_for(lambda all_, is_paused=is_paused: (all_[mode]["state"] == "paused") is is_paused, 60.0)
