"""The settings file: its tables, checks across tables, and reading it. A mistake is one line.

The keys of each table are defined beside the part that uses them.
"""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from device.adaptation.label_prior import SiteSettings
from device.cameras.kinds import CameraSettings
from device.common.default_paths import DEFAULT_STATE
from device.common.errors import SortbinError, describe_toml_error
from device.common.machine_id import default_device_id
from device.gates.kinds import GateSettings
from device.home_assistant.settings import HomeAssistantSettings
from device.mqtt.settings import DeviceId, MqttSettings
from device.samples.collector import KeepSettings
from device.sensors.kinds import LevelSettings
from device.sorting.control_steps import SortingSettings
from device.sorting.tray_monitor import UNSTEADY_AFTER_S
from device.vision.isolation.occupancy import PresenceSettings

LATE_FRAMES = 1.5
"""a stale_s must be at least this many frame periods"""
LEARN_SHARE = 0.8
"""share of UNSTEADY_AFTER_S that learning the empty tray may take at camera.fps: cameras give fewer frames than they are asked for"""
StateFolder = Annotated[str, msgspec.Meta(pattern="^[^~]", description="a folder, written in full, without ~")]


class SettingsError(SortbinError, ValueError):
    """A settings file that cannot be used. The message names the file, the key and what was expected."""


Label = Annotated[str, msgspec.Meta(max_length=100, description="text of at most 100 characters")]


class DeviceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[device]`: the name of this bin, and the folder of its state."""

    id: DeviceId = msgspec.field(default_factory=default_device_id)
    """name in MQTT topics; default: made from this machine's serial number"""
    title: Label = ""
    """what people call it, published in `info`"""
    location: Label = ""
    """where it stands, published in `info`"""
    state: StateFolder = str(DEFAULT_STATE)
    """folder of the ledger and the learned empty view"""


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[model]`: the bundle that classifies the items, and how it is run."""

    bundle: str = ""
    """folder of a bundle, or the name of one that comes with Sortbin; empty: `trashnet`"""
    runtime: Literal["", "ai-edge-litert", "tflite-runtime"] = ""
    """package that runs the network; empty: the first that is installed"""
    edgetpu: bool = False
    """use a Coral Edge TPU, or the CPU where that fails"""
    threads: Annotated[int, msgspec.Meta(ge=1, le=8)] = 2
    rules: str = ""
    """rule pack file, or the name of one that comes with Sortbin; empty: `trashnet`"""


class BinSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All tables but `[camera]`, `[[gate]]` and `[[level]]`; the demo has no others."""

    device: DeviceSettings = msgspec.field(default_factory=DeviceSettings)
    model: ModelSettings = ModelSettings()
    presence: PresenceSettings = PresenceSettings()
    sorting: SortingSettings = SortingSettings()
    site: SiteSettings = SiteSettings()
    keep: KeepSettings = KeepSettings()
    home_assistant: HomeAssistantSettings = HomeAssistantSettings()
    mqtt: MqttSettings | None = None
    """without the table nothing is published; events stay in the ledger"""

    def __post_init__(self) -> None:
        if self.home_assistant.enabled and self.mqtt is None:
            raise ValueError("home_assistant.enabled: expected a table [mqtt] beside it, which names the broker that Home Assistant uses")
        still_s, drop_s = self.presence.still_s, self.sorting.drop_s
        if still_s >= drop_s:
            raise ValueError(
                f"presence.still_s: expected less than sorting.drop_s, or the tray never counts as empty in time; found {still_s:g} and {drop_s:g}"
            )


class Settings(BinSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file, with the camera, the gates and the level sensors."""

    camera: CameraSettings
    gate: tuple[GateSettings, ...]
    level: tuple[LevelSettings, ...] = ()
    """without such a table nothing is known of how full the bins are"""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_frames_in_time()
        sorting = self.sorting
        for number, gate in enumerate(self.gate):
            key, way_s = f"gate[{number}]", gate.way_s
            if way_s >= sorting.drop_s:
                raise ValueError(
                    f"sorting.drop_s: expected more than the {way_s:g} s that {key} ({gate.name}) takes to open, found {sorting.drop_s:g}"
                )
            if way_s >= sorting.gate_s:
                raise ValueError(
                    f"sorting.gate_s: expected more than the {way_s:g} s that {key} ({gate.name}) takes to close, found {sorting.gate_s:g}"
                )
            if gate.max_on_s <= sorting.drop_s:
                raise ValueError(
                    f"{key}.max_on_s ({gate.name}): expected more than sorting.drop_s, for which the gate is held open; "
                    f"found {gate.max_on_s:g} and {sorting.drop_s:g}"
                )

    def _require_frames_in_time(self) -> None:
        camera, learn_frames = self.camera, self.presence.learn_frames
        if not camera.fps:
            raise ValueError("camera.fps: expected more than 0: the time between frames tells whether an item lies still; found 0")
        least_s, at = LATE_FRAMES / camera.fps, f"with camera.fps = {camera.fps:g}"
        for key, stale_s in (("camera.stale_s", camera.stale_s), ("sorting.stale_s", self.sorting.stale_s)):
            if stale_s < least_s:
                raise ValueError(f"{key}: expected at least {least_s:g} {at}, or every frame counts as late; found {stale_s:g}")
        most_frames = int(LEARN_SHARE * UNSTEADY_AFTER_S * camera.fps)
        if learn_frames > most_frames:
            raise ValueError(f"presence.learn_frames: expected at most {most_frames} {at}, or the empty tray is never learned; found {learn_frames}")


def read_settings(file: Path) -> Settings:
    """Read and check a settings file. Raises SettingsError naming the file, the key and what was expected."""
    text = ""
    try:
        text = file.read_text(encoding="utf-8-sig")
        settings = msgspec.toml.decode(text, type=Settings)
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: expected text in UTF-8: {error.reason} at byte {error.start}") from error
    except msgspec.MsgspecError as error:
        raise SettingsError(f"{file}: {_with_brackets(describe_toml_error(error, Settings, text))}") from error
    for key, text in _texts(msgspec.to_builtins(settings)):
        if any(unicodedata.category(character) == "Cc" for character in text):
            raise SettingsError(f"{file}: {key}: expected text without control characters, found {text!r}")
    return settings


def _with_brackets(message: str) -> str:
    """A message about a table, with the brackets to write where a pair is missing or too many."""
    if found := re.fullmatch("([a-z_]+): expected a list, found a table", message):
        return f"{message}: write [[{found[1]}]], with two pairs of brackets"
    if found := re.fullmatch("([a-z_]+): expected a table(?: or nothing)?, found a list", message):
        return f"{message}: write [{found[1]}], with one pair of brackets"
    if message == "missing key gate":
        return f"{message}; expected a [[gate]] for each bin"
    return message


def _texts(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in nested tables and lists with its key, names in tables too."""
    match value:
        case str():
            yield key, value
        case dict():
            for name, below in value.items():
                yield key, name
                yield from _texts(below, f"{key}.{name}".lstrip("."))
        case list() | tuple():
            for number, below in enumerate(value):
                yield from _texts(below, f"{key}[{number}]")
        case _:
            pass
