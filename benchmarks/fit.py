"""What `training fit` adds to training: its images a second over those of a bare `model.fit`, on arrays and on photos from disk.

    python -m benchmarks.fit [--size PIXELS] [--rounds N] [--json]

All train the same network (MobileNetV2 1.0, batch norm folded, AdamW, batches of 32) on 512 generated photos:

- `fit` decodes, augments, mixes and averages weights as a recipe does by default;
- `unkept` is the same without `training.fit.memory`, as TensorFlow leaves the allocator;
- `arrays` is a bare `model.fit` on float arrays that are ready, as TensorFlow leaves the allocator;
- `arrays_kept` is the same with `training.fit.memory`: the limit;
- `disk` is a bare `model.fit` on a generator that decodes and resizes the photos of each batch, and no more.

Each has a process of its own, because the allocator is a process's. They take turns, an epoch each, so whatever else the machine does falls on all
alike; the figures to quote are the ratios of the medians. First epochs, which compile and decode, are left out. Processor time counts all threads,
the kernel's work included.
"""

import argparse
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import keras
import numpy as np

from converter.data.photos import read_pixels, read_split
from device.common.arrays import Float32Array
from device.vision.inference.preprocess import to_float, to_input
from training.fit import callbacks, stages
from training.fit.callbacks import AfterEpoch
from training.fit.job import TrainingJob
from training.fit.recipe import Stage, TrainingRecipe
from training.models.backbones import build_trunk
from training.models.batch_norm_folding import fold_batch_norm
from training.models.network import add_heads

BUDGET = 0.95
"""least share of the images a second of the bare loop on arrays, with the same allocator"""

PHOTOS, LABELS, BATCH, RATE = 512, 4, 32, 1e-4


class Rate(NamedTuple):
    """Images a second, images a second of processor time, and the most memory that was held until then, in MiB."""

    wall: float
    processor: float
    peak_mib: float


def draw(folder: Path) -> None:
    """Write the photos: patches of colour on light card, 512 x 384 like TrashNet's."""
    rng = np.random.default_rng(0)
    for number in range(PHOTOS + LABELS):
        photo = np.full((384, 512, 3), 220, np.uint8)
        photo[96:288, 128:384] = cv2.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), (256, 192), interpolation=cv2.INTER_CUBIC)
        label = folder / f"label_{number % LABELS}"
        label.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(label / f"{number:04}.jpg"), photo)
    (folder / "splits").mkdir()
    names = [f"label_{number % LABELS}/{number:04}.jpg\n" for number in range(PHOTOS + LABELS)]
    (folder / "splits" / "train.txt").write_text("".join(names[:PHOTOS]))
    (folder / "splits" / "val.txt").write_text("".join(names[PHOTOS:]))


class Turn(AfterEpoch):
    """Waits before each epoch until it is this loop's turn, and prints how fast the epoch was."""

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Keras calls this."""
        sys.stdin.readline()
        self._used_s = _processor_s()
        super().on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras calls this."""
        rate = Rate(PHOTOS / (time.monotonic() - self._began), PHOTOS / (_processor_s() - self._used_s), _peak_mib())
        print(json.dumps(rate), flush=True)
        super().on_epoch_end(epoch, logs)


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_fit(photos: Path, size: int, epochs: int) -> None:
    """`training fit`'s second phase."""
    stages.AfterEpoch = Turn  # type: ignore[misc]
    recipe = TrainingRecipe(stage=(Stage(size=size, epochs=epochs, learning_rate=RATE, batch=BATCH),))
    job = TrainingJob(recipe, read_split(photos))
    stages.fine_tune(_new_network(size), stages.RunContext(job, photos.parent, lambda line: None), 0, 0)


def run_unkept(photos: Path, size: int, epochs: int) -> None:
    """The same, with the allocator as TensorFlow leaves it."""
    callbacks.keep_freed_memory = lambda: False
    run_fit(photos, size, epochs)


def run_arrays(photos: Path, size: int, epochs: int) -> None:
    """A bare loop on arrays in memory."""
    _fit_arrays(size, epochs, [])


def run_arrays_kept(photos: Path, size: int, epochs: int) -> None:
    """The same, with the allocator as `training fit` sets it."""
    _fit_arrays(size, epochs, [callbacks.KeepMemory()])


def run_disk(photos: Path, size: int, epochs: int) -> None:
    """A bare loop on photos that are decoded for each batch."""
    files, targets = sorted(photos.glob("label_*/*.jpg"))[:PHOTOS], _targets()["logits"]

    class Decoded(keras.utils.PyDataset):
        """Batches in the order of the files."""

        def __len__(self) -> int:
            return PHOTOS // BATCH

        def __getitem__(self, index: int) -> tuple[Float32Array, dict[str, Float32Array]]:
            here = slice(index * BATCH, (index + 1) * BATCH)
            return np.stack([to_float(to_input(read_pixels(file), size)) for file in files[here]]), {"logits": targets[here]}

    _compiled(size).fit(Decoded(workers=2), epochs=epochs, verbose=0, callbacks=[Turn(_go_on)])


def _fit_arrays(size: int, epochs: int, further: list[keras.callbacks.Callback]) -> None:
    inputs = np.random.default_rng(1).uniform(-1, 1, (PHOTOS, size, size, 3)).astype(np.float32)
    _compiled(size).fit(inputs, _targets(), batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[Turn(_go_on), *further])


def _go_on(epoch: int, logs: dict[str, float], seconds: float) -> bool:
    return False


def _targets() -> dict[str, Float32Array]:
    return {"logits": np.eye(LABELS, dtype=np.float32)[np.random.default_rng(1).integers(0, LABELS, PHOTOS)]}


def _new_network(size: int) -> keras.Model:
    """MobileNetV2 with a random start."""
    return add_heads(fold_batch_norm(build_trunk("mobilenet_v2", size)), LABELS)


def _compiled(size: int) -> keras.Model:
    network = _new_network(size)
    model = keras.Model(network.input, {"logits": network.output["logits"]})
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(RATE), loss={"logits": loss}, jit_compile=False)
    return model


LOOPS: dict[str, Callable[[Path, int, int], None]] = {
    "fit": run_fit,
    "unkept": run_unkept,
    "arrays": run_arrays,
    "arrays_kept": run_arrays_kept,
    "disk": run_disk,
}


def measure(size: int, rounds: int, folder: Path) -> dict[str, Rate]:
    """The median figures of each loop."""
    draw(folder / "photos")
    found: dict[str, list[Rate]] = {name: [] for name in LOOPS}
    with contextlib.ExitStack() as stack:
        children = {}
        for name in LOOPS:
            (folder / name).mkdir()
            (folder / name / "photos").symlink_to(folder / "photos")
            command = [sys.executable, "-m", "benchmarks.fit", "--loop", name, "--photos", str(folder / name / "photos")]
            given = [*command, "--size", str(size), "--rounds", str(rounds)]
            child = subprocess.Popen(given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            children[name] = stack.enter_context(child)
            stack.callback(child.kill)
        for _ in range(rounds + 1):
            for name, child in children.items():
                assert child.stdin is not None and child.stdout is not None
                child.stdin.write("\n")
                child.stdin.flush()
                found[name].append(Rate(*json.loads(child.stdout.readline())))
    return {name: Rate(*(statistics.median(column) for column in zip(*rates[1:], strict=True))) for name, rates in found.items()}


def main() -> int:
    """Print the figures. Exit status 1 when `fit` misses its budget."""
    parser = argparse.ArgumentParser(prog="benchmarks.fit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=160, metavar="PIXELS", help="input size (default: 160)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="epochs of each (default: 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--loop", choices=LOOPS, help=argparse.SUPPRESS)
    parser.add_argument("--photos", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.loop:
        LOOPS[arguments.loop](arguments.photos, arguments.size, arguments.rounds + 1)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        rates = measure(arguments.size, arguments.rounds, Path(folder))
    ratios = {f"fit_to_{name}": rates["fit"].wall / rates[name].wall for name in ("arrays_kept", "arrays", "disk", "unkept")}
    if arguments.json:
        of_each = {name: rate._asdict() for name, rate in rates.items()}
        print(json.dumps({"size": arguments.size, "rounds": arguments.rounds, "images_per_s": of_each, **ratios}))
    else:
        for name, rate in rates.items():
            print(f"{name:11} {rate.wall:6.1f} images/s, {rate.processor:6.1f} a second of processor time, at most {rate.peak_mib:.0f} MiB")
        print(
            ", ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items()), f"(budget of fit_to_arrays_kept {BUDGET}); {arguments.rounds} rounds"
        )
    return 0 if ratios["fit_to_arrays_kept"] >= BUDGET else 1


if __name__ == "__main__":
    sys.exit(main())
