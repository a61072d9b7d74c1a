"""Occupancy: items are detected, lamp drift is not, and a resting item is not absorbed into the empty view."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.simulation.tray_renderer import HEIGHT, WIDTH, TrayRenderer
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.occupancy import OccupancyDetector, PresenceSettings


@pytest.fixture(scope="module")
def tray() -> Pixels:
    return TrayRenderer(np.random.default_rng(3)).picture(None, 0.0, 1.0)


@pytest.fixture
def view(tray: Pixels) -> OccupancyDetector:
    view = OccupancyDetector(PresenceSettings())
    rng = np.random.default_rng(0)
    while not view.learned:
        view.learn(noisy(tray, rng))
    return view


def noisy(pixels: Pixels, rng: np.random.Generator, gain: float = 1.0) -> Pixels:
    return np.clip(pixels * gain + rng.normal(0, 2.5, pixels.shape), 0, 255).astype(np.uint8)


def with_item(pixels: Pixels, side: int, shade: int) -> Pixels:
    seen = pixels.copy()
    seen[HEIGHT // 2 : HEIGHT // 2 + side, WIDTH // 3 : WIDTH // 3 + side] = shade
    return seen


@pytest.mark.slow
@settings(max_examples=20)
@given(side=st.integers(60, 400), shade=st.one_of(st.integers(0, 150), st.integers(235, 255)), gain=st.floats(0.97, 1.03))
def test_items_from_bottle_cap_size_are_detected_in_any_light(tray: Pixels, side: int, shade: int, gain: float) -> None:
    view = OccupancyDetector(PresenceSettings())
    rng = np.random.default_rng(side)
    while not view.learned:
        view.learn(noisy(tray, rng))
    sight = view.observe(noisy(with_item(tray, side, shade), rng, gain))
    assert sight.present
    assert sight.changed == pytest.approx(min(side, HEIGHT // 2) * side / (HEIGHT * WIDTH), rel=0.35, abs=0.01)


@pytest.mark.slow
def test_an_hour_of_lamp_drift_is_no_item(view: OccupancyDetector, tray: Pixels) -> None:
    rng = np.random.default_rng(1)
    for minute in range(240):
        gain = 1 + 0.15 * np.sin(minute / 40)
        sight = view.observe(noisy(tray, rng, gain))
        assert not sight.present, minute
        view.adapt()


def test_a_resting_item_is_not_absorbed(view: OccupancyDetector, tray: Pixels) -> None:
    rng = np.random.default_rng(2)
    item = with_item(tray, 90, 120)
    for _ in range(100):
        sight = view.observe(noisy(item, rng))
        assert sight.present
    assert not view.observe(noisy(tray, rng)).present


def test_movement_is_detected(view: OccupancyDetector, tray: Pixels) -> None:
    rng = np.random.default_rng(4)
    view.observe(noisy(with_item(tray, 100, 60), rng))
    assert not view.observe(noisy(with_item(tray, 100, 60), rng)).moving
    assert view.observe(noisy(np.roll(with_item(tray, 100, 60), 40, axis=1), rng)).moving


def test_movement_restarts_the_learning(tray: Pixels) -> None:
    view = OccupancyDetector(PresenceSettings(learn_frames=4))
    rng = np.random.default_rng(5)
    for step in range(8):
        view.learn(noisy(np.roll(with_item(tray, 120, 40), 30 * step, axis=1), rng))
    assert not view.learned
    for _ in range(4):
        view.learn(noisy(tray, rng))
    assert view.learned


def test_a_learned_view_survives_a_restart(view: OccupancyDetector, tray: Pixels, tmp_path: Path) -> None:
    np.save(tmp_path / "view.npy", view.export())
    restored = OccupancyDetector(PresenceSettings())
    restored.restore(np.load(tmp_path / "view.npy"))
    rng = np.random.default_rng(6)
    assert not restored.observe(noisy(tray, rng)).present
    assert restored.observe(noisy(with_item(tray, 90, 120), rng)).present
    with pytest.raises(ValueError, match="expected an empty view of shape"):
        restored.restore(np.zeros((2, 3, 4, 3), np.float32))
