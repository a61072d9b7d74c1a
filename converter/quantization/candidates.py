"""Makes a quantized model in each allowed way and chooses the one closest to the float network. Only calibration photos decide."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from converter.common.accuracy import kl_divergence
from converter.common.exception_text import first_sentence
from converter.common.progress import Indexable, Progress
from converter.common.silence import silenced
from converter.edgetpu.graph import build_graph
from converter.edgetpu.prediction import predict
from converter.quantization import tf_converter as tflite
from converter.quantization.bias_correction import Correction, correct_biases
from converter.quantization.calibration_photos import CalibrationPhotos
from converter.quantization.float_network import FloatNetwork
from converter.quantization.ranges import measure_ranges, with_ranges
from converter.quantization.trial_model import FloatModel, TrialModel
from converter.quantization.uint8_io import with_uint8_io
from converter.tflite.flatbuffer import read_model
from converter.tflite.metadata import unpack_model
from device.common.arrays import Float32Array
from device.common.errors import SortbinError
from device.vision.inference.preprocess import Pixels, to_float

Precision = Literal["int8", "int16x8", "float16", "dynamic", "float32"]
Recipe = Literal["tensorflow", "ai-edge-quantizer", "auto"]
Target = Literal["cpu", "edgetpu", "both"]

PRECISIONS, RECIPES, TARGETS = get_args(Precision), get_args(Recipe), get_args(Target)
TITLES: Mapping[Precision, str] = {"int8": "INT8", "int16x8": "INT16x8", "float16": "float16", "dynamic": "dynamic INT8", "float32": "TFLite float32"}

CORRECTION_PHOTOS = 64
"""more change little: the means over all positions of 64 photos are precise enough"""
SAME_PHOTOS, MOST_OFF = 4, 1e-2
"""photos on which the float model is compared with the network, and the largest relative difference of logits"""
HEADROOM = 1.5
"""the range of 16-bit outputs, as a multiple of the range on calibration photos"""


class CandidateError(SortbinError, ValueError):
    """No candidate can be made, or none runs on the target. The message says why."""


@dataclass(frozen=True)
class CandidateSpec:
    """Which models may be made. precision: what the model computes in; recipe: whose quantizer; target: where all of it has to run."""

    precision: Precision
    recipe: Recipe
    target: Target


@dataclass(frozen=True, eq=False)
class Candidate:
    """A quantized model. correction: what bias correction did, None without. float32, floating: the network converted without quantizing."""

    trial: TrialModel
    correction: Correction | None
    recipe: str
    float32: bytes
    floating: FloatModel


@dataclass(frozen=True, eq=False)
class _CandidateInputs:
    """What every candidate is made from and judged by.

    fitting, judging: calibration pictures, size x size x 3 uint8, that bias correction is measured on, and that choose the candidate.
    outputs: of the float network for `judging`, by name. scratch: a folder for files.
    """

    labels: Sequence[str]
    size: int
    spec: CandidateSpec
    float32: bytes
    floating: FloatModel
    fitting: list[Pixels]
    judging: list[Pixels]
    outputs: Mapping[str, Float32Array]
    scratch: Path

    def divergence(self, model: TrialModel) -> float:
        """Mean divergence of the model's probabilities from the float network's on `judging`, in nats."""
        return kl_divergence(self.outputs["logits"].astype(np.float64), model.logits(self.judging))


def best_candidate(
    network: FloatNetwork, labels: Sequence[str], spec: CandidateSpec, photos: CalibrationPhotos, scratch: Path, progress: Progress
) -> Candidate:
    """Make every model that `spec` allows of the network and return the one whose probabilities differ least from the float network's.

    photos: calibration photos, drawn evenly over the labels. The first ones fit the bias correction, the rest choose the candidate.
    scratch: a folder to write into. Raises CandidateError, ConversionError and PhotosError.
    """
    size, count = network.size, len(photos.photos)
    pictures = photos.inputs(size).all()
    cut = min(CORRECTION_PHOTOS, count // 2)
    # The first picture holds black and white, so that calibration sees all of the input's range.
    ranged = [*photos.inputs(size, 1, full_range=True), *pictures[1:]]
    found: list[tuple[float, Candidate]] = []
    refused: list[str] = []
    with silenced(), network.exported() as saved:
        float32 = tflite.to_calibrated(saved, ranged[:1]) if spec.precision == "int8" else tflite.to_float32(saved)
        floating = FloatModel(float32, scratch)
        judging = pictures[cut:]
        _require_same_logits(network, floating, judging[:SAME_PHOTOS])
        outputs = floating.predict(judging)
        if len(judging) > 1 and not np.ptp(outputs["logits"], axis=0).any():
            raise CandidateError(f"the network gives all of {len(judging)} photos the same values; it has learnt nothing, or takes other pixels")
        shared = _CandidateInputs(labels, size, spec, float32, floating, pictures[:cut], judging, outputs, scratch)
        for recipe, make in _quantizers(spec, saved, float32, progress.track(ranged, "calibrating on training photos"), scratch):
            divergence, candidate = _make_candidate(make(), recipe, shared, progress)
            on_cpu = _operations_on_cpu(candidate.trial.model, scratch) if spec.target != "cpu" else []
            if on_cpu:
                refused.append(f"{recipe}: the Edge TPU would leave {', '.join(on_cpu)} to the CPU")
            else:
                found.append((divergence, candidate))
    if not found:
        raise CandidateError(f"no candidate runs on the Edge TPU as a whole; {'; '.join(refused)}; try --target cpu")
    return min(found, key=lambda each: each[0])[1]


def _make_candidate(model: bytes, recipe: str, shared: _CandidateInputs, progress: Progress) -> tuple[float, Candidate]:
    """The candidate with uint8 input, whole-number outputs and, in INT8, corrected biases where they help; and its divergence in nats."""
    model = with_uint8_io(model, {name: HEADROOM * float(np.abs(values).max()) for name, values in shared.outputs.items()})
    plain = TrialModel(model, shared.labels, shared.size, shared.scratch)
    before = shared.divergence(plain)
    if shared.spec.precision != "int8":
        return before, Candidate(plain, None, recipe, shared.float32, shared.floating)
    progress.step("correcting biases")
    corrected = TrialModel(correct_biases(model, shared.float32, shared.fitting, shared.scratch), shared.labels, shared.size, shared.scratch)
    after = shared.divergence(corrected)
    correction = Correction(after < before, len(shared.fitting), len(shared.judging), before, after)
    return min(before, after), Candidate(corrected if correction.kept else plain, correction, recipe, shared.float32, shared.floating)


def _require_same_logits(network: FloatNetwork, floating: FloatModel, pictures: list[Pixels]) -> None:
    """Raise CandidateError if the conversion alone, without quantizing, changes the logits."""
    wanted = network.predict(pictures)["logits"]
    off = np.abs(wanted - floating.predict(pictures)["logits"]).max()
    if not off < MOST_OFF * max(1.0, np.abs(wanted).max()):
        raise CandidateError(
            f"TensorFlow's converter changes the network: logits of the float model are off by up to {off:.3g}; is it deterministic?"
        )


def _quantizers(
    spec: CandidateSpec, saved: Path, float32: bytes, pictures: Indexable[Pixels], scratch: Path
) -> list[tuple[str, Callable[[], bytes]]]:
    match spec.precision:
        case "int16x8":
            return [("tensorflow", lambda: tflite.to_int16x8(saved, pictures))]
        case "float16":
            return [("tensorflow", lambda: tflite.to_float16(saved))]
        case "dynamic":
            return [("tensorflow", lambda: tflite.to_dynamic(saved))]
        case "float32":
            return [("tensorflow", lambda: float32)]
        case "int8":
            makers = [
                ("tensorflow", lambda: quantize_with_tensorflow(float32, pictures, scratch)),
                ("ai-edge-quantizer", lambda: quantize_with_ai_edge_quantizer(float32, pictures)),
            ]
            return [maker for maker in makers if spec.recipe in (maker[0], "auto")]


def quantize_with_tensorflow(calibrated: bytes, pictures: Indexable[Pixels], scratch: Path) -> bytes:
    """Quantize with TensorFlow's quantizer and ranges measured here. calibrated: a model with any ranges; pictures: size x size x 3 uint8."""
    return tflite.quantize_calibrated(with_ranges(calibrated, measure_ranges(calibrated, pictures, scratch)))


def quantize_with_ai_edge_quantizer(float32: bytes, pictures: Indexable[Pixels]) -> bytes:
    """Quantize with Google's AI Edge Quantizer (recipe static_wi8_ai8). pictures: size x size x 3 uint8.

    Its calibration averages the extremes of the pictures, which would narrow the input range; here the range is set to -1..1.
    """
    from ai_edge_quantizer import quantizer, recipe

    graph = unpack_model(float32).subgraphs[0]
    whole = {"min": np.full((1, 1, 1, 1), -1, np.float32), "max": np.full((1, 1, 1, 1), 1, np.float32)}
    try:
        working = quantizer.Quantizer(bytearray(float32), recipe.static_wi8_ai8())
        ranges = working.calibrate({"serving_default": _QuantizerInputs(pictures)}, num_threads=1)
        ranges[graph.tensors[graph.inputs[0]].name.decode()] = whole
        return bytes(working.quantize(ranges).quantized_model)
    except SortbinError:
        raise
    except Exception as error:  # its exceptions are not documented
        raise tflite.ConversionError(f"the AI Edge Quantizer refuses it: {first_sentence(error)}; try --recipe tensorflow") from error


class _QuantizerInputs:
    """Pictures in the form that the quantizer takes. It iterates over them several times."""

    def __init__(self, pictures: Indexable[Pixels]) -> None:
        self._pictures = pictures

    def __iter__(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        return ({"image": to_float(self._pictures[number])[None]} for number in range(len(self._pictures)))


def _operations_on_cpu(model: bytes, scratch: Path) -> list[str]:
    """The operations that an Edge TPU would leave to the CPU."""
    file = scratch / "candidate.tflite"
    file.write_bytes(model)
    return sorted({fate.name for fate in predict(build_graph(read_model(file))).on_cpu})
