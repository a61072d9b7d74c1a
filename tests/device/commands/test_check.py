"""`sortbin check`: every part is tried, and a failing one says what to do."""

import json
import os
import pwd
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import pytest

from device.cameras import Source
from device.cameras.settings import CameraBase
from device.cli import main
from device.commands import check
from device.common.clock import Clock
from device.daemon import systemd_unit as service
from device.ledger.ledger import Ledger
from device.settings import read_settings
from device.simulation.bin import Scenario, VirtualBin, VirtualCamera
from device.simulation.items import shipped_items
from device.sorting import tray_monitor
from device.vision.inference.bundle import Bundle
from device.vision.inference.preprocess import Pixels

UNIT = Path(__file__).parents[3] / "systemd" / "sortbin.service"
BINS = ("paper", "glass", "metal", "plastic", "trash")


@pytest.fixture(autouse=True)
def short_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera that reports an error is retried for a short time only."""
    monkeypatch.setattr(check, "SECOND_TRY_S", 0.3)


@pytest.fixture
def config(tmp_path: Path, tiny_copy: Bundle, painted: Callable[..., Pixels]) -> Path:
    """Settings of a bin that works: a replayed camera, simulated gates, no broker."""
    picture = tmp_path / "tray.png"
    cv2.imwrite(str(picture), painted("glass", 60, 80))
    gates = "".join(f'[[gate]]\nkind = "simulated"\nbin = "{name}"\n' for name in BINS)
    file = tmp_path / "sortbin.toml"
    file.write_text(
        f'[device]\nid = "bench"\nstate = "{tmp_path / "state"}"\n[model]\nbundle = "{tiny_copy.folder}"\n'
        f'[camera]\nkind = "replay"\npath = "{picture}"\nfps = 100\n{gates}',
        encoding="utf-8",
    )
    return file


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[bool, str]]:
    return {finding["part"]: (finding["ok"], finding["message"]) for finding in json.loads(capsys.readouterr().out)}


def test_every_part_of_a_working_bin_is_ok(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(config), "--json"]) == 0
    found = findings(capsys)
    assert list(found) == ["settings", "bundle", "rules", "site", "camera", "gates", "levels", "state", "keep", "service", "broker"]
    assert all(ok for ok, _ in found.values())
    assert found["settings"][1].endswith("this bin is bench")
    assert "gives its golden output on ai-edge-litert" in found["bundle"][1]
    assert "640 x 480" in found["camera"][1] and "an item against the light is judged as it is" in found["camera"][1]


class VirtualSettings(CameraBase, frozen=True, kw_only=True, tag="virtual"):
    """A camera over an empty virtual bin, which can be exposed for an item."""

    def opener(self) -> Callable[[], Source]:
        return lambda: VirtualCamera(VirtualBin([], shipped_items()[:1], Scenario(may_begin=lambda: False)), time.monotonic, 50.0)


def test_a_camera_that_can_be_exposed_for_an_item_says_so(config: Path) -> None:
    settings = msgspec.structs.replace(read_settings(config), camera=VirtualSettings())
    assert "its exposure can be 0.031 to 32 times the usual one" in check._camera(settings, threading.Event())


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("camera", ('kind = "replay"', 'kind = "v4l2"\ndevice = "/dev/video97"'), "/dev/video97"),
        ("rules", ('bin = "glass"', 'bin = "glas"'), 'no [[gate]] with bin = "glass"'),
        ("gates", ('kind = "simulated"\nbin = "metal"', 'kind = "line"\nline = "GPIO17"\nbin = "metal"'), "GPIO17"),
        ("levels", ("[camera]", '[[level]]\nbin = "metal"\nkind = "beam"\nline = "GPIO23"\n[camera]'), "level metal (beam): no line GPIO23 in"),
        ("rules", ("[camera]", '[[level]]\nbin = "glas"\nkind = "simulated"\n[camera]'), 'level: bin = "glas" is not a bin of rule pack'),
        ("edgetpu", ("[camera]", "edgetpu = true\n[camera]"), "the CPU is used instead: {tmp}/bundle: no model_int8_edgetpu.tflite in this bundle"),
        (
            "site",
            ("[camera]", '[site]\nlabels = ["glas"]\n[camera]'),
            "site.labels: glas: no such label; expected some of",
        ),
        ("keep", ("[camera]", '[keep]\nfolder = "/proc/kept"\n[camera]'), "keep.folder /proc/kept: No such file or directory; expected a folder"),
        ("broker", ("[camera]", '[mqtt]\nhost = "127.0.0.1"\nport = 1\n[camera]'), "nothing listens there"),
    ],
)
def test_a_failing_part_is_named_and_the_others_are_tried(
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
        unit = unit.replace("User=sortbin", f"User={pwd.getpwuid(os.getuid()).pw_name}")
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
            "model.rules rules.toml: expected an absolute path",
        ),
        ("PrivateTmp=no\nReadWritePaths={tmp}", ("[camera]", 'rules = "trashnet"\n[camera]'), ""),
        ("PrivateTmp=no\nReadWritePaths={tmp}\nReadWritePaths=", None, "device.state {tmp}/state: the service may not"),
        ("BindPaths={tmp}", None, ""),
        ("PrivateTmp=no\nProtectSystem=no", None, ""),
        ("PrivateTmp=\nProtectSystem=", None, ""),
    ],
)
def test_a_path_that_the_service_cannot_reach_is_named(
    edited: str,
    change: tuple[str, str] | None,
    said: str,
    installed: Callable[[str], None],
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The sandbox of the unit hides home folders and makes other folders read-only."""
    installed(edited.replace("{tmp}", str(tmp_path)))
    if change is not None:
        text = config.read_text(encoding="utf-8")
        assert change[0] in text
        config.write_text(text.replace(change[0], change[1].replace("{tmp}", str(tmp_path))), encoding="utf-8")
    main(["check", "--config", str(config), "--json"])
    ok, message = findings(capsys)["service"]
    assert ok is not bool(said)
    assert message.startswith(said.replace("{tmp}", str(tmp_path)) or "can reach every path of these settings")


def test_a_service_with_another_settings_file_is_ignored(
    installed: Callable[[str], None], config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed("")
    other = tmp_path / "other.toml"
    other.write_bytes(config.read_bytes())
    assert main(["check", "--config", str(other), "--json"]) == 0
    assert findings(capsys)["service"] == (True, "no installed service reads this file")


def test_a_file_that_the_service_user_may_not_use_is_named(
    installed: Callable[[str], None], config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lock file of root lets a check as root pass, but the service cannot start with it."""
    installed("User=nobody\nPrivateTmp=no\nProtectSystem=no")
    (tmp_path / "state").mkdir(mode=0o777)
    (tmp_path / "state").chmod(0o777)
    (tmp_path / "state/ledger.lock").touch(0o644)
    (tmp_path / "bundle").chmod(0o755)
    mine = pwd.getpwuid(os.getuid()).pw_name
    assert main(["check", "--config", str(config), "--json"]) == 1
    lock = tmp_path / "state/ledger.lock"
    why = f"device.state {lock}: belongs to {mine}, and the service runs as nobody, which may not write to it: sudo chown nobody: {lock}"
    assert findings(capsys)["service"] == (False, why)
    (tmp_path / "state/ledger.lock").unlink()
    assert main(["check", "--config", str(config), "--json"]) == 0


def test_a_service_of_a_missing_user_is_named(installed: Callable[[str], None], config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    installed("User=nobody-of-that-name\nPrivateTmp=no\nProtectSystem=no")
    assert main(["check", "--config", str(config), "--json"]) == 1
    assert "User=nobody-of-that-name: there is no such user" in findings(capsys)["service"][1]


def test_a_state_file_that_cannot_be_written_is_named(config: Path, tmp_path: Path, without_privileges: Callable[[], None]) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/ledger.lock").touch(0o444)
    command = [sys.executable, "-m", "device.cli", "check", "--config", config, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=without_privileges, check=False)
    found = {finding["part"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    assert f"device.state {tmp_path}/state/ledger.lock: belongs to" in found["state"]["message"]
    assert [part for part, finding in found.items() if not finding["ok"]] == ["state"]


def test_a_check_leaves_nothing_behind(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text(encoding="utf-8").replace("[camera]", f'[keep]\nfolder = "{tmp_path}/kept/here"\n[camera]'), encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    assert main(["check", "--config", str(config)]) == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_a_ledger_in_use_or_damaged_is_reported_and_not_changed(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger(tmp_path / "state", "bench", Clock())
    assert main(["check", "--config", str(config), "--json"]) == 1
    assert "another sortbin uses this ledger" in findings(capsys)["state"][1]
    ledger.close(5.0)
    ledger.file.write_bytes(b"no ledger" * 1000)
    assert main(["check", "--config", str(config), "--json"]) == 0
    assert "was damaged" in findings(capsys)["state"][1]
    assert ledger.file.read_bytes() == b"no ledger" * 1000


@pytest.mark.parametrize("raised", ["RuntimeError('two\\nlines')", "SystemExit(3)", "KeyError('chip')"])
def test_any_exception_of_a_part_is_one_line(
    raised: str, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Drivers raise exceptions of any type; here, the package behind a line gate."""
    (tmp_path / "packages/gpiod").mkdir(parents=True)
    (tmp_path / "packages/gpiod/__init__.py").write_text(
        f"def LineSettings(**_): pass\ndef Chip(path): raise {raised}\n",
        encoding="utf-8",
    )
    (tmp_path / "packages/gpiod/line.py").write_text("class Value: INACTIVE = 0\nclass Direction: OUTPUT = 0\n", encoding="utf-8")
    for name in ("gpiod", "gpiod.line"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    change = 'kind = "simulated"\nbin = "metal"', 'kind = "line"\nline = "1"\nchip = "/dev/gpiochip0"\nbin = "metal"'
    config.write_text(config.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    assert main(["check", "--config", str(config), "--json"]) == 1
    for name in ("gpiod", "gpiod.line"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = findings(capsys)
    assert [name for name, (ok, _) in found.items() if not ok] == ["gates"]
    assert "\n" not in found["gates"][1] and raised.partition("(")[0] in found["gates"][1]


def test_a_camera_package_that_cannot_be_imported_is_named(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the import of picamera2 raises with a NumPy that apt's packages were not built for."""
    (tmp_path / "packages/picamera2").mkdir(parents=True)
    (tmp_path / "packages/picamera2/__init__.py").write_text("raise ValueError('numpy.dtype size changed')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    text = config.read_text(encoding="utf-8").replace('kind = "replay"', 'kind = "picamera2"')
    config.write_text("\n".join(line for line in text.splitlines() if not line.startswith("path")), encoding="utf-8")
    assert main(["check", "--config", str(config), "--json"]) == 1
    found = findings(capsys)
    assert [name for name, (ok, _) in found.items() if not ok] == ["camera"]
    assert "picamera2 cannot be loaded (numpy.dtype size changed); does NumPy" in found["camera"][1]


def test_a_view_that_is_never_still_fails_as_in_the_daemon(
    config: Path, tmp_path: Path, painted: Callable[..., Pixels], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tray_monitor, "UNSTEADY_AFTER_S", 0.5)
    (tmp_path / "moving").mkdir()
    for label in ("glass", "metal"):
        cv2.imwrite(str(tmp_path / "moving" / f"{label}.png"), painted(label, 60, 80))
    change = f'path = "{tmp_path}/tray.png"\n', f'path = "{tmp_path}/moving"\nhold_s = 0.02\n'
    config.write_text(config.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    assert main(["check", "--config", str(config), "--json"]) == 1
    ok, message = findings(capsys)["camera"]
    assert not ok and "never still" in message


def test_a_changed_byte_in_the_bundle_is_found(config: Path, tiny_copy: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_copy.folder / "model_int8.tflite"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    assert main(["check", "--config", str(config), "--json"]) == 1
    found = findings(capsys)
    ok, message = found["bundle"]
    assert not ok
    assert "model_int8.tflite" in message
    assert found["rules"] == found["site"] == (False, "needs the bundle, which cannot be used")
