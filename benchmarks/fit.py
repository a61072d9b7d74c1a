"""What `training fit` adds to training: its images a second over those of a bare `model.fit` on arrays in memory.

    python -m benchmarks.fit [--size PIXELS] [--rounds N] [--json]

Both train the same network (MobileNetV2 1.0, batch norm folded, AdamW, batches of 32) on 512 generated photos. `fit` decodes, augments, mixes and
averages weights as a recipe does by default; the bare loop is given float arrays that are ready. They take turns, an epoch each, so whatever else
the machine does falls on both alike; the figure to quote is the ratio of the medians. First epochs, which compile and decode, are left out.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import cv2
import keras
import numpy as np

from converter.data.photos import read_split
from training.fit.callbacks import AfterEpoch
from training.fit.job import TrainingJob
from training.fit.recipe import Stage, TrainingRecipe
from training.fit.stages import RunContext, fine_tune
from training.models.backbones import build_trunk
from training.models.batch_norm_folding import fold_batch_norm
from training.models.network import add_heads

BUDGET = 0.95
"""least share of the bare loop's images a second"""

PHOTOS, LABELS, BATCH, RATE = 512, 4, 32, 1e-4


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


class BareLoop:
    """The same network in `model.fit` on arrays in memory, an epoch a call, timed from its first batch to its last."""

    def __init__(self, size: int) -> None:
        rng = np.random.default_rng(1)
        self._inputs = rng.uniform(-1, 1, (PHOTOS, size, size, 3)).astype(np.float32)
        self._targets = {"logits": np.eye(LABELS, dtype=np.float32)[rng.integers(0, LABELS, PHOTOS)]}
        network = new_network(size)
        self._model = keras.Model(network.input, {"logits": network.output["logits"]})
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        self._model.compile(keras.optimizers.AdamW(RATE), loss={"logits": loss}, jit_compile=False)

    def epoch(self) -> float:
        """Train an epoch. Returns images a second."""
        took_s: list[float] = []

        def done(epoch: int, logs: dict[str, float], seconds: float) -> bool:
            took_s.append(seconds)
            return False

        self._model.fit(self._inputs, self._targets, batch_size=BATCH, epochs=1, verbose=0, callbacks=[AfterEpoch(done)])
        return PHOTOS / took_s[-1]


def new_network(size: int) -> keras.Model:
    """MobileNetV2 with a random start."""
    return add_heads(fold_batch_norm(build_trunk("mobilenet_v2", size)), LABELS)


def measure(size: int, rounds: int, folder: Path) -> tuple[list[float], list[float]]:
    """Images a second of `fit` and of the bare loop, one a round."""
    draw(folder / "photos")
    bare, ours, theirs = BareLoop(size), [], []
    bare.epoch()

    def turn(epoch: int, score: object) -> None:
        ours.append(json.loads((folder / "run" / "metrics.jsonl").read_text().splitlines()[-1])["images_per_s"])
        theirs.append(bare.epoch())

    (folder / "run").mkdir()
    recipe = TrainingRecipe(stage=(Stage(size=size, epochs=rounds + 1, learning_rate=RATE, batch=BATCH),))
    job = TrainingJob(recipe, read_split(folder / "photos"))
    fine_tune(new_network(size), RunContext(job, folder / "run", lambda line: None, turn), 0, 0)
    return ours[1:], theirs[1:]


def main() -> int:
    """Print the figures. Exit status 1 when `fit` misses its budget."""
    parser = argparse.ArgumentParser(prog="benchmarks.fit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=160, metavar="PIXELS", help="input size (default: 160)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="epochs of each (default: 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = measure(arguments.size, arguments.rounds, Path(folder))
    fit, bare = statistics.median(ours), statistics.median(theirs)
    if arguments.json:
        print(json.dumps({"size": arguments.size, "rounds": arguments.rounds, "fit_per_s": fit, "bare_per_s": bare, "ratio": fit / bare}))
    else:
        print(f"fit {fit:.1f} images/s, bare model.fit {bare:.1f} images/s, ratio {fit / bare:.3f} (budget {BUDGET}); {arguments.rounds} rounds")
    return 0 if fit / bare >= BUDGET else 1


if __name__ == "__main__":
    sys.exit(main())
