"""Takes docs/pictures/home-assistant.png: the page of a bin in Home Assistant.

PYTHONPATH=. python docs/pictures/home_assistant.py HASS

HASS: the executable `hass` of a Home Assistant that has its web pages (docs/home-assistant.md). Needs mosquitto and chromium, and the packages of the
tests. The bin is a virtual one that sorts its own items.
"""

import argparse
import base64
import functools
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from device.daemon.control_loop import run_control_loop
from device.daemon.startup import open_parts
from device.daemon.watchdog import SystemdNotifier
from device.home_assistant.settings import HomeAssistantSettings
from device.mqtt.settings import MqttSettings
from device.settings import BinSettings, DeviceSettings
from device.simulation.hardware import virtual_hardware
from device.simulation.items import endless_items, shipped_items
from device.simulation.narrator import Narrator
from tests.device.home_assistant.home_assistant import HomeAssistant
from tests.device.mqtt.conftest import Mosquitto, free_port
from tests.training.review.chromium import Browser, find_chromium, started

OUT = Path(__file__).with_name("home-assistant.png")
SORTED = 8
"""items before the picture is taken"""
WIDTH, HEIGHT = 1500, 1240
SETTLE_S = 6.0
"""until the page has drawn everything"""


def run_bin(port: int, state: str) -> None:
    """Run a virtual bin for ever."""
    settings = BinSettings(
        device=DeviceSettings(id="bin-1", title="Bin in the kitchen", location="Kitchen", state=state),
        mqtt=MqttSettings(host="127.0.0.1", port=port, commands=True),
        home_assistant=HomeAssistantSettings(enabled=True),
    )
    stop = threading.Event()
    observer = Narrator(sys.stdout, stop, None)
    hardware = functools.partial(virtual_hardware, items=endless_items(shipped_items(), 1), observer=observer, seed=1, fps=20.0)
    with open_parts(settings, hardware, lambda _: None) as parts:
        observer.begin([], parts.rules)
        run_control_loop(settings, parts, stop, observer.on_stored, SystemdNotifier())


def items_sorted(states: dict[str, Any]) -> int:
    """How many items Home Assistant knows of."""
    state = states.get("sensor.sortbin_bin_1_sorted", {}).get("state", "")
    return int(state) if state.isdigit() else 0


def take_picture(home: HomeAssistant, chromium: str) -> None:
    """Log in, open the page of the device, and write what is seen."""
    template = {"template": "{{ device_id('sensor.sortbin_bin_1_mode') }}"}
    device = home.ask_text("/api/template", template)
    tokens = {
        "access_token": home.token,
        "token_type": "Bearer",
        "expires_in": 10**8,
        "hassUrl": home.url,
        "clientId": f"{home.url}/",
        "expires": int(1000 * time.time()) + 10**11,
        "refresh_token": "",
    }
    with started(chromium) as socket:
        browser = Browser(socket)
        browser.call("Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False)
        browser.call("Page.navigate", url=f"{home.url}/manifest.json")
        browser.wait_for(f"location.href.startsWith({json.dumps(home.url)})")
        browser.value(f"localStorage.setItem('hassTokens', {json.dumps(json.dumps(tokens))})")
        browser.call("Page.navigate", url=f"{home.url}/config/devices/device/{device}")
        time.sleep(SETTLE_S)
        OUT.write_bytes(base64.b64decode(browser.call("Page.captureScreenshot", format="png")["data"]))


def main() -> int:
    """Take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hass")
    parser.add_argument("--bin", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bin:
        run_bin(int(arguments.bin[0]), arguments.bin[1])
        return 0
    chromium = find_chromium()
    assert chromium is not None, "chromium is not installed"
    with tempfile.TemporaryDirectory() as folder:
        broker = Mosquitto(Path(folder))
        broker.start()
        bin_ = subprocess.Popen([sys.executable, __file__, "-", "--bin", str(broker.port), f"{folder}/state"], stdout=subprocess.DEVNULL)
        home = HomeAssistant(arguments.hass, Path(folder, "home"), free_port(), broker.port, more="frontend:\n")
        try:
            home.wait_for(lambda states: items_sorted(states) >= SORTED)
            take_picture(home, chromium)
        finally:
            home.stop()
            bin_.terminate()
            bin_.wait(20)
            broker.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
