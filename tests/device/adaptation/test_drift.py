"""Drift raises one alarm when something changes, and none when nothing does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.adaptation.drift import BASELINE_ITEMS, ControlChart, DriftMonitor, ItemSignals, measure_item
from device.events import Drift
from device.vision.inference.preprocess import Pixels

pytestmark = pytest.mark.slow

TRAY = np.repeat(np.repeat(np.random.default_rng(0).integers(40, 200, (12, 16, 3)), 10, axis=0), 10, axis=1)


def frame(rng: np.random.Generator, *, light: float = 1.0, pushed: int = 0) -> Pixels:
    """The tray with an item somewhere, in light that varies a little."""
    seen = np.roll(TRAY, pushed, axis=1).astype(np.float64)
    x, y = rng.integers(0, 110), rng.integers(0, 80)
    seen[y : y + 40, x : x + 50] = rng.integers(20, 230, 3)
    return np.clip(seen * light * np.exp(rng.normal(0, 0.03)) + rng.normal(0, 3, seen.shape), 0, 255).astype(np.uint8)


def item(rng: np.random.Generator, mix: tuple[float, ...] = (0.5, 0.3, 0.2)) -> tuple[np.ndarray, float]:
    """Probabilities of an item, and how novel it is."""
    probabilities = np.full(3, 0.02)
    probabilities[rng.choice(3, p=mix)] = 0.96
    return probabilities, float(rng.random())


def trained(seed: int = 1) -> tuple[DriftMonitor, np.random.Generator]:
    """A monitor whose baselines are complete."""
    monitor, rng = DriftMonitor(3), np.random.default_rng(seed)
    for _ in range(BASELINE_ITEMS * 5 // 4 + 20):
        assert monitor.observe(measure_item(frame(rng), *item(rng))) == []
    return monitor, rng


@pytest.mark.parametrize(
    ("signal", "change", "sign"),
    [("brightness", {"light": 0.7}, -1), ("brightness", {"light": 1.25}, 1), ("view", {"pushed": 20}, -1)],
)
def test_a_changed_lamp_or_camera_raises_one_alarm_for_its_signal(signal: str, change: dict[str, float], sign: int) -> None:
    monitor, rng = trained()
    alarms = [drift for _ in range(60) for drift in monitor.observe(measure_item(frame(rng, **change), *item(rng)))]  # type: ignore[arg-type]
    of_signal = [drift for drift in alarms if drift.signal == signal]
    assert len(of_signal) == 1 and of_signal[0].strayed * sign > 0
    assert signal in monitor.drifted


def test_new_label_mix_and_novel_items_raise_alarms() -> None:
    monitor, rng = trained()
    alarms = [drift.signal for _ in range(150) for drift in monitor.observe(measure_item(frame(rng), item(rng, (0.0, 0.1, 0.9))[0], 0.97))]
    assert set(alarms) == {"labels", "strangeness"}


def test_a_signal_that_came_back_can_raise_an_alarm_again() -> None:
    monitor, rng = trained()

    def alarms(light: float, items: int) -> list[Drift]:
        return [
            drift
            for _ in range(items)
            for drift in monitor.observe(measure_item(frame(rng, light=light), *item(rng)))
            if drift.signal == "brightness"
        ]

    assert len(alarms(0.7, 80)) == 1
    assert alarms(1.0, 300) == [] and "brightness" not in monitor.drifted
    assert len(alarms(0.7, 80)) == 1


def test_state_survives_a_restart() -> None:
    monitor, rng = trained()
    again = DriftMonitor(3)
    again.restore(monitor.export())
    signals = measure_item(frame(rng, light=0.5), *item(rng))
    for _ in range(10):
        monitor.observe(signals)
        again.observe(signals)
    assert again.deviations == monitor.deviations
    with pytest.raises(ValueError, match="expected"):
        DriftMonitor(4).restore(monitor.export())


def test_a_drift_is_not_reported_again_after_a_restart() -> None:
    monitor, rng = trained()
    assert [drift.signal for _ in range(80) for drift in monitor.observe(measure_item(frame(rng, light=0.5), *item(rng)))].count("brightness") == 1
    again = DriftMonitor(3)
    again.restore(monitor.export())
    assert "brightness" in again.drifted
    repeated = [drift.signal for _ in range(80) for drift in again.observe(measure_item(frame(rng, light=0.5), *item(rng)))]
    assert "brightness" not in repeated


def test_without_novelty_scores_strangeness_stays_zero() -> None:
    monitor, rng = DriftMonitor(3), np.random.default_rng(2)
    for _ in range(BASELINE_ITEMS * 2):
        monitor.observe(measure_item(frame(rng), item(rng)[0], None))
    assert monitor.deviations["strangeness"] == 0


def test_black_and_tiny_frames_give_finite_signals() -> None:
    for pixels in (np.zeros((480, 640, 3), np.uint8), np.full((5, 7, 3), 255, np.uint8)):
        signals = measure_item(pixels, np.array([1.0, 0.0]), None)
        assert isinstance(signals, ItemSignals) and np.isfinite([signals.brightness, signals.sharpness]).all() and np.isfinite(signals.edges).all()


@settings(max_examples=20)
@given(st.floats(-5, 5), st.floats(0.5, 3))
def test_chart_measures_a_step_in_standard_deviations(mean: float, spread: float) -> None:
    rng, chart = np.random.default_rng(0), ControlChart(1, 1e-6)
    for _ in range(BASELINE_ITEMS):
        chart.add(rng.normal(mean, spread, 1))
    for _ in range(300):
        chart.add(rng.normal(mean + 2 * spread, spread, 1))
    assert chart.deviations[0] == pytest.approx(2 / np.sqrt(0.03 / 1.97 + 1 / BASELINE_ITEMS), rel=0.25)
