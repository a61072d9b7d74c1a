"""The entities of a bin: https://www.home-assistant.io/integrations/mqtt/ lists what each platform takes.

Counters: `total_increasing` for what only grows while the ledger lives; a new ledger then counts as a meter that was replaced. What begins anew
whenever a bin is emptied is a `total` with the time of that as `last_reset`.
"""

from typing import Any, get_args

from device.home_assistant.described_bin import DescribedBin
from device.mqtt.payloads import Mode

Component = dict[str, Any]

EXPIRE_S = 180
"""`health` comes every 60 s"""
ITEM_EVENTS = ("item_sorted", "item_rejected", "item_interrupted")
ALERT_EVENTS = ("hazard", "jam", "fault", "cleared", "bin_full", "bin_emptied", "drift")
DIAGNOSTIC, CONFIG = {"entity_category": "diagnostic"}, {"entity_category": "config"}
PERCENT = {"unit_of_measurement": "%", "state_class": "measurement"}
BEFORE_ALL = "1970-01-01T00:00:00Z"
"""last reset of a count of which nobody knows when it began"""


def components(bin_: DescribedBin) -> dict[str, Component]:
    """Each entity by a key that stays the same. Availability and ids are not in it yet."""
    found = {**_state(bin_), **_health(bin_), **_events(bin_), **_buttons(bin_)}
    for name, title in bin_.bins.items():
        found |= _compartment(bin_, name, title)
    if bin_.images:
        found["last_image"] = {"platform": "image", "name": "Last picture", "image_topic": bin_.topics.image, "content_type": "image/jpeg"}
    return found


def _sensor(name: str, topic: str, template: str, **more: Any) -> Component:
    return {"platform": "sensor", "name": name, "state_topic": topic, "value_template": f"{{{{ {template} }}}}", **more}


def _binary_sensor(name: str, topic: str, condition: str, **more: Any) -> Component:
    template = f"{{{{ 'ON' if {condition} else 'OFF' }}}}"
    return {"platform": "binary_sensor", "name": name, "state_topic": topic, "value_template": template, **more}


def _state(bin_: DescribedBin) -> dict[str, Component]:
    state = bin_.topics.state
    counter = {"state_class": "total_increasing", "unit_of_measurement": "items"}
    return {
        "mode": _sensor("Mode", state, "value_json.mode", device_class="enum", options=list(get_args(Mode)), icon="mdi:state-machine"),
        "problem": _binary_sensor(
            "Fault",
            state,
            "value_json.faults",
            device_class="problem",
            json_attributes_topic=state,
            json_attributes_template="{{ {'faults': value_json.faults} | tojson }}",
        ),
        "fault": _sensor("Fault message", state, "(value_json.fault.message if value_json.fault else 'none')[:250]", **DIAGNOSTIC),
        "safe_mode": _binary_sensor("Safe mode", state, "value_json.safe_mode", **DIAGNOSTIC),
        "sorted": _sensor("Items sorted", state, "value_json.totals.values() | sum(attribute='sorted')", icon="mdi:recycle", **counter),
        "rejected": _sensor("Items rejected", state, "value_json.totals.values() | sum(attribute='rejected')", icon="mdi:help-circle", **counter),
        "last_item": _sensor(
            "Last item",
            state,
            "value_json.last_item.label if value_json.last_item else 'none'",
            icon="mdi:magnify",
            json_attributes_topic=state,
            json_attributes_template="{{ (value_json.last_item or {}) | tojson }}",
        ),
    }


def _compartment(bin_: DescribedBin, name: str, title: str) -> dict[str, Component]:
    """The entities of one compartment."""
    topic, since = bin_.topics.bin(name), "value_json.since_emptied"
    share = f"(100 * {since}.contamination / {since}.labels.values() | sum) | round(1) if {since}.labels else none"
    began = f"{since}.since or '{BEFORE_ALL}'"
    found = {
        f"{name}_items": _sensor(
            f"{title} items",
            topic,
            f"{since}['items']",
            icon="mdi:counter",
            state_class="total",
            unit_of_measurement="items",
            last_reset_value_template=f"{{{{ {began} }}}}",
        ),
        f"{name}_total": _sensor(
            f"{title} items in total",
            topic,
            "value_json['items']",  # value_json.items is a method of Jinja's dict
            icon="mdi:counter",
            state_class="total_increasing",
            unit_of_measurement="items",
        ),
        f"{name}_contamination": _sensor(f"{title} contamination", topic, share, icon="mdi:alert-octagram-outline", **PERCENT),
        f"{name}_since": _sensor(f"{title} counted since", topic, began, device_class="timestamp", **DIAGNOSTIC),
    }
    if name in bin_.measured:
        found[f"{name}_level"] = _sensor(f"{title} level", topic, "value_json.fill_percent", icon="mdi:delete-variant", **PERCENT)
        full = "{{ 'None' if value_json.full is none else 'ON' if value_json.full else 'OFF' }}"
        found[f"{name}_full"] = {**_binary_sensor(f"{title} full", topic, "", icon="mdi:delete-alert"), "value_template": full}
    return found


def _health(bin_: DescribedBin) -> dict[str, Component]:
    health = bin_.topics.health
    usual = {"expire_after": EXPIRE_S, **DIAGNOSTIC}
    figure = {"state_class": "measurement", **usual}
    return {
        "connection": {
            "platform": "binary_sensor",
            "name": "Connection",
            "state_topic": bin_.topics.availability,
            "payload_on": "online",
            "payload_off": "offline",
            "device_class": "connectivity",
            **DIAGNOSTIC,
        },
        "temperature": _sensor("Temperature", health, "value_json.temperature_c", device_class="temperature", unit_of_measurement="°C", **figure),
        "wifi": _sensor("Wi-Fi signal", health, "value_json.wifi_dbm", device_class="signal_strength", unit_of_measurement="dBm", **figure),
        "disk_free": _sensor("Disk free", health, "value_json.disk_free_mib", device_class="data_size", unit_of_measurement="MiB", **figure),
        "memory": _sensor("Memory", health, "value_json.memory_mib", device_class="data_size", unit_of_measurement="MiB", **figure),
        "load": _sensor("Load", health, "value_json.load", icon="mdi:gauge", **figure),
        "outbox": _sensor("Events waiting", health, "value_json.outbox", icon="mdi:tray-full", unit_of_measurement="events", **figure),
        "restarts": _sensor("Restarts", health, "value_json.total_restarts", icon="mdi:restart-alert", state_class="total_increasing", **usual),
        "address": _sensor("Address", health, "value_json.address", icon="mdi:ip-network", **usual),
        "throttled": _binary_sensor("Slowed down", health, "value_json.throttled", device_class="problem", **usual),
    }


def _events(bin_: DescribedBin) -> dict[str, Component]:
    item = ("type", "seq", "time", "item", "bin", "label", "p", "reason")
    alert = ("type", "seq", "time", "bin", "label", "fault", "message", "signal", "percent", "by", "items", "waited_s", "lasted_s")
    return {
        "item": _event("Item", bin_, ITEM_EVENTS, item, icon="mdi:arrow-down-bold-box"),
        "alert": _event("Alert", bin_, ALERT_EVENTS, alert, icon="mdi:bell"),
    }


def _event(name: str, bin_: DescribedBin, kinds: tuple[str, ...], fields: tuple[str, ...], **more: Any) -> Component:
    """An event entity. Events of other types give an empty text, which Home Assistant ignores."""
    given = f"dict({{'event_type': value_json.type}}, **dict(value_json.items() | selectattr(0, 'in', {list(fields[1:])})))"
    template = f"{{% if value_json.type in {list(kinds)} %}}{{{{ {given} | tojson }}}}{{% endif %}}"
    return {"platform": "event", "name": name, "state_topic": bin_.topics.event, "event_types": list(kinds), "value_template": template, **more}


def command_template(args: str = "") -> str:
    """The payload of a command with an id of its own each time. args: JSON members, in which `{{ value }}` may stand."""
    fresh = "ha-{{ (now().timestamp() * 1000) | int }}-{{ range(10000, 99999) | random }}"
    return f'{{"id": "{fresh}", "ttl_s": 30, "args": {{{args}}}}}'


def _buttons(bin_: DescribedBin) -> dict[str, Component]:
    """A button for each command that a person presses, where the bin takes it."""
    found: dict[str, Component] = {}
    plain: dict[str, Component] = {
        "clear_fault": {"name": "Clear fault", "icon": "mdi:wrench-check"},
        "identify": {"name": "Identify", "device_class": "identify", **CONFIG},
        "relearn": {"name": "Learn the empty tray", "icon": "mdi:image-refresh", **CONFIG},
        "restart": {"name": "Restart", "device_class": "restart", **CONFIG},
    }
    if bin_.images:
        plain["capture"] = {"name": "Take a picture", "icon": "mdi:camera"}
    for name, more in plain.items():
        if name in bin_.commands:
            found[name] = _button(bin_, name, "", more)
    if "emptied" in bin_.commands:
        for name, title in bin_.bins.items():
            found[f"emptied_{name}"] = _button(bin_, "emptied", f'"bin": "{name}"', {"name": f"{title} was emptied", "icon": "mdi:delete-empty"})
    return found


def _button(bin_: DescribedBin, command: str, args: str, more: Component) -> Component:
    return {"platform": "button", "command_topic": bin_.topics.command(command), "command_template": command_template(args), "qos": 1, **more}
