"""Discovery messages in both forms. https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from device.home_assistant.components import Component, command_template, components
from device.home_assistant.described_bin import DescribedBin
from device.home_assistant.settings import HomeAssistantSettings

PAUSED = "set_paused"
"""the command behind the switch"""


def messages(bin_: DescribedBin, settings: HomeAssistantSettings, gone: Mapping[str, str]) -> dict[str, bytes]:
    """Discovery topics with their payloads, all to be retained. A level of each is the bin's id: so an access list tells the bins of a broker apart.

    gone: keys of entities that were told of before and are no more, with their platforms.
    """
    if settings.form == "device":
        found = {**components(bin_), **_switch(bin_)}
        listed = {f"{bin_.key}-{key}": _complete(bin_, key, component) for key, component in found.items()}
        # Home Assistant removes an entity that is listed with its platform alone.
        listed |= {f"{bin_.key}-{key}": {"platform": platform} for key, platform in gone.items() if key not in found}
        whole = {"device": _device(bin_), "origin": _origin(bin_), "components": listed}
        return {_topic(bin_, settings, "device", bin_.key): msgspec.json.encode(whole)}
    return {
        _topic(bin_, settings, component["platform"], f"{bin_.key}-{key}"): msgspec.json.encode(
            {"device": _device(bin_), "origin": _origin(bin_)} | _complete(bin_, key, component)
        )
        for key, component in {**components(bin_), **_select(bin_)}.items()
    }


def platforms(bin_: DescribedBin, settings: HomeAssistantSettings) -> dict[str, str]:
    """The platform of each entity that a message in the form `device` names, by its key."""
    if settings.form != "device":
        return {}
    return {key: str(component["platform"]) for key, component in {**components(bin_), **_switch(bin_)}.items()}


def _topic(bin_: DescribedBin, settings: HomeAssistantSettings, platform: str, name: str) -> str:
    return f"{settings.prefix}/{platform}/{bin_.topics.device}/{name}/config"


def _switch(bin_: DescribedBin) -> dict[str, Component]:
    if PAUSED not in bin_.commands:
        return {}
    return {"paused": _paused(bin_, "{{ 'ON' if value_json.mode == 'paused' else 'OFF' }}", "'true' if value == 'ON' else 'false'", "switch", {})}


def _select(bin_: DescribedBin) -> dict[str, Component]:
    """In place of the switch: in the versions that know no other form, the command of a switch is a fixed text, and cannot have an id of its own."""
    if PAUSED not in bin_.commands:
        return {}
    state = "{{ 'paused' if value_json.mode == 'paused' else 'sorting' }}"
    return {"paused": _paused(bin_, state, "'true' if value == 'paused' else 'false'", "select", {"options": ["sorting", "paused"]})}


def _paused(bin_: DescribedBin, state: str, paused: str, platform: str, more: Component) -> Component:
    return {
        "platform": platform,
        "name": "Paused" if platform == "switch" else "Operation",
        "icon": "mdi:pause-circle",
        "state_topic": bin_.topics.state,
        "value_template": state,
        "command_topic": bin_.topics.command(PAUSED),
        "command_template": command_template(f'"paused": {{{{ {paused} }}}}'),
        "qos": 1,
        **more,
    }


def _complete(bin_: DescribedBin, key: str, component: Component) -> Component:
    """The component with what all have in common.

    It suggests its entity id twice: versions before 2025.10 know `object_id` alone, later ones `default_entity_id`; each ignores the other.
    """
    name = re.sub("[^a-z0-9]+", "_", f"{bin_.key}_{key}".lower())
    suggested = {"object_id": name, "default_entity_id": f"{component['platform']}.{name}"}
    whole = {"unique_id": f"{bin_.key}-{key}", **suggested, **component}
    if component.get("state_topic") != bin_.topics.availability:
        whole["availability_topic"] = bin_.topics.availability
    return whole


def _device(bin_: DescribedBin) -> dict[str, Any]:
    device = {
        "identifiers": [bin_.key],
        "name": bin_.title or f"Sortbin {bin_.topics.device}",
        "manufacturer": "Sortbin",
        "model": "Sorting bin",
        "sw_version": bin_.version,
    }
    return device | ({"hw_version": bin_.board} if bin_.board else {}) | ({"suggested_area": bin_.location} if bin_.location else {})


def _origin(bin_: DescribedBin) -> dict[str, Any]:
    return {"name": "Sortbin", "sw_version": bin_.version}
