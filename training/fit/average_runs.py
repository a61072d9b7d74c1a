"""Average the weights of several finished runs into one network (model soups and WiSE-FT; Wortsman et al. 2022).

It works where one run was trained from another, or where they learned from the same teachers. Other runs lie too far apart, and their average is
useless. So the runs and their average are measured.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from converter.data.isolated_view import isolated_view
from converter.data.photos import Photo
from converter.data.training_run import Run
from converter.quantization.float_network import read_heads
from device.common.arrays import Float32Array
from device.common.errors import SortbinError
from training.fit.metrics import evaluate
from training.fit.provenance import run_reference

Report = Callable[[str], None]
Weights = list[Float32Array]

FILE = "averaged.json"


class AverageError(SortbinError, ValueError):
    """Runs that cannot be averaged. The message names the run and what was expected."""


def average(runs: Mapping[Path, Run], shares: Mapping[Path, float], out: Path, report: Report) -> None:
    """Write the run folder `out`, an empty folder: the network, its lists of photos, and in FILE the runs it was made of.

    shares: of each run's weights, above 0; they are scaled to sum to 1. report: gets the accuracy of each run and of the average on the validation
    photos, whole and isolated. Raises AverageError, NetworkError.
    """
    first = next(iter(runs))
    _require_same_task(runs)
    total, mixed = sum(shares.values()), None
    for folder, run in runs.items():
        network = read_heads(run.model, len(run.labels))
        weights: Weights = network.get_weights()
        if mixed is not None and [part.shape for part in weights] != [part.shape for part in mixed]:
            raise AverageError(f"{run.model}: expected a network of the same layers as {runs[first].model}")
        report(f"{folder} {shares[folder] / total:.3f}: {_accuracy_text(network, run.val, run.labels)}")
        parts = [np.float32(shares[folder] / total) * part for part in weights]
        mixed = parts if mixed is None else [so_far + part for so_far, part in zip(mixed, parts, strict=True)]
    network.set_weights(mixed)
    network.save(out / "model.keras")
    report(f"their average: {_accuracy_text(network, run.val, run.labels)}")
    for name in ("labels.txt", "train.txt", "val.txt", "recipe.toml"):
        if (first / name).is_file():
            shutil.copyfile(first / name, out / name)
    further = sorted({line for folder in runs if (folder / "further.txt").is_file() for line in _lines(folder / "further.txt")})
    if further:
        (out / "further.txt").write_text("".join(f"{line}\n" for line in further), encoding="utf-8")
    made_of = [{**run_reference(folder), "share": shares[folder] / total} for folder in runs]
    (out / FILE).write_text(json.dumps(made_of, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _require_same_task(runs: Mapping[Path, Run]) -> None:
    (first, expected), *others = runs.items()
    for folder, run in others:
        if run.labels != expected.labels:
            raise AverageError(f"{folder}: expected the labels {', '.join(expected.labels)} as {first} has, found {', '.join(run.labels)}")
        if set(run.val) != set(expected.val):
            raise AverageError(f"{folder}: expected the same val.txt as {first}: both have to be chosen by the same photos")


def _accuracy_text(network: keras.Model, photos: Sequence[Photo], labels: Sequence[str]) -> str:
    whole, isolated = evaluate(network, photos, labels), evaluate(network, photos, labels, isolated_view)
    return f"{whole.accuracy:.4f} of {whole.n} photos right, nll {whole.nll:.3f}; isolated items {isolated.accuracy:.4f}, nll {isolated.nll:.3f}"


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()
