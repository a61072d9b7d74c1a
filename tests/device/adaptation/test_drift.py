"""Drift: told when something changes, silent when nothing does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.adaptation.drift import BASELINE_ITEMS, ControlChart, DriftMonitor, ItemSignals, measure_item
from device.events import Drift
from device.vision.inference.preprocess import Pixels

pytestmark = pytest.mark.slow

TRAY = np.repeat(np.repeat(np.random.default_rng(0).integers(40, 200, (12, 16, 3)), 20, axis=0), 20, axis=1)


def frame(rng: np.random.Generator, *, light: float = 1.0, pushed: int = 0) -> Pixels:
    """The tray with an item somewhere, in light that varies a little."""
    seen = np.roll(TRAY, pushed, axis=1).astype(np.float64)
    x, y = rng.integers(0, 220), rng.integers(0, 160)
    seen[y : y + 80, x : x + 100] = rng.integers(20, 230, 3)
    return np.clip(seen * light * np.exp(rng.normal(0, 0.03)) + rng.normal(0, 3, seen.shape), 0, 255).astype(np.uint8)


def item(rng: np.random.Generator, mix: tuple[float, ...] = (0.5, 0.3, 0.2)) -> tuple[np.ndarray, float]:
    """Probabilities of an item, and how strange it is."""
    probabilities = np.full(3, 0.02)
    probabilities[rng.choice(3, p=mix)] = 0.96
    return probabilities, float(rng.random())


def usual(seed: int = 1) -> tuple[DriftMonitor, np.random.Generator]:
    """A monitor that knows what is usual."""
    monitor, rng = DriftMonitor(3), np.random.default_rng(seed)
    for _ in range(BASELINE_ITEMS * 5 // 4 + 20):
        assert monitor.observe(measure_item(frame(rng), *item(rng))) == []
    return monitor, rng


@pytest.mark.parametrize(
    ("signal", "change", "sign"),
    [("brightness", {"light": 0.7}, -1), ("brightness", {"light": 1.25}, 1), ("view", {"pushed": 40}, -1)],
)
def test_a_lamp_and_a_pushed_camera_are_told_once_by_name(signal: str, change: dict[str, float], sign: int) -> None:
    monitor, rng = usual()
    told = [drift for _ in range(60) for drift in monitor.observe(measure_item(frame(rng, **change), *item(rng)))]  # type: ignore[arg-type]
    of_signal = [drift for drift in told if drift.signal == signal]
    assert len(of_signal) == 1 and of_signal[0].strayed * sign > 0
    assert signal in monitor.drifted


def test_another_mix_of_labels_and_strange_items_are_told() -> None:
    monitor, rng = usual()
    told = [drift.signal for _ in range(150) for drift in monitor.observe(measure_item(frame(rng), item(rng, (0.0, 0.1, 0.9))[0], 0.97))]
    assert set(told) == {"labels", "strangeness"}


def test_what_has_come_back_is_told_again_the_next_time() -> None:
    monitor, rng = usual()

    def told(light: float, items: int) -> list[Drift]:
        return [
            drift
            for _ in range(items)
            for drift in monitor.observe(measure_item(frame(rng, light=light), *item(rng)))
            if drift.signal == "brightness"
        ]

    assert len(told(0.7, 80)) == 1
    assert told(1.0, 300) == [] and "brightness" not in monitor.drifted
    assert len(told(0.7, 80)) == 1


def test_a_restart_changes_nothing() -> None:
    monitor, rng = usual()
    again = DriftMonitor(3)
    again.restore(monitor.export())
    look = measure_item(frame(rng, light=0.5), *item(rng))
    for _ in range(10):
        monitor.observe(look)
        again.observe(look)
    assert again.deviations == monitor.deviations
    with pytest.raises(ValueError, match="expected"):
        DriftMonitor(4).restore(monitor.export())


def test_a_drift_that_was_told_is_not_told_again_after_a_restart() -> None:
    monitor, rng = usual()
    assert [drift.signal for _ in range(80) for drift in monitor.observe(measure_item(frame(rng, light=0.5), *item(rng)))].count("brightness") == 1
    again = DriftMonitor(3)
    again.restore(monitor.export())
    assert "brightness" in again.drifted
    alarms = [drift.signal for _ in range(80) for drift in again.observe(measure_item(frame(rng, light=0.5), *item(rng)))]
    assert "brightness" not in alarms


def test_a_bundle_that_does_not_say_what_it_knows_has_no_strangeness() -> None:
    monitor, rng = DriftMonitor(3), np.random.default_rng(2)
    for _ in range(BASELINE_ITEMS * 2):
        monitor.observe(measure_item(frame(rng), item(rng)[0], None))
    assert monitor.deviations["strangeness"] == 0


def test_a_black_frame_and_a_tiny_one_are_no_trouble() -> None:
    for pixels in (np.zeros((480, 640, 3), np.uint8), np.full((5, 7, 3), 255, np.uint8)):
        look = measure_item(pixels, np.array([1.0, 0.0]), None)
        assert isinstance(look, ItemSignals) and np.isfinite([look.brightness, look.sharpness]).all() and np.isfinite(look.edges).all()


@settings(max_examples=20)
@given(st.floats(-5, 5), st.floats(0.5, 3))
def test_a_chart_measures_a_step_in_standard_deviations(mean: float, spread: float) -> None:
    rng, chart = np.random.default_rng(0), ControlChart(1, 1e-6)
    for _ in range(BASELINE_ITEMS):
        chart.add(rng.normal(mean, spread, 1))
    for _ in range(300):
        chart.add(rng.normal(mean + 2 * spread, spread, 1))
    assert chart.deviations[0] == pytest.approx(2 / np.sqrt(0.03 / 1.97 + 1 / BASELINE_ITEMS), rel=0.25)
