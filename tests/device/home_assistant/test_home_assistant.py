"""A bin in Home Assistant itself. Runs where SORTBIN_HASS names its executable `hass`; docs/home-assistant.md says how to install one."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
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
METAL = '[bins.metal]\ntitle = "Metal"\nlabels = ["metal"]\n'
METAL_GATE = '[[gate]]\nkind = "simulated"\nbin = "metal"\n'
PACK = Path(__file__).parents[3] / "config" / "rules" / "trashnet.toml"
SHOWN = ("unit_of_measurement", "device_class", "state_class")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PROGRAM, reason="SORTBIN_HASS does not name an executable of Home Assistant")]


class Bin:
    """`sortbin run` on a replayed camera that sees an empty tray, then one with a large green item, in turn."""

    def __init__(self, folder: Path, bundle: Bundle, port: int) -> None:
        self.state, self._file, self._pack = folder / "state", folder / "sortbin.toml", folder / "pack.toml"
        self._pack.write_text(PACK.read_text(encoding="utf-8"), encoding="utf-8")
        gates = "".join(f'[[gate]]\nkind = "simulated"\nbin = "{name}"\n' for name in BINS)
        self._file.write_text(
            f'[device]\nid = "bin-1"\ntitle = "Kitchen"\nlocation = "Hall 3"\nstate = "{self.state}"\n[model]\nbundle = "{bundle.folder}"\n'
            f'rules = "{self._pack}"\n'
            f'[camera]\nkind = "replay"\npath = "{folder / "pictures"}"\nhold_s = 1.5\n{gates}[[level]]\nbin = "paper"\nkind = "estimate"\n'
            f'capacity_l = 40.0\n[home_assistant]\nenabled = true\nform = "{FORM}"\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\ncommands = true\nimages = true\n',
            encoding="utf-8",
        )
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", "device.cli", "run", "--config", str(self._file)], stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)

    def start_without_home_assistant(self) -> None:
        replace_in(self._file, "enabled = true", "enabled = false")
        self.start()

    def start_without_metal(self) -> None:
        """With a rule pack that puts metal into the residual bin."""
        replace_in(self._pack, METAL, "")
        replace_in(self._pack, 'labels = ["trash"]', 'labels = ["trash", "metal"]')
        replace_in(self._file, METAL_GATE, "")
        self.start()

    def events(self) -> list[Any]:
        return [decode(payload) for _, payload in read_events(self.state)]


def replace_in(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


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
    settings = HomeAssistantSettings(enabled=True, form="device" if FORM == "device" else "components")
    found = [json.loads(payload) for payload in messages(FULL, settings, {}).values()]
    return {each["default_entity_id"]: each for message in found for each in message.get("components", {"": message}).values()}


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

    set_paused(home, True)  # so no item comes between the button and a look at the count
    home.ask("/api/services/button/press", {"entity_id": "button.sortbin_bin_1_emptied_glass"})
    answers.wait_for("cmd_result", lambda heard: [(each["command"], each["ok"]) for each in heard] == [("set_paused", True), ("emptied", True)])
    home.wait_for(lambda all_: all_[glass]["state"] == "0", 60.0)
    command = [event for event in bin_.events() if isinstance(event, CommandAccepted)][-1]
    assert (command.command, command.args, command.id[:3]) == ("emptied", {"bin": "glass"}, "ha-")
    assert [event.bin for event in bin_.events() if isinstance(event, BinEmptied)] == ["glass"]

    set_paused(home, False)
    see_an_item(home)
    take_a_picture(home)
    assert home.warnings() == []

    bin_.stop()
    bin_.start_without_metal()
    home.wait_for(lambda all_: not metal(all_) and all_[glass]["state"] not in ("unknown", "unavailable"), 60.0)

    bin_.stop()
    home.wait_for(lambda all_: all_[glass]["state"] == "unavailable" and all_["binary_sensor.sortbin_bin_1_connection"]["state"] == "off", 60.0)
    bin_.start_without_home_assistant()
    home.wait_for(lambda all_: not any("sortbin_bin_1" in entity for entity in all_), 60.0)


def metal(entities: Mapping[str, Any]) -> list[str]:
    return [entity for entity in entities if "sortbin_bin_1" in entity and "metal" in entity]


def see_an_item(home: HomeAssistant) -> None:
    """The event entity has what the bin knows of the item, and no more."""
    item = "event.sortbin_bin_1_item"
    states = home.wait_for(lambda all_: all_[item]["attributes"]["event_type"] == "item_sorted", 60.0)
    seen = states[item]["attributes"]
    assert (seen["bin"], seen["label"]) == ("glass", "glass") and 0.5 < seen["p"] <= 1.0
    assert len(seen["item"]) == 32 and seen["seq"] > 0 and "device" not in seen
    alert = home.wait_for(lambda all_: all_["event.sortbin_bin_1_alert"]["state"] != "unknown", 60.0)["event.sortbin_bin_1_alert"]["attributes"]
    assert (alert["event_type"], alert["bin"]) == ("bin_emptied", "glass")


def take_a_picture(home: HomeAssistant) -> None:
    """By the button; the image entity then serves what the camera saw."""
    image = "image.sortbin_bin_1_last_image"
    home.ask("/api/services/button/press", {"entity_id": "button.sortbin_bin_1_capture"})
    home.wait_for(lambda all_: all_[image]["state"] not in ("unknown", "unavailable"), 60.0)
    picture = cv2.imdecode(np.frombuffer(home.ask_bytes(f"/api/image_proxy/{image}"), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.shape == (480, 640, 3)


def set_paused(home: HomeAssistant, paused: bool) -> None:
    """By the switch, or by the select that stands for it in the old form."""
    if FORM == "device":
        home.ask(f"/api/services/switch/turn_{'on' if paused else 'off'}", {"entity_id": "switch.sortbin_bin_1_paused"})
    else:
        option = {"entity_id": "select.sortbin_bin_1_paused", "option": "paused" if paused else "sorting"}
        home.ask("/api/services/select/select_option", option)
    home.wait_for(lambda all_: (all_["sensor.sortbin_bin_1_mode"]["state"] == "paused") is paused, 60.0)
