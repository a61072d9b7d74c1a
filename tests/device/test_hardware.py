"""Camera and gates, opened as the settings say."""

from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from device.hardware import open_hardware
from device.policy.rules import default_rules, read_rules
from device.settings import read_settings
from device.vision.inference.preprocess import Pixels

LABELS = ("cardboard", "glass", "metal", "paper", "plastic", "trash")
BINS = ("paper", "glass", "metal", "plastic", "trash")


@pytest.mark.parametrize(("hold_s", "collected_warnings"), [(0.05, True), (0.9, True), (1.0, False), (2.0, False)])
def test_too_short_replayed_pictures_are_warned_about(
    hold_s: float, collected_warnings: bool, tmp_path: Path, painted: Callable[..., Pixels], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "1.png"), painted("", 240, 320))
    gates = "".join(f'[[gate]]\nkind = "simulated"\nbin = "{name}"\n' for name in BINS)
    replay = f'[camera]\nkind = "replay"\npath = "{tmp_path / "photos"}"\nhold_s = {hold_s}\n'
    (tmp_path / "sortbin.toml").write_text(f'[device]\nstate = "{tmp_path / "state"}"\n{replay}{gates}')
    open_hardware(read_settings(tmp_path / "sortbin.toml"), read_rules(default_rules(), LABELS)).close()
    assert (f"camera.hold_s: each picture stays for {hold_s:g} s" in caplog.text) is collected_warnings
