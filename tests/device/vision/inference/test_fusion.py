import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.common.arrays import Float64Array
from device.vision.inference.fusion import fuse


@st.composite
def bursts(draw: st.DrawFn, most: int = 6) -> list[Float64Array]:
    labels = draw(st.integers(1, 6))
    weights = st.lists(st.floats(0, 1), min_size=labels, max_size=labels).filter(lambda values: sum(values) > 1e-3)
    return [np.array(frame) / sum(frame) for frame in draw(st.lists(weights, min_size=1, max_size=most))]


@settings(max_examples=100)
@given(burst=bursts(), data=st.data())
def test_fusion_does_not_depend_on_the_order_of_frames(burst: list[Float64Array], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(burst))
    np.testing.assert_allclose(fuse(shuffled), fuse(burst), atol=1e-12)


@settings(max_examples=100)
@given(burst=bursts(most=1))
def test_a_single_frame_is_unchanged(burst: list[Float64Array]) -> None:
    np.testing.assert_allclose(fuse(burst), burst[0], atol=1e-7)


@settings(max_examples=100)
@given(burst=bursts(), correlation=st.floats(0, 1))
def test_fused_values_are_probabilities(burst: list[Float64Array], correlation: float) -> None:
    fused = fuse(burst, correlation)
    assert np.isfinite(fused).all() and (fused >= 0).all()
    assert fused.sum() == pytest.approx(1)


@settings(max_examples=100)
@given(burst=bursts(most=1), times=st.integers(1, 50))
def test_repeated_frames_add_nothing_with_full_correlation(burst: list[Float64Array], times: int) -> None:
    np.testing.assert_allclose(fuse(burst * times, correlation=1), burst[0], atol=1e-7)


@settings(max_examples=100)
@given(burst=bursts(), correlation=st.floats(0, 1), often=st.lists(st.integers(1, 4), min_size=6, max_size=6))
def test_an_integer_weight_equals_that_many_repeats(burst: list[Float64Array], correlation: float, often: list[int]) -> None:
    weights = often[: len(burst)]
    repeated = [frame for frame, times in zip(burst, weights, strict=True) for _ in range(times)]
    np.testing.assert_allclose(fuse(burst, 1.0, weights), fuse(repeated, 1.0), atol=1e-9)
    np.testing.assert_allclose(fuse(burst, correlation, [2.0] * len(burst)), fuse(burst, correlation), atol=1e-9)


def test_independent_frames_multiply() -> None:
    fused = fuse([np.array([0.8, 0.2]), np.array([0.6, 0.4])], correlation=0)
    np.testing.assert_allclose(fused, np.array([0.48, 0.08]) / 0.56)


def test_a_hundred_doubtful_frames_do_not_make_certainty() -> None:
    doubtful = np.array([0.6, 0.4])
    assert 0.6 < fuse([doubtful] * 5)[0] < fuse([doubtful] * 100)[0] < 0.63


def test_agreeing_frames_raise_certainty_and_contradicting_ones_cancel() -> None:
    sure, other = np.array([0.9, 0.1]), np.array([0.1, 0.9])
    assert fuse([sure, sure, sure])[0] > 0.9
    np.testing.assert_allclose(fuse([sure, other]), [0.5, 0.5])


def test_one_frame_with_probability_zero_does_not_rule_a_label_out() -> None:
    blinded, clear = np.array([0.0, 1.0]), np.array([1 - 1e-9, 1e-9])
    assert fuse([blinded, clear, clear])[0] > 0.99


def test_frames_that_contradict_completely_leave_equal_probabilities() -> None:
    np.testing.assert_allclose(fuse([np.array([1.0, 0.0]), np.array([0.0, 1.0])]), [0.5, 0.5])
