"""The learned empty tray is restored by the next process."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.daemon.learned_state import VIEW_FILE, VIEWS_FILE, LearnedStateFile
from device.simulation.tray_renderer import TrayRenderer
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.occupancy import OccupancyDetector, PresenceSettings


@pytest.fixture(scope="module")
def tray() -> Pixels:
    return TrayRenderer(np.random.default_rng(3)).picture(None, 0.0, 1.0)


def test_the_empty_reference_is_restored_after_a_restart(tray: Pixels, tmp_path: Path) -> None:
    view, views = OccupancyDetector(PresenceSettings()), BackgroundModel([tray])
    view.replace(tray)
    for name, learned in ((VIEW_FILE, view), (VIEWS_FILE, views)):
        LearnedStateFile(tmp_path / name, learned).close()
    again, several = OccupancyDetector(PresenceSettings()), BackgroundModel()
    for name, learned in ((VIEW_FILE, again), (VIEWS_FILE, several)):
        LearnedStateFile(tmp_path / name, learned).restore()
    assert again.learned and not again.observe(tray).present
    np.testing.assert_array_equal(several.export(), views.export())


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }"])
def test_a_damaged_file_is_ignored(content: bytes, tmp_path: Path) -> None:
    views = BackgroundModel()
    (tmp_path / VIEWS_FILE).write_bytes(content)
    LearnedStateFile(tmp_path / VIEWS_FILE, views).restore()
    assert not views.learned


@given(st.data())
def test_a_file_with_wrong_bytes_restores_finite_numbers_or_nothing(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / VIEW_FILE
        view = OccupancyDetector(PresenceSettings())
        view.replace(np.full((48, 64, 3), 90, np.uint8))
        LearnedStateFile(file, view).close()
        content = bytearray(file.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, 140))] = data.draw(st.integers(0, 255))
        file.write_bytes(content)
        again = OccupancyDetector(PresenceSettings())
        LearnedStateFile(file, again).restore()
        stored = again.export()
        assert stored is None or np.isfinite(stored).all()


def test_a_stored_nan_is_ignored(tmp_path: Path) -> None:
    np.save(tmp_path / VIEW_FILE, np.full((2, 60, 80, 3), np.nan, np.float32))
    view = OccupancyDetector(PresenceSettings())
    LearnedStateFile(tmp_path / VIEW_FILE, view).restore()
    assert not view.learned


def test_nothing_is_written_before_something_is_learned(tmp_path: Path) -> None:
    keeper = LearnedStateFile(tmp_path / VIEWS_FILE, BackgroundModel())
    keeper.update(0.0)
    keeper.close()
    assert not list(tmp_path.iterdir())
