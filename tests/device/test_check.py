"""`sortbin check`: each part is tried, and what fails says what to do."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from device import service
from device.cli import main
from device.vision.bundle import Bundle
from device.vision.preprocess import Pixels

UNIT = Path(__file__).parents[2] / "systemd" / "sortbin.service"
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
    assert list(found) == ["settings", "bundle", "rules", "site", "camera", "gates", "state", "keep", "service", "broker"]
    assert all(ok for ok, _ in found.values())
    assert found["settings"][1].endswith("this bin is bench")
    assert "gives its known answer on ai-edge-litert" in found["bundle"][1]
    assert "640 x 480" in found["camera"][1]


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("camera", ('kind = "replay"', 'kind = "v4l2"\ndevice = "/dev/video97"'), "/dev/video97"),
        ("rules", ('bin = "glass"', 'bin = "glas"'), 'no [[gate]] with bin = "glass"'),
        ("gates", ('kind = "simulated"\nbin = "metal"', 'kind = "line"\nline = "GPIO17"\nbin = "metal"'), "GPIO17"),
        ("edgetpu", ("[camera]", "edgetpu = true\n[camera]"), "the CPU does its work: {tmp}/bundle: no model_int8_edgetpu.tflite in this bundle"),
        ("site", ("[camera]", '[site]\nlabels = ["glas"]\n[camera]'), "labels: glas: not a label that is known here; expected some of cardboard"),
        ("keep", ("[camera]", '[keep]\nfolder = "/proc/kept"\n[camera]'), "keep.folder /proc/kept: No such file or directory; expected a folder"),
        ("broker", ("[camera]", '[mqtt]\nhost = "127.0.0.1"\nport = 1\n[camera]'), "nothing listens there"),
    ],
)
def test_a_part_that_fails_is_named_and_the_others_are_tried_all_the_same(
    part: str, change: tuple[str, str], said: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    assert said.replace("{tmp}", str(tmp_path)) in found[part][1]
    assert "\n" not in found[part][1]


@pytest.fixture
def installed(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Installs the project's own unit, started with this settings file, and these lines of `systemctl edit`."""
    monkeypatch.setattr(service, "UNITS", tmp_path / "units")

    def install(edited: str) -> None:
        (tmp_path / "units/sortbin.service.d").mkdir(parents=True)
        unit = UNIT.read_text(encoding="utf-8").replace("/etc/sortbin/sortbin.toml", str(config))
        (tmp_path / "units/sortbin.service").write_text(unit, encoding="utf-8")
        (tmp_path / "units/sortbin.service.d/override.conf").write_text(f"[Service]\n{edited}\n", encoding="utf-8")

    return install


@pytest.mark.parametrize(
    ("edited", "change", "said"),
    [
        ("", None, "device.state {tmp}/state: the service does not see /tmp"),
        ("PrivateTmp=no", None, "device.state {tmp}/state: the service may not write there; expected a folder below /var/lib/sortbin"),
        ("PrivateTmp=no\nReadWritePaths={tmp}/state", None, ""),
        ("PrivateTmp=no\nReadWritePaths=-{tmp}", ("[camera]", '[keep]\nfolder = "{tmp}/kept"\n[camera]'), ""),
        (
            "PrivateTmp=no\nReadWritePaths={tmp}/state",
            ("[camera]", '[keep]\nfolder = "{tmp}/kept"\n[camera]'),
            "keep.folder {tmp}/kept: the service may not",
        ),
        (
            "PrivateTmp=no\nReadWritePaths={tmp}",
            ("[camera]", 'rules = "/home/pi/rules.toml"\n[camera]'),
            "model.rules /home/pi/rules.toml: the service does not",
        ),
        (
            "PrivateTmp=no\nReadWritePaths={tmp}",
            ("[camera]", 'rules = "./rules.toml"\n[camera]'),
            "model.rules rules.toml: expected a path from / on",
        ),
        ("PrivateTmp=no\nReadWritePaths={tmp}", ("[camera]", 'rules = "trashnet"\n[camera]'), ""),
        ("PrivateTmp=no\nReadWritePaths={tmp}\nReadWritePaths=", None, "device.state {tmp}/state: the service may not"),
        ("BindPaths={tmp}", None, ""),
        ("PrivateTmp=no\nProtectSystem=no", None, ""),
        ("PrivateTmp=\nProtectSystem=", None, ""),
    ],
)
def test_what_the_service_cannot_reach_is_named(
    edited: str,
    change: tuple[str, str] | None,
    said: str,
    installed: Callable[[str], None],
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A person sees and writes to more than the service: the sandbox of its unit hides homes and makes all else read-only."""
    installed(edited.replace("{tmp}", str(tmp_path)))
    if change is not None:
        text = config.read_text(encoding="utf-8")
        assert change[0] in text
        config.write_text(text.replace(change[0], change[1].replace("{tmp}", str(tmp_path))), encoding="utf-8")
    main(["check", "--config", str(config), "--json"])
    ok, message = findings(capsys)["service"]
    assert ok is not bool(said)
    assert message.startswith(said.replace("{tmp}", str(tmp_path)) or "sees and writes to all")


def test_a_service_that_reads_another_file_says_nothing_of_this_one(
    installed: Callable[[str], None], config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed("")
    other = tmp_path / "other.toml"
    other.write_bytes(config.read_bytes())
    assert main(["check", "--config", str(other), "--json"]) == 0
    assert findings(capsys)["service"] == (True, "none installed that reads this file")


def test_a_changed_byte_in_the_bundle_is_found(config: Path, tiny_copy: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_copy.folder / "model_int8.tflite"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    assert main(["check", "--config", str(config), "--json"]) == 1
    ok, message = findings(capsys)["bundle"]
    assert not ok
    assert "model_int8.tflite" in message
