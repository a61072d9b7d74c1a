"""`sortbin check`: each part is tried, and what fails says what to do."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from device.cli import main
from device.vision.bundle import Bundle
from device.vision.preprocess import Pixels

BINS = ("paper", "glass", "metal", "plastic", "trash")


@pytest.fixture
def config(tmp_path: Path, tiny_copy: Bundle, painted: Callable[..., Pixels]) -> Path:
    """Settings of a bin that works: a replayed camera, simulated gates, no broker."""
    picture = tmp_path / "tray.png"
    cv2.imwrite(str(picture), painted("glass", 60, 80))
    gates = "".join(f'[[gate]]\nkind = "simulated"\nbin = "{name}"\n' for name in BINS)
    file = tmp_path / "sortbin.toml"
    file.write_text(
        f'[device]\nid = "bench"\nstate = "{tmp_path / "state"}"\n[model]\nbundle = "{tiny_copy.folder}"\n'
        f'[camera]\nkind = "replay"\npath = "{picture}"\n{gates}',
        encoding="utf-8",
    )
    return file


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[bool, str]]:
    return {finding["part"]: (finding["ok"], finding["message"]) for finding in json.loads(capsys.readouterr().out)}


def test_a_bin_that_works_is_said_to_work_part_by_part(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(config), "--json"]) == 0
    found = findings(capsys)
    assert list(found) == ["settings", "bundle", "rules", "camera", "gates", "state", "broker"]
    assert all(ok for ok, _ in found.values())
    assert "gives its known answer on ai-edge-litert" in found["bundle"][1]
    assert "640 x 480" in found["camera"][1]


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("camera", ('kind = "replay"', 'kind = "v4l2"\ndevice = "/dev/video97"'), "/dev/video97"),
        ("rules", ('bin = "glass"', 'bin = "glas"'), 'no [[gate]] with bin = "glass"'),
        ("gates", ('kind = "simulated"\nbin = "metal"', 'kind = "line"\nline = "GPIO17"\nbin = "metal"'), "GPIO17"),
        ("broker", ("[camera]", '[mqtt]\nhost = "127.0.0.1"\nport = 1\n[camera]'), "nothing listens there"),
    ],
)
def test_a_part_that_fails_is_named_and_the_others_are_tried_all_the_same(
    part: str, change: tuple[str, str], said: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = config.read_text(encoding="utf-8")
    assert change[0] in text
    text = text.replace(*change)
    if "v4l2" in change[1]:
        text = "\n".join(line for line in text.splitlines() if not line.startswith("path"))
    config.write_text(text, encoding="utf-8")
    assert main(["check", "--config", str(config), "--json"]) == 1
    found = findings(capsys)
    assert [name for name, (ok, _) in found.items() if not ok] == [part]
    assert said in found[part][1]
    assert "\n" not in found[part][1]


def test_a_changed_byte_in_the_bundle_is_found(config: Path, tiny_copy: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_copy.folder / "model_int8.tflite"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    assert main(["check", "--config", str(config), "--json"]) == 1
    ok, message = findings(capsys)["bundle"]
    assert not ok
    assert "model_int8.tflite" in message
