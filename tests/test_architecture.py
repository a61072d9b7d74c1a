"""The map in docs/architecture.md names what is there."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAP = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PARTS = ("device", "converter", "training", "config", "tests", "systemd")
TO_COME = {"device/sensors/"}


def paths_named() -> list[str]:
    return sorted(set(re.findall(rf"`((?:{'|'.join(PARTS)})/[\w/.-]*)`", MAP)) - TO_COME)


@pytest.mark.parametrize("path", paths_named())
def test_every_path_on_the_map_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_room_of_the_device_is_on_the_map() -> None:
    rooms = {entry.name for entry in (ROOT / "device").iterdir() if (entry / "__init__.py").exists()}
    assert {room for room in rooms if f"`device/{room}/`" not in MAP} == set()


@pytest.mark.parametrize("part", ["device", "converter", "training"])
def test_every_room_says_what_lives_there_and_has_its_place_among_the_layers(part: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == [part])
    placed = {room for layer in layers for room in layer.split(" | ")}
    for init in (ROOT / part).rglob("__init__.py"):
        assert init.parent.parent != ROOT / part or init.parent.name in placed
        assert init.read_text(encoding="utf-8").startswith('"""')
