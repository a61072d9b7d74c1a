"""The `[home_assistant]` table of the settings file."""

from typing import Annotated, Literal

import msgspec


class HomeAssistantSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[home_assistant]`: whether, where and how this bin tells Home Assistant what it has."""

    enabled: bool = False
    """publish discovery messages; when it is switched off again they are taken back"""
    prefix: Annotated[
        str, msgspec.Meta(pattern=r"^[^/+#$\x00][^/+#\x00]*$", max_length=100, description="one name without /, + and #, not beginning with $")
    ] = "homeassistant"
    """discovery prefix, as Home Assistant's own settings have it"""
    form: Literal["device", "components"] = "device"
    """`device`: one message, for Home Assistant 2024.12 and later; `components`: one for each entity, for older versions"""
