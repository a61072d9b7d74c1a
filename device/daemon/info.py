"""Composes `info`: what this bin is and how it is set."""

import hashlib

import msgspec

from device import __version__
from device.daemon.parts import BinParts
from device.daemon.system_metrics import board_name
from device.hardware import BinHardware
from device.mqtt.payloads import Hardware, Info, InfoBundle, InfoRules
from device.policy.rules import RulePack
from device.remote.capture import CapturePicture
from device.remote.kinds import COMMANDS
from device.settings import BinSettings

LOGIN_KEYS = ("username", "password_file", "tls")
"""keys of `[mqtt]` that belong to a login; they differ from bin to bin"""


def describe_bin(settings: BinSettings, parts: BinParts) -> Info:
    """The payload of `info`, not stamped yet."""
    judge, rules, hardware = parts.judge, parts.rules, parts.hardware
    bundle = judge.classifier.bundle.info
    return Info(
        device=settings.device.id,
        title=settings.device.title,
        location=settings.device.location,
        install=parts.ledger.install,
        version=__version__,
        settings_sha256=settings_sha256(settings),
        bundle=InfoBundle(name=bundle.name, version=bundle.version, sha256=bundle.digest, metrics=bundle.metrics),
        labels=judge.labels,
        taught=None if judge.teaching is None else judge.teaching.examples.counts(),
        rules=_describe_rules(rules),
        bins=dict(rules.bins),
        bin_of={label: rules.bin_of(label) for label in judge.labels},
        residual=rules.residual,
        hardware=Hardware(
            board=board_name(),
            camera=hardware.camera_kind,
            gates=dict(hardware.gate_kinds),
            levels={name: kinds for name in rules.bins if (kinds := _level_kinds(name, hardware))},
            runtime=judge.classifier.runtime.name,
        ),
        commands=command_names(settings),
        remarks=parts.remarks,
    )


def _level_kinds(name: str, hardware: BinHardware) -> tuple[str, ...]:
    return tuple(sensor.settings.kind for sensor in hardware.sensors if sensor.settings.bin == name)


def _describe_rules(rules: RulePack) -> InfoRules:
    return InfoRules(name=rules.name, version=rules.version, sha256=rules.sha256)


def command_names(settings: BinSettings) -> tuple[str, ...]:
    """The commands that this bin takes."""
    if settings.mqtt is None or not settings.mqtt.commands:
        return ()
    return tuple(name for name in COMMANDS if name != CapturePicture.name or settings.mqtt.images)


def settings_sha256(settings: BinSettings) -> str:
    """A digest of all settings but the login, and but who and where this bin is: bins with the same digest are set alike."""
    tables = msgspec.to_builtins(settings)
    del tables["device"]
    if tables["mqtt"] is not None:
        tables["mqtt"] = {key: value for key, value in tables["mqtt"].items() if key not in LOGIN_KEYS}
    return hashlib.sha256(msgspec.json.encode(tables, order="deterministic")).hexdigest()
