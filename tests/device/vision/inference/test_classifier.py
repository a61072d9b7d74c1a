from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from device.vision.inference.bundle import INFO_FILE, Bundle, BundleError, GoldenOutput, InputSpec, encode, read_bundle, seal
from device.vision.inference.classifier import Classifier, softmax
from device.vision.inference.preprocess import Pixels
from device.vision.inference.runtime import PACKAGES, Kernels, Package, RuntimeFault, load_runtime


def changed(bundle: Bundle, **changes: object) -> Bundle:
    (bundle.folder / INFO_FILE).write_bytes(encode(seal(msgspec.structs.replace(bundle.info, **changes))))
    return read_bundle(bundle.folder)


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> Package:
    name: Package = request.param
    pytest.importorskip(name.replace("-", "_"))
    return name


def test_both_runtimes_name_each_colour(tiny_bundle: Bundle, painted: Callable[..., Pixels], package: Package) -> None:
    classifier = Classifier(tiny_bundle, load_runtime(tiny_bundle, package=package))
    for index, label in enumerate(classifier.labels):
        posterior = classifier.posterior(painted(label))
        assert posterior.argmax() == index
        assert posterior[index] > 0.95
        assert posterior.sum() == pytest.approx(1)


def test_builtin_kernels_of_both_packages_agree_within_a_step(tiny_bundle: Bundle) -> None:
    pytest.importorskip("tflite_runtime")
    ours, other = (Classifier(tiny_bundle, load_runtime(tiny_bundle, package=name, kernels="builtin")) for name in PACKAGES)
    rng = np.random.default_rng(3)
    for _ in range(20):
        pixels = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        assert np.abs(ours.raw_logits(pixels) - other.raw_logits(pixels)).max() <= 1


@pytest.mark.parametrize("temperature", [0.02, 1.3, 50.0])
def test_probabilities_are_the_softmax_of_the_logits(tiny_copy: Bundle, package: Package, temperature: float) -> None:
    bundle = changed(tiny_copy, temperature=temperature)
    classifier = Classifier(bundle, load_runtime(bundle, package=package))
    rng = np.random.default_rng(5)
    for _ in range(20):
        pixels = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        logits, embedding = classifier.outputs(pixels)
        np.testing.assert_allclose(classifier.posterior(pixels), softmax(logits, temperature), rtol=1e-9, atol=1e-12)
        probabilities, looked = classifier.predict(pixels)
        np.testing.assert_array_equal(probabilities, classifier.posterior(pixels))
        np.testing.assert_array_equal(looked, embedding)


def test_frames_of_any_size_give_the_same_label(tiny_bundle: Bundle, painted: Callable[..., Pixels]) -> None:
    classifier = Classifier(tiny_bundle)
    expected = classifier.logits(painted("glass"))
    for height, width in ((32, 32), (31, 33), (1, 1), (1080, 1920), (8, 500)):
        np.testing.assert_array_equal(classifier.logits(painted("glass", height, width)), expected)


def test_a_frame_that_is_an_array_view_is_read_right(tiny_bundle: Bundle, painted: Callable[..., Pixels]) -> None:
    classifier = Classifier(tiny_bundle)
    wide = np.concatenate([painted("metal", 32, 32), painted("paper", 32, 32)], axis=1)
    np.testing.assert_array_equal(classifier.logits(wide[:, 32:]), classifier.logits(painted("paper")))
    np.testing.assert_array_equal(classifier.logits(wide[:, ::-1][:, 32:]), classifier.logits(painted("metal")))


def test_results_are_not_overwritten_by_the_next_picture(tiny_bundle: Bundle, painted: Callable[..., Pixels]) -> None:
    classifier = Classifier(tiny_bundle)
    first = classifier.outputs(painted("glass"))
    logits, embedding = first.logits.copy(), first.embedding.copy()
    classifier.outputs(painted("metal"))
    np.testing.assert_array_equal(first.logits, logits)
    np.testing.assert_array_equal(first.embedding, embedding)


def test_outputs_hold_the_features_and_the_same_logits(tiny_bundle: Bundle, painted: Callable[..., Pixels]) -> None:
    classifier = Classifier(tiny_bundle)
    logits, embedding = classifier.outputs(painted("glass"))
    np.testing.assert_array_equal(logits, classifier.logits(painted("glass")))
    np.testing.assert_allclose(embedding, [0, 1, 0, 1, 0, 1, 0, 0], atol=0.01)
    assert (logits.dtype, embedding.dtype) == (np.float32, np.float32)


def test_int8_outputs_do_not_overflow(tiny_bundle: Bundle, painted: Callable[..., Pixels]) -> None:
    runtime = load_runtime(tiny_bundle)
    named = {tuple(entry["shape"]): entry["quantization"][1] for entry in runtime.interpreter.get_output_details()}
    assert named[1, 8] == -128  # so a full feature is 127 - (-128), which is -1 in int8
    assert Classifier(tiny_bundle, runtime).outputs(painted("glass")).embedding[1] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("shape", [(32, 32), (32, 32, 1), (32, 32, 4), (40, 40, 4), (32, 32, 3, 1), (0, 0, 3)])
def test_a_picture_without_three_channels_is_refused(tiny_bundle: Bundle, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected H x W x 3"):
        Classifier(tiny_bundle).logits(np.zeros(shape, np.uint8))


def test_a_float_picture_is_refused(tiny_bundle: Bundle) -> None:
    floats: Pixels = np.zeros((32, 32, 3), np.float32)  # type: ignore[assignment]  # the mistake that is tested
    with pytest.raises(ValueError, match="expected H x W x 3 uint8, got 32 x 32 x 3 float32"):
        Classifier(tiny_bundle).logits(floats)


@pytest.mark.parametrize("kernels", ["default", "builtin"])
def test_a_wrong_golden_output_is_refused_with_its_label(tiny_copy: Bundle, package: Package, kernels: Kernels) -> None:
    right = tiny_copy.info.known_answer.logits
    bundle = changed(tiny_copy, known_answer=GoldenOutput(7, (*right[:3], right[3] + 5, *right[4:]), tolerance=2))
    with pytest.raises(BundleError, match=rf"wrong golden output on {package} .*paper is"):
        Classifier(bundle, load_runtime(bundle, package=package, kernels=kernels)).check_golden_output()


def test_on_exact_kernels_one_step_off_is_refused(tiny_copy: Bundle) -> None:
    right = tiny_copy.info.known_answer.logits
    bundle = changed(tiny_copy, known_answer=GoldenOutput(7, (right[0] + 1, *right[1:]), tolerance=2))
    with pytest.raises(BundleError, match="wrong golden output"):
        Classifier(bundle, load_runtime(bundle, package="ai-edge-litert", kernels="builtin")).check_golden_output()


def test_other_kernels_may_differ_by_the_tolerance(tiny_copy: Bundle, package: Package) -> None:
    right = tiny_copy.info.known_answer.logits
    bundle = changed(tiny_copy, known_answer=GoldenOutput(7, tuple(value + 1 for value in right), tolerance=2))
    classifier = Classifier(bundle, load_runtime(bundle, package=package))
    classifier.check_golden_output()
    assert np.abs(np.array(right) - classifier.raw_logits(np.zeros((32, 32, 3), np.uint8))).max() > 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": InputSpec(size=64)}, "expected one input, uint8 1x64x64x3, found uint8 1x32x32x3"),
        ({"input": InputSpec(size=32, scale=1 / 255)}, r"input: expected scale 1/127\.5 and zero point 127"),
        ({"input": InputSpec(size=32, zero_point=128)}, r"input: expected scale 1/127\.5 and zero point 127"),
    ],
)
def test_a_network_with_other_input_than_bundle_json_says_is_refused(tiny_copy: Bundle, changes: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Classifier(changed(tiny_copy, **changes))


def test_a_network_for_other_labels_is_refused(tiny_copy: Bundle) -> None:
    (tiny_copy.folder / "labels.txt").write_text("glass\nmetal\n", encoding="utf-8")
    info = msgspec.structs.replace(tiny_copy.info, labels=("glass", "metal"), known_answer=GoldenOutput(7, (0, 0), 2))
    with pytest.raises(BundleError, match="expected logits for the 2 labels of the bundle, found 6"):
        Classifier(Bundle(tiny_copy.folder, info))


class WithoutSignature:
    """An interpreter of a model whose compiler dropped the signature."""

    def __init__(self, whole: object) -> None:
        self._whole = whole

    def __getattr__(self, name: str) -> object:
        return getattr(self._whole, name)

    def get_signature_list(self) -> dict[str, object]:
        return {}


def test_outputs_are_found_by_size_without_a_signature(tiny_bundle: Bundle, painted: Callable[..., Pixels]) -> None:
    whole = load_runtime(tiny_bundle)
    bare = Classifier(tiny_bundle, type(whole)(WithoutSignature(whole.interpreter), whole.name, whole.exact, whole.model))
    np.testing.assert_array_equal(bare.logits(painted("metal")), Classifier(tiny_bundle).logits(painted("metal")))


class Failing(WithoutSignature):
    def invoke(self) -> None:
        raise RuntimeError("Failed to invoke delegate\nand more")


def test_a_failing_runtime_is_named_on_one_line(tiny_bundle: Bundle, painted: Callable[..., Pixels]) -> None:
    whole = load_runtime(tiny_bundle)
    classifier = Classifier(tiny_bundle, type(whole)(Failing(whole.interpreter), whole.name, whole.exact, whole.model))
    with pytest.raises(RuntimeFault, match=r"^ai-edge-litert .* failed on a picture: Failed to invoke delegate$"):
        classifier.logits(painted("metal"))


@settings(max_examples=100)
@given(
    logits=arrays.arrays(np.float32, 5, elements=st.floats(-1e4, 1e4, width=32)),
    temperature=st.floats(0.05, 20),
    shift=st.floats(-100, 100),
)
def test_softmax_sums_to_one_keeps_order_and_ignores_a_shift(logits: np.ndarray, temperature: float, shift: float) -> None:
    found = softmax(logits, temperature)
    assert found.sum() == pytest.approx(1)
    assert (np.diff(found[np.argsort(logits, kind="stable")]) >= 0).all()
    np.testing.assert_allclose(softmax(logits.astype(np.float64) + shift, temperature), found, rtol=1e-6, atol=1e-9)


def test_a_higher_temperature_is_less_sure() -> None:
    logits = np.array([2.0, 0.0], np.float32)
    assert softmax(logits, 1)[0] == pytest.approx(1 / (1 + np.exp(-2)))
    assert 0.5 < softmax(logits, 4)[0] < softmax(logits, 1)[0]
