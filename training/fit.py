"""Train a network in two phases: a head on frozen features, then the whole network in stages.

A run folder tells all there is to know: `recipe.toml`, `labels.txt`, `train.txt` and `val.txt`, `history.jsonl` (one line an epoch),
`model.keras` (the result). While it trains it also holds `progress.*`, from which a killed run goes on at the epoch it had finished.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from converter.photos import Photo, Split, read_pixels
from device.vision.preprocess import to_float, to_input
from training.batches import Batches
from training.network import build_network, resized, set_head
from training.recipe import Recipe, Stage

Floats = npt.NDArray[np.float32]
Report = Callable[[str], None]


@dataclass(frozen=True)
class Score:
    """What a network makes of photos. recall: per label, 0..1, in label order; nll: mean negative log likelihood in nats."""

    accuracy: float
    nll: float
    recall: tuple[float, ...]


def fit(recipe: Recipe, split: Split, run: Path, weights: str | None, report: Report) -> Score:
    """Train into the folder `run`, or go on where an earlier call was stopped, and return the validation score of the result."""
    keras.utils.set_random_seed(recipe.seed)
    run.mkdir(parents=True, exist_ok=True)
    _write_lines(run / "labels.txt", split.labels)
    _write_lines(run / "train.txt", [photo.name for photo in split.train])
    _write_lines(run / "val.txt", [photo.name for photo in split.val])

    progress = Progress.read(run)
    if progress is None:
        network = build_network(
            len(split.labels), recipe.size, width=recipe.width, dropout=recipe.dropout, seed=recipe.seed, weights=weights
        )
        report(f"phase 1: a head on frozen features of {len(split.train)} photos")
        fit_head(network, split, recipe)
        report(f"phase 1: {_described(evaluate(network, split), split)}")
        progress = Progress(0, 0)
    else:
        network = build_network(len(split.labels), recipe.size, width=recipe.width, dropout=recipe.dropout, seed=recipe.seed)
        report(f"going on after stage {progress.stage + 1}, epoch {progress.epoch}")
    for index in range(progress.stage, len(recipe.stage)):
        first_epoch = progress.epoch if index == progress.stage else 0
        network = fine_tune(network, recipe, index, first_epoch, split, run, report)
    _replace(run / "model.keras", network.save)
    for left in run.glob("progress.*"):
        left.unlink()
    return evaluate(network, split)


def fit_head(network: keras.Model, split: Split, recipe: Recipe) -> None:
    """Phase 1: logistic regression on the embeddings of the training photos and their mirror images."""
    targets = np.array([split.labels.index(photo.label) for photo in split.train])
    plain = _predict(network, split.train, recipe.size)["embedding"]
    mirrored = _predict(network, split.train, recipe.size, mirrored=True)["embedding"]
    weights = dict(enumerate(label_weights(split, recipe.class_weight_alpha)))
    regression = LogisticRegression(C=recipe.head_decay, max_iter=2000, class_weight=weights)
    regression.fit(np.concatenate([plain, mirrored]), np.concatenate([targets, targets]))
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(split.labels) == 2:
        coefficients, intercepts = np.concatenate([-coefficients, coefficients]) / 2, np.concatenate([-intercepts, intercepts]) / 2
    set_head(network, coefficients, intercepts)


def fine_tune(network: keras.Model, recipe: Recipe, index: int, first_epoch: int, split: Split, run: Path, report: Report) -> keras.Model:
    """Phase 2: one stage over the whole network. Returns the network at the recipe's final size with the averaged weights."""
    stage = recipe.stage[index]
    staged, finished = resized(network, stage.size), resized(network, recipe.size)
    trained = keras.Model(staged.input, staged.output["logits"])
    batches = Batches(
        split.train,
        split.labels,
        size=stage.size,
        batch=stage.batch,
        mixup=stage.mixup,
        augmentation=stage.augment or recipe.augment,
        label_weights=label_weights(split, recipe.class_weight_alpha),
        seed=recipe.seed * 1000 + index,
        first_epoch=first_epoch,
    )
    trained.compile(
        optimizer=keras.optimizers.AdamW(_cosine(stage, len(batches)), weight_decay=recipe.weight_decay),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing),
        jit_compile=False,
    )
    average = WeightAverage(stage.ema)
    best = Best(run / f"progress.best{index}.npz")
    if first_epoch:
        trained.optimizer.build(trained.trainable_variables)
        trained.load_weights(run / "progress.weights.h5")
        average.load(run / "progress.average.npz")

    def after_epoch(epoch: int, loss: float, seconds: float) -> None:
        finished.set_weights(average.weights)
        score = evaluate(finished, split)
        rate = float(trained.optimizer.learning_rate)
        line = {"stage": index + 1, "epoch": epoch + 1, "loss": loss, "val_accuracy": score.accuracy, "val_nll": score.nll}
        line |= {"val_recall": score.recall, "rate": rate, "images_per_s": len(split.train) / seconds}
        report(
            f"stage {index + 1}/{len(recipe.stage)} ({stage.size} px) epoch {epoch + 1}/{stage.epochs}"
            f"  loss {loss:.4f}  {_described(score, split)}  {len(split.train) / seconds:.0f} images/s"
        )
        with (run / "history.jsonl").open("a", encoding="utf-8") as history:
            history.write(json.dumps(line) + "\n")
        best.offer(score, average.weights)
        _replace(run / "progress.weights.h5", trained.save_weights)
        average.save(run / "progress.average.npz")
        Progress(index, epoch + 1).write(run)

    trained.fit(
        batches,
        initial_epoch=first_epoch,
        epochs=stage.epochs,
        callbacks=[average, AfterEpoch(after_epoch)],
        verbose=1 if sys.stdout.isatty() else 0,
    )
    finished.set_weights(best.weights() if index == len(recipe.stage) - 1 else average.weights)
    return finished


def label_weights(split: Split, alpha: float) -> list[float]:
    """Weight of each label in the loss: 1 + alpha * (balanced - 1), where balanced makes every label count the same."""
    counts = split.counts()
    balanced = [len(split.train) / (len(counts) * count) for count in counts.values()]
    return [1 + alpha * (weight - 1) for weight in balanced]


def evaluate(network: keras.Model, split: Split) -> Score:
    """Score the float network on the validation photos, through the device's own preprocessing."""
    logits = _predict(network, split.val, network.input_shape[1])["logits"].astype(np.float64)
    targets = np.array([split.labels.index(photo.label) for photo in split.val])
    right = logits.argmax(axis=1) == targets
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    recall = tuple(float(right[targets == i].mean()) if (targets == i).any() else float("nan") for i in range(len(split.labels)))
    return Score(float(right.mean()), float(-log_p[np.arange(len(targets)), targets].mean()), recall)


class WeightAverage(keras.callbacks.Callback):
    """Exponential moving average of all weights, one step a batch (Polyak & Juditsky 1992)."""

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self._momentum = momentum
        self.weights: list[Floats] = []

    def on_train_begin(self, logs: object = None) -> None:
        if not self.weights:
            self.weights = self.model.get_weights()

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        for kept, now in zip(self.weights, self.model.get_weights(), strict=True):
            kept += (1 - self._momentum) * (now - kept)

    def save(self, file: Path) -> None:
        _replace(file, lambda path: np.savez(path, *self.weights))

    def load(self, file: Path) -> None:
        with np.load(file) as stored:
            self.weights = [stored[name] for name in stored.files]


class AfterEpoch(keras.callbacks.Callback):
    """Calls `then(epoch, loss, seconds)` after each epoch; epochs count from 0 and their seconds leave `then` out."""

    def __init__(self, then: Callable[[int, float, float], None]) -> None:
        super().__init__()
        self._then = then

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._then(epoch, float((logs or {})["loss"]), time.monotonic() - self._began)


class Best:
    """The averaged weights of a stage's best epoch by validation accuracy, then by likelihood; kept in `file`."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def offer(self, score: Score, weights: Sequence[Floats]) -> None:
        """Keep these weights if nothing better was offered before."""
        rank = np.array([score.accuracy, -score.nll])
        if not self._file.is_file() or tuple(rank) > tuple(self._read()[0]):
            _replace(self._file, lambda path: np.savez(path, rank, *weights))

    def weights(self) -> list[Floats]:
        """The best weights offered so far."""
        return self._read()[1:]

    def _read(self) -> list[Floats]:
        with np.load(self._file) as stored:
            return [stored[name] for name in stored.files]


@dataclass(frozen=True)
class Progress:
    """How far a run has come: `epoch` epochs of stage number `stage` (from 0) are done."""

    stage: int
    epoch: int

    @classmethod
    def read(cls, run: Path) -> "Progress | None":
        file = run / "progress.json"
        return cls(**json.loads(file.read_text())) if file.is_file() else None

    def write(self, run: Path) -> None:
        _replace(run / "progress.json", lambda path: path.write_text(json.dumps({"stage": self.stage, "epoch": self.epoch})))


def _cosine(stage: Stage, steps_per_epoch: int) -> keras.optimizers.schedules.LearningRateSchedule:
    steps = stage.epochs * steps_per_epoch
    warmup = min(stage.warmup_steps, steps // 2)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0, decay_steps=max(steps - warmup, 1), alpha=0.01, warmup_target=stage.rate, warmup_steps=warmup
    )


def _predict(network: keras.Model, photos: Sequence[Photo], size: int, *, mirrored: bool = False) -> dict[str, Floats]:
    parts: list[dict[str, Floats]] = []
    for start in range(0, len(photos), 64):
        inputs = np.stack([to_float(to_input(read_pixels(photo.path), size)) for photo in photos[start : start + 64]])
        parts.append(network.predict_on_batch(inputs[:, :, ::-1] if mirrored else inputs))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _described(score: Score, split: Split) -> str:
    recall = " ".join(f"{label} {share:.2f}" for label, share in zip(split.labels, score.recall, strict=True))
    return f"val {score.accuracy:.4f} of {len(split.val)}  nll {score.nll:.3f}  recall {recall}"


def _write_lines(file: Path, lines: Sequence[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _replace(file: Path, write: Callable[[Path], object]) -> None:
    """Write beside and rename, so that a kill at any moment leaves the old file or the new one."""
    beside = file.with_name(f"writing.{file.name}")
    write(beside)
    beside.replace(file)
