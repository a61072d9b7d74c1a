"""Run the network of a bundle: pixels in, logits or calibrated probabilities out."""

import time
from collections import deque
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array, Float64Array
from device.vision.inference.bundle import Bundle, BundleError
from device.vision.inference.preprocess import Pixels, fill_input
from device.vision.inference.runtime import Interpreter, Runtime, RuntimeFault, first_line, load_runtime

Logits = Float32Array

RAW_SCALE, RAW_ZERO_POINT = 1 / 127.5, 127
"""quantization of the input for which camera bytes mean -1..1"""


class Outputs(NamedTuple):
    """The network's outputs for one picture. logits: float32, one for each label. embedding: float32, the pooled features."""

    logits: Logits
    embedding: Logits


class Classifier:
    """Classifies pictures: H x W x 3 uint8 RGB of any size; ValueError for any other array. For one thread at a time.

    Raises BundleError when the network's input, outputs or number of labels do not match `bundle.json`.
    """

    def __init__(self, bundle: Bundle, runtime: Runtime | None = None) -> None:
        self.bundle = bundle
        self.runtime = load_runtime(bundle) if runtime is None else runtime
        interpreter = self.runtime.interpreter
        source = _input(bundle, self.runtime)
        logits, embedding = _outputs(bundle, self.runtime)
        self._logits, self._embedding = _Output(interpreter, logits), _Output(interpreter, embedding)
        self._powers = self._logits.powers(bundle.info.temperature)
        self._input = interpreter.tensor(source["index"])
        self._invoke = interpreter.invoke
        self.took_ms: deque[float] = deque(maxlen=256)
        """milliseconds from pixels to outputs, of the latest pictures"""

    @property
    def labels(self) -> tuple[str, ...]:
        return self.bundle.info.labels

    @property
    def reject_below(self) -> float:
        """Least probability of the best bin; below it an item goes to the residual bin."""
        return self.bundle.info.reject_below

    def logits(self, pixels: Pixels) -> Logits:
        """One float32 for each label, before temperature and softmax. Raises RuntimeFault."""
        self._run(pixels)
        return self._logits.read()

    def raw_logits(self, pixels: Pixels) -> npt.NDArray[np.int64]:
        """The logits as quantized integers. Raises RuntimeFault."""
        self._run(pixels)
        return self._logits.raw()

    def outputs(self, pixels: Pixels) -> Outputs:
        """Logits and embedding of the same run. Raises RuntimeFault."""
        self._run(pixels)
        return Outputs(self._logits.read(), self._embedding.read())

    def posterior(self, pixels: Pixels) -> Float64Array:
        """Calibrated probabilities, one for each label, summing to 1. Raises RuntimeFault."""
        self._run(pixels)
        return self._calibrated()

    def predict(self, pixels: Pixels) -> tuple[Float64Array, Logits]:
        """Calibrated probabilities and the embedding of the same run. Raises RuntimeFault."""
        self._run(pixels)
        return self._calibrated(), self._embedding.read()

    def check_golden_output(self) -> None:
        """Run the bundle's seeded input and compare: bit for bit where the runtime is exact, within the bundle's tolerance elsewhere.

        A wrong answer means a wrong runtime, a damaged file or a sick accelerator. It also warms the runtime up.
        Raises BundleError and RuntimeFault.
        """
        info = self.bundle.info
        answer = info.known_answer
        found = self.raw_logits(golden_input(answer.seed, info.input.size))
        off = np.abs(found - np.array(answer.logits, np.int64))
        allowed = 0 if self.runtime.exact else answer.tolerance
        if off.max() > allowed:
            worst = int(off.argmax())
            raise BundleError(
                f"{self.runtime.model}: wrong golden output on {self.runtime.name}: {info.labels[worst]} is {found[worst]}, "
                f"expected {answer.logits[worst]} within {allowed}; try another runtime, or quantize again"
            )

    def _calibrated(self) -> Float64Array:
        # Plain Python is faster here: the network has pushed NumPy out of the CPU cache, and the numbers are few.
        powers = [self._powers[place] for place in self._logits.stored().tolist()]
        return np.divide(powers, sum(powers))

    def _run(self, pixels: Pixels) -> None:
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise ValueError(f"expected H x W x 3 uint8, got {' x '.join(map(str, pixels.shape))} {pixels.dtype}")
        began_s = time.perf_counter()
        fill_input(pixels, self._input()[0])
        try:
            self._invoke()
        except (RuntimeError, ValueError) as error:
            raise RuntimeFault(f"{self.runtime.name} failed on a picture: {first_line(error)}") from error
        self.took_ms.append(1000 * (time.perf_counter() - began_s))


def golden_input(seed: int, size: int) -> Pixels:
    """The input of the golden output: noise, size x size x 3 uint8."""
    drawn: Pixels = np.random.default_rng(seed).integers(0, 256, (1, size, size, 3), dtype=np.uint8)[0]
    return drawn


def softmax(logits: npt.NDArray[np.floating[Any]], temperature: float) -> Float64Array:
    """Softmax of `logits / temperature` over the last axis, in float64."""
    scaled = logits.astype(np.float64) / temperature
    powers: Float64Array = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.divide(powers, powers.sum(axis=-1, keepdims=True))


LEAST_EXPONENT = -700.0
"""floor of exponents, so that no sum of exponentials is 0 in float64"""


class _Output:
    """One output tensor, quantized per tensor to int8, uint8 or int16. The real value of each possible stored value is computed once."""

    def __init__(self, interpreter: Interpreter, details: dict[str, Any]) -> None:
        self._view = interpreter.tensor(details["index"])
        scale, zero_point = details["quantization"]
        kind = np.dtype(details["dtype"])
        self._bits = np.dtype(f"u{kind.itemsize}")
        possible = np.arange(1 << 8 * kind.itemsize).astype(self._bits).view(kind)
        # int64 first: 127 - (-128) does not fit into int8.
        self._values: Logits = ((possible.astype(np.int64) - zero_point) * scale).astype(np.float32)

    def powers(self, temperature: float) -> list[float]:
        """exp(value / temperature) for each possible stored value, up to a common factor: a table for softmax."""
        scaled = self._values.astype(np.float64) / temperature
        powers: list[float] = np.exp(np.maximum(scaled - scaled.max(), LEAST_EXPONENT)).tolist()
        return powers

    def stored(self) -> npt.NDArray[np.unsignedinteger[Any]]:
        """The stored bits, flat, as indices into tables. A view into the interpreter that must not be kept."""
        return self._view().reshape(-1).view(self._bits)

    def raw(self) -> npt.NDArray[np.int64]:
        """The quantized values, flat. A copy: a view into the interpreter must not be kept."""
        return self._view().reshape(-1).astype(np.int64)

    def read(self) -> Logits:
        """The real values, flat."""
        return np.take(self._values, self.stored())


def _input(bundle: Bundle, runtime: Runtime) -> dict[str, Any]:
    promised = bundle.info.input
    if not (np.isclose(promised.scale, RAW_SCALE, rtol=1e-4) and promised.zero_point == RAW_ZERO_POINT):
        raise BundleError(f"{bundle.folder}: input: expected scale 1/127.5 and zero point 127, so that camera bytes go in untouched")
    inputs = runtime.interpreter.get_input_details()
    wanted = (1, promised.size, promised.size, 3)
    if len(inputs) != 1 or tuple(inputs[0]["shape"]) != wanted or inputs[0]["dtype"] is not np.uint8:
        found = ", ".join(f"{np.dtype(entry['dtype']).name} {'x'.join(map(str, entry['shape']))}" for entry in inputs)
        raise BundleError(f"{runtime.model}: expected one input, uint8 {'x'.join(map(str, wanted))}, found {found}")
    scale, zero_point = inputs[0]["quantization"]
    if not (np.isclose(scale, RAW_SCALE, rtol=1e-4) and zero_point == RAW_ZERO_POINT):
        raise BundleError(f"{runtime.model}: input: expected scale 1/127.5 and zero point 127, found {scale:.6g} and {zero_point}")
    return inputs[0]


def _outputs(bundle: Bundle, runtime: Runtime) -> tuple[dict[str, Any], dict[str, Any]]:
    """The details of logits and embedding: by name in the signature, or by size where a compiler dropped the signature."""
    interpreter, count = runtime.interpreter, len(bundle.info.labels)
    signatures = interpreter.get_signature_list()
    if signatures:
        named = interpreter.get_signature_runner(next(iter(signatures))).get_output_details()
        pair = named.get("logits"), named.get("embedding")
    else:
        outputs = interpreter.get_output_details()
        right = [entry for entry in outputs if np.prod(entry["shape"]) == count]
        rest = [entry for entry in outputs if np.prod(entry["shape"]) != count]
        pair = (right[0], rest[0]) if len(right) == len(rest) == 1 else (None, None)
    logits, embedding = pair
    if logits is None or embedding is None:
        raise BundleError(f"{runtime.model}: expected two outputs, named logits and embedding")
    if np.prod(logits["shape"]) != count:
        raise BundleError(f"{runtime.model}: expected logits for the {count} labels of the bundle, found {np.prod(logits['shape'])}")
    for name, details in (("logits", logits), ("embedding", embedding)):
        if details["dtype"] not in (np.int8, np.uint8, np.int16) or not details["quantization"][0]:
            raise BundleError(f"{runtime.model}: {name}: expected int8 or int16 with a scale, found {np.dtype(details['dtype']).name}")
    return logits, embedding
