"""Discovery messages in both forms."""

import json
import re
from dataclasses import replace
from typing import Any, get_args

import pytest

from device.events import AnyEvent
from device.home_assistant.components import ALERT_EVENTS, ITEM_EVENTS
from device.home_assistant.described_bin import DescribedBin
from device.home_assistant.messages import PAUSED, messages, platforms
from device.home_assistant.settings import HomeAssistantSettings
from device.mqtt.topics import Topics

PLAIN = DescribedBin(
    topics=Topics("bin-1"),
    title="Kitchen",
    location="Hall 3",
    version="1.2",
    board="",
    bins={"paper": "Paper and cardboard", "trash": "Residual waste"},
    measured=frozenset({"paper"}),
    commands=frozenset(),
    images=False,
)
FULL = replace(PLAIN, commands=frozenset({"emptied", "clear_fault", "identify", "relearn", "restart", "capture", PAUSED}), images=True)
DEVICE, OLD = HomeAssistantSettings(enabled=True), HomeAssistantSettings(enabled=True, form="components")


def decoded(bin_: DescribedBin, settings: HomeAssistantSettings, gone: dict[str, str] | None = None) -> dict[str, Any]:
    return {topic: json.loads(payload) for topic, payload in messages(bin_, settings, gone or {}).items()}


def of_device(bin_: DescribedBin, gone: dict[str, str] | None = None) -> dict[str, Any]:
    (message,) = decoded(bin_, DEVICE, gone).values()
    return {key.removeprefix("sortbin-bin-1-"): component for key, component in message["components"].items()}


def test_one_message_describes_the_whole_device() -> None:
    ((topic, message),) = decoded(PLAIN, DEVICE).items()
    assert topic == "homeassistant/device/bin-1/sortbin-bin-1/config"
    assert message["origin"] == {"name": "Sortbin", "sw_version": "1.2"}
    assert message["device"] == {
        "identifiers": ["sortbin-bin-1"],
        "name": "Kitchen",
        "manufacturer": "Sortbin",
        "model": "Sorting bin",
        "sw_version": "1.2",
        "suggested_area": "Hall 3",
    }
    assert len(message["components"]) == len({each["unique_id"] for each in message["components"].values()}) > 25


def test_the_old_form_has_the_same_entities_one_message_each() -> None:
    old = decoded(FULL, OLD)
    assert {message["unique_id"] for message in old.values()} == {each["unique_id"] for each in of_device(FULL).values()}
    for topic, message in old.items():
        prefix, platform, node, name, end = topic.split("/")
        assert (prefix, node, end) == ("homeassistant", "bin-1", "config")
        assert message["unique_id"] == name and message["platform"] == platform
        assert {"device", "origin"} <= message.keys()


@pytest.mark.parametrize("settings", [DEVICE, OLD])
def test_old_and_new_versions_are_offered_the_same_entity_id(settings: HomeAssistantSettings) -> None:
    found = [each for message in decoded(FULL, settings).values() for each in message.get("components", {"": message}).values()]
    assert {each["default_entity_id"] for each in found} == {f"{each['platform']}.{each['object_id']}" for each in found}
    assert "sensor.sortbin_bin_1_paper_items" in {each["default_entity_id"] for each in found}


def test_what_is_measured_says_whether_and_from_when_it_counts() -> None:
    found = of_device(PLAIN)
    assert {key for key, each in found.items() if each.get("state_class") == "total_increasing"} == {
        "sorted",
        "rejected",
        "restarts",
        "paper_total",
        "trash_total",
    }
    with_reset = {key: each["state_class"] for key, each in found.items() if "last_reset_value_template" in each}
    assert with_reset == {"paper_items": "total", "trash_items": "total"}, "Home Assistant takes a last reset of a total alone"
    expiring = {key for key, each in found.items() if each.get("expire_after")}
    assert expiring == {key for key, each in found.items() if each.get("state_topic", "").endswith("/health")}


def test_only_measured_bins_have_a_level() -> None:
    assert {"paper_level", "paper_full"} <= of_device(PLAIN).keys()
    assert not {"trash_level", "trash_full"} & of_device(PLAIN).keys()


def test_every_entity_but_the_connection_knows_when_the_bin_is_away() -> None:
    without = [key for key, each in of_device(FULL).items() if each.get("availability_topic") != "sortbin/bin-1/availability"]
    assert without == ["connection"]


def test_commands_and_pictures_only_where_the_bin_takes_them() -> None:
    assert not [key for key, each in of_device(PLAIN).items() if "command_topic" in each or each["platform"] == "image"]
    commanded = {key: each["command_topic"] for key, each in of_device(FULL).items() if "command_topic" in each}
    assert commanded["emptied_paper"] == "sortbin/bin-1/cmd/emptied"
    assert set(commanded) == {"emptied_paper", "emptied_trash", "clear_fault", "identify", "relearn", "restart", "capture", "paused"}
    assert of_device(FULL)["last_image"]["image_topic"] == "sortbin/bin-1/image/last"


@pytest.mark.parametrize("settings", [DEVICE, OLD])
def test_each_command_template_is_a_command_once_it_is_filled_in(settings: HomeAssistantSettings) -> None:
    whole = decoded(FULL, settings)
    found = [each for message in whole.values() for each in message.get("components", {"": message}).values() if "command_topic" in each]
    for component in found:
        filled = json.loads(re.sub(r"\{\{ [^}]* \}\}", "1", component["command_template"]))
        assert set(filled) == {"id", "ttl_s", "args"} and filled["id"] == "ha-1-1"


def test_an_entity_that_is_gone_is_listed_with_its_platform_alone() -> None:
    before = platforms(FULL, DEVICE)
    now = of_device(PLAIN, before)
    assert {key for key, each in now.items() if set(each) == {"platform"}} == before.keys() - platforms(PLAIN, DEVICE).keys()
    assert now["emptied_paper"] == {"platform": "button"}


def test_bins_of_one_id_under_two_bases_are_two_devices() -> None:
    elsewhere = replace(PLAIN, topics=Topics("bin-1", "site/floor2"))
    assert not decoded(PLAIN, DEVICE).keys() & decoded(elsewhere, DEVICE).keys()


def test_every_event_that_people_react_to_is_one_of_an_event_entity() -> None:
    tags = {kind.__struct_config__.tag for kind in get_args(AnyEvent)}
    assert {*ITEM_EVENTS, *ALERT_EVENTS} == tags - {"started", "command"}
