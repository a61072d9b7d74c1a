"""Train a network in two phases: heads on frozen features, then the network in stages.

A run folder tells all there is to know: `recipe.toml`, `labels.txt`, `train.txt` and `val.txt`, `first_phase.jsonl` (the network before any training,
and what the first phase made of it), `metrics.jsonl` (one line an epoch), `tensorboard/`, `model.keras` (the result), `curves.png`, `report.html`,
`further.txt` where photos of other folders were trained on, and `begun.json`: what it was begun with.
While it trains it also holds `progress.*`, from which a killed run goes on at the epoch it had finished.
"""

import contextlib
import functools
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from converter.common.progress import Progress as Terminal
from converter.data.isolated_view import isolated_view
from converter.data.photos import Photo, Split
from device.common.arrays import Float32Array
from device.common.errors import SortbinError
from device.policy.rules import RulePack
from device.vision.inference.preprocess import Pixels, to_input
from training.fit.batches import TrainingBatches
from training.fit.callbacks import AfterEpoch, SeedDropoutByEpoch, ShowProgress
from training.fit.checkpoint import BestWeights, TrainingProgress, WeightAverage, load_state, save_state
from training.fit.curves import write_run_report
from training.fit.distillation import Teachers, distillation_loss
from training.fit.distributed import SingleWorker, Workers, WorkersError, require_agreement
from training.fit.feature_distillation import (
    FeatureDistillationError,
    FeatureTeacher,
    anchor_to_start,
    load_start_network,
    read_feature_teacher,
    save_start_weights,
)
from training.fit.history import FIRST_PHASE, METRICS, append_line, epoch_metrics, train_sample
from training.fit.linear_head import HeadExamples, fit_heads
from training.fit.metrics import Score, evaluate
from training.fit.optimizers import Anchor, adamw, cosine, sgd
from training.fit.provenance import INPUTS_FILE, RunInputs, require_same_inputs
from training.fit.recipe import Stage, TrainingRecipe
from training.fit.warm_start import WarmStartError, read_start_network
from training.models.backbones import build_trunk
from training.models.batch_norm_folding import fold_batch_norm, freeze_batch_norm
from training.models.fake_quantization import copy_weights_back, fake_quantize, measure_ranges
from training.models.network import HiddenLayers, add_heads, head_layers, resized, unfreeze

Report = Callable[[str], None]
EpochDone = Callable[[int, Score], None]

SINGLE_WORKER = SingleWorker()

ISOLATED_CACHE = 1024
"""validation photos whose items are kept by themselves from epoch to epoch: looking for each takes several times as long as judging it"""


class DivergedError(SortbinError, ArithmeticError):
    """Weights that grew beyond all bounds."""


@dataclass(frozen=True)
class TrainingJob:
    """What is to be learned: photos, their labels, their bins where the recipe names a rule pack, and the runs to learn from.

    start: the finished run whose network is trained further, if there is one. teachers: runs that are asked about the split's photos as they were
    taken, not about their items laid elsewhere. further: photos that are only trained on, beside those of the split. remembered: the run whose
    embeddings are kept, where the recipe has a `remember_share`; without one, those of where training starts.
    """

    recipe: TrainingRecipe
    split: Split
    rules: RulePack | None = None
    teachers: tuple[Path, ...] = ()
    start: Path | None = None
    further: tuple[Photo, ...] = ()
    remembered: Path | None = None

    @property
    def photos(self) -> tuple[Photo, ...]:
        """All that are trained on."""
        return self.split.train + self.further

    @property
    def bins(self) -> tuple[str, ...]:
        return tuple(self.rules.bins) if self.rules is not None else ()

    @property
    def widths(self) -> dict[str, int]:
        """Outputs that have targets, and how many columns each has."""
        return {"logits": len(self.split.labels)} | ({"bin_logits": len(self.bins)} if self.rules is not None else {})

    @property
    def outputs(self) -> tuple[str, ...]:
        """Outputs that the loss looks at."""
        return (*self.widths, *(("embedding",) if self.recipe.remember_share else ()))

    @property
    def looks_back(self) -> bool:
        """Whether the weights that training starts with are of account until it ends."""
        return self.recipe.start_decay > 0 or (self.recipe.remember_share > 0 and self.remembered is None)

    def indices(self, photos: Sequence[Photo]) -> dict[str, npt.NDArray[np.intp]]:
        """The right column of each output, one a photo."""
        found = {"logits": np.array([self.split.labels.index(photo.label) for photo in photos])}
        if self.rules is not None:
            found["bin_logits"] = np.array([self.bins.index(self.rules.bin_of(photo.label)) for photo in photos])
        return found

    @property
    def train_sample(self) -> tuple[Photo, ...]:
        """Training photos whose accuracy is told after each epoch, beside that of the validation photos."""
        return train_sample(self.split.train)

    def weights(self) -> Float32Array:
        """Weight of each training photo in the loss."""
        by_label = np.array(label_weights(self.photos, self.split.labels, self.recipe.class_weight_alpha), np.float32)
        return by_label[self.indices(self.photos)["logits"]]


def fit(
    lesson: TrainingJob, run: Path, weights: str | None, report: Report, epoch_done: EpochDone | None = None, workers: Workers = SINGLE_WORKER
) -> Score:
    """Train into the folder `run`, or go on where an earlier call was stopped, and return the validation score of the result.

    weights: start of the trunk, see `build_trunk`; of no account where the lesson has a start. epoch_done: told after each epoch how many of all
    stages are behind it, those that patience left out included, and its score; what it raises ends the run, which can go on later. workers: all of
    them call this with the same lesson, and each writes the same run into a folder of its own.
    Raises BackboneError, WeightsError, BeginningError, StartError, NetworkError, TeacherError, RememberError, PhotosError, WorkersError, and
    DivergedError where the weights grow beyond all bounds: the run stays at the last whole epoch.
    """
    recipe, split = lesson.recipe, lesson.split
    _require_shareable(recipe, workers)
    if recipe.start_share and lesson.start is None:
        raise WarmStartError("start_share: expected 0 where no finished run is trained further")
    if lesson.remembered is not None and not recipe.remember_share:
        raise FeatureDistillationError("remember_share: expected above 0 in the recipe where a run is to be remembered")
    keras.utils.set_random_seed(recipe.seed)
    run.mkdir(parents=True, exist_ok=True)
    progress = TrainingProgress.read(run)
    if progress is None and (run / INPUTS_FILE).is_file():
        _remove_leftovers(run)
    came = f"{run} goes on after stage {progress.stage + 1}, epoch {progress.epoch}" if progress else f"{run} starts from nothing"
    require_agreement(
        workers, f"{came}, with {len(lesson.photos)} photos", [*((progress.stage, progress.epoch) if progress else (-1, 0)), len(lesson.photos)]
    )
    beginning = RunInputs(recipe, split.train, split.val, lesson.start, lesson.teachers, lesson.remembered, lesson.further)
    require_same_inputs(run, beginning, goes_on=progress is not None)
    _write_lines(run / "labels.txt", split.labels)
    _write_lines(run / "train.txt", [photo.name for photo in split.train])
    _write_lines(run / "val.txt", [photo.name for photo in split.val])
    if lesson.further:
        _write_lines(run / "further.txt", [photo.name for photo in lesson.further])
    network = _build(lesson, None if progress else weights)
    if progress is not None:
        report(f"going on after stage {progress.stage + 1}, epoch {progress.epoch}")
    else:
        _first_phase(network, lesson, run, report)
    if progress is None and lesson.looks_back:
        save_start_weights(network, run)
    progress = progress or TrainingProgress(0, 0)
    for index in range(progress.stage, len(recipe.stage)):
        network = fine_tune(network, lesson, index, progress.epoch if index == progress.stage else 0, run, report, epoch_done, workers)
    if recipe.start_share:
        begun = zip(_build(lesson, None).get_weights(), network.get_weights(), strict=True)
        network.set_weights([recipe.start_share * start + (1 - recipe.start_share) * trained for start, trained in begun])
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=run) as folder:  # Keras saves only to names that end in .keras
        new = Path(folder, "model.keras")
        network.save(new)
        new.replace(run / "model.keras")
    for left in run.glob("progress.*"):
        left.unlink()
    score = evaluate(network, split.val, split.labels)
    write_run_report(run, score)
    return score


def _first_phase(network: keras.Model, lesson: TrainingJob, run: Path, report: Report) -> None:
    """Judge the network before any training, and fit its heads where the recipe asks for that."""
    recipe, split, photos = lesson.recipe, lesson.split, lesson.train_sample
    if len(photos) < len(split.train):
        report(f"train accuracy is of {len(photos)} of the {len(split.train)} training photos, as they are, labels in their shares")

    def judge(epoch: int, told: str) -> None:
        train, val = (evaluate(network, seen, split.labels) for seen in (photos, split.val))
        append_line(run / FIRST_PHASE, {"epoch": epoch, **epoch_metrics(train, val)})
        report(f"{told}: train {train.accuracy:.4f} of {train.n}  {val.described(split.labels)}")

    judge(0, "epoch 0, before any training")
    if not recipe.first_phase:
        return
    report(f"phase 1: heads on frozen features of {len(lesson.photos)} photos")
    train = HeadExamples(lesson.photos, lesson.indices(lesson.photos), lesson.weights())
    val = HeadExamples(split.val, lesson.indices(split.val), np.ones(len(split.val), np.float32))
    epochs = fit_heads(network, train, val, recipe)
    for epoch in epochs:
        append_line(run / FIRST_PHASE, epoch)
    judge(len(epochs) + 1, "phase 1")


def fine_tune(
    network: keras.Model,
    lesson: TrainingJob,
    index: int,
    first_epoch: int,
    run: Path,
    report: Report,
    epoch_done: EpochDone | None = None,
    workers: Workers = SINGLE_WORKER,
) -> keras.Model:
    """One stage of the second phase. Returns the network at its final size, with the averaged weights of the last epoch or, wherever patience is
    asked for and in the last stage, unless the recipe keeps the last there too, of the best. Where items are isolated in training, epochs are
    judged by whole and isolated photos alike.
    """
    recipe, split = lesson.recipe, lesson.split
    stage = recipe.stage[index]
    network.set_weights([keras.ops.convert_to_numpy(weight) for weight in workers.mean(network.get_weights())])
    size = recipe.size_at(stage)
    staged, finished = _staged_copy(network, size, recipe.precision), resized(network, recipe.final_size)
    _choose_trainable(staged, recipe, stage)
    judged = finished
    if stage.fake_quantize:
        staged, judged = fake_quantize(staged), fake_quantize(finished)
    start = load_start_network(staged, run) if lesson.looks_back else None
    remembered = _feature_teacher(lesson, staged, start) if recipe.remember_share else None
    trained = keras.Model(staged.input, {name: staged.output[name] for name in lesson.outputs})
    batches = _batches(lesson, stage, index, first_epoch, workers, remembered)
    anchor = anchor_to_start(staged, start, recipe.start_decay) if start and recipe.start_decay else None
    trained.compile(optimizer=_optimizer(staged, recipe, stage, len(batches), workers, anchor), jit_compile=False, **_losses(lesson, remembered))
    average, best = WeightAverage(stage.ema), BestWeights(run / f"progress.best{index}.npz")
    terminal = Terminal()
    if first_epoch:
        trained.optimizer.build(trained.trainable_variables)
        load_state(trained, run / "progress.state.npz")
        average.load(run / "progress.average.npz")
    elif stage.fake_quantize:
        measure_ranges(trained, lesson.photos, recipe.seed)

    @functools.lru_cache(ISOLATED_CACHE)
    def by_itself(photo: Photo) -> Pixels:
        return to_input(isolated_view(photo), recipe.final_size)

    def after_epoch(epoch: int, logs: dict[str, float], seconds: float) -> bool:
        judged.set_weights(average.weights)
        whole = evaluate(judged, split.val, split.labels)
        train, items, score = evaluate(judged, lesson.train_sample, split.labels), None, whole
        if recipe.views(stage).isolated_share:
            items = evaluate(judged, split.val, split.labels, by_itself)
            score = whole.beside(items)
        if not math.isfinite(score.nll):
            place = f"stage {index + 1}, epoch {epoch + 1}: nll is {score.nll:.0f}"
            raise DivergedError(f"{run}: {place}, the network computes no numbers any more; lower that stage's learning_rate and name another folder")
        images_per_s = len(lesson.photos) / seconds
        logs["loss"] = _mean(workers, logs["loss"])
        logs |= epoch_metrics(train, whole, items)
        logs["rate"] = float(trained.optimizer.learning_rate)
        told = f"stage {index + 1}/{len(recipe.stage)} ({size} px) epoch {epoch + 1}/{stage.epochs}  loss {logs['loss']:.4f}"
        of_items = f"  isolated: {items.described(split.labels)}" if items else ""
        terminal.step("")
        report(f"{told}  train {train.accuracy:.4f} of {train.n}  {whole.described(split.labels)}{of_items}  {images_per_s:.0f} images/s")
        append_line(run / METRICS, {"stage": index + 1, "epoch": epoch + 1, **logs, "val_recall": whole.recall, "images_per_s": images_per_s})
        best.offer(score, epoch, average.weights)
        save_state(trained, run / "progress.state.npz")
        average.save(run / "progress.average.npz")
        TrainingProgress(index, epoch + 1).write(run)
        if epoch_done is not None:
            epoch_done(sum(before.epochs for before in recipe.stage[:index]) + epoch + 1, score)
        impatient = stage.patience is not None and epoch - best.epoch >= stage.patience
        return _mean(workers, float(impatient)) > 0.5

    own = [average, SeedDropoutByEpoch(recipe.seed * workers.count + workers.index), AfterEpoch(after_epoch), ShowProgress(terminal)]
    with contextlib.closing(terminal):
        trained.fit(
            batches,
            initial_epoch=first_epoch,
            epochs=stage.epochs,
            shuffle=False,  # the batches are shuffled already; Keras would draw their order anew in a run that goes on
            callbacks=[*own, keras.callbacks.TensorBoard(str(run / "tensorboard" / f"stage{index + 1}"), write_graph=False)],
            verbose=0,
        )
    keep_best = stage.patience is not None or (index == len(recipe.stage) - 1 and recipe.keep == "best")
    judged.set_weights(best.weights() if keep_best else average.weights)
    if stage.fake_quantize:
        copy_weights_back(judged, finished)
    return finished


def label_weights(photos: Sequence[Photo], labels: Sequence[str], alpha: float) -> list[float]:
    """Weight of each label in the loss: 1 + alpha * (balanced - 1), where balanced makes every label count the same."""
    counts = Counter(photo.label for photo in photos)
    balanced = [len(photos) / (len(labels) * counts[label]) for label in labels]
    return [1 + alpha * (weight - 1) for weight in balanced]


def _build(lesson: TrainingJob, weights: str | None) -> keras.Model:
    recipe = lesson.recipe
    keras.utils.set_random_seed(recipe.seed)  # again, and at once before the weights are drawn: whatever else drew from Python's generator has no say
    if lesson.start is not None:
        network = read_start_network(lesson.start, lesson.widths)
        return fold_batch_norm(network) if recipe.batch_norm == "fold" else network
    trunk = build_trunk(recipe.backbone, recipe.final_size, width=recipe.width, scratch=recipe.scratch, weights=weights)
    if recipe.batch_norm == "fold":
        trunk = fold_batch_norm(trunk)
    hidden = HiddenLayers(recipe.dense, recipe.dense_activation, recipe.dense_dropout)
    return add_heads(trunk, len(lesson.split.labels), dropout=recipe.dropout, seed=recipe.seed, hidden=hidden, bin_count=len(lesson.bins))


def _staged_copy(network: keras.Model, size: int, precision: str) -> keras.Model:
    """A copy of the network for training at another input size, its layers computing in `precision`."""
    if precision == "float32":
        return resized(network, size)
    copy = keras.models.clone_model(
        network,
        input_tensors=keras.Input((size, size, 3)),
        clone_function=lambda layer: layer.__class__.from_config(layer.get_config() | {"dtype": precision}),
    )
    copy.set_weights(network.get_weights())
    return copy


def _choose_trainable(staged: keras.Model, recipe: TrainingRecipe, stage: Stage) -> None:
    unfreeze(staged, stage.unfreeze)
    if recipe.batch_norm != "train":
        freeze_batch_norm(staged)


def _feature_teacher(lesson: TrainingJob, staged: keras.Model, start: keras.Model | None) -> FeatureTeacher:
    known = start if lesson.remembered is None else read_feature_teacher(lesson.remembered, staged)
    return FeatureTeacher(known, lesson.photos, lesson.recipe.seed)


def _mean(workers: Workers, value: float) -> float:
    (averaged,) = workers.mean([np.float32(value)])
    return float(averaged)


def _require_shareable(recipe: TrainingRecipe, workers: Workers) -> None:
    """Refuse what would make workers drift apart or wait for each other for ever."""
    if workers.count > 1 and recipe.batch_norm == "train":
        raise WorkersError("batch_norm: expected fold or frozen with several workers: each would have statistics of its own")
    if workers.count > 1 and recipe.precision == "mixed_float16":
        raise WorkersError("precision: expected float32 or mixed_bfloat16 with several workers: each would skip other steps")
    if workers.count > 1 and any(stage.fake_quantize for stage in recipe.stage):
        raise WorkersError("fake_quantize: expected no stage with it with several workers: each would have ranges of its own")


def _batches(lesson: TrainingJob, stage: Stage, index: int, first_epoch: int, workers: Workers, remembered: FeatureTeacher | None) -> TrainingBatches:
    recipe, split = lesson.recipe, lesson.split
    wanted = lesson.indices(lesson.photos)
    targets = np.concatenate([np.eye(width, dtype=np.float32)[wanted[name]] for name, width in lesson.widths.items()], axis=1)
    teach = None
    if lesson.teachers:
        teach = Teachers(lesson.teachers, split.labels, recipe.size_at(stage), recipe.teacher_temperature).targets
    return TrainingBatches(
        lesson.photos,
        targets,
        lesson.widths,
        lesson.weights(),
        size=recipe.size_at(stage),
        batch=stage.batch,
        mixup=stage.mixup,
        cutmix=stage.cutmix,
        augmentation=recipe.views(stage),
        seed=recipe.seed * 1000 + index,
        first_epoch=first_epoch,
        teach=teach,
        untaught=len(lesson.further),
        remember=remembered.embeddings if remembered else None,
        worker=(workers.index, workers.count),
    )


def _optimizer(
    staged: keras.Model, recipe: TrainingRecipe, stage: Stage, steps_per_epoch: int, workers: Workers, anchor: Anchor | None
) -> keras.optimizers.Optimizer:
    make = adamw if recipe.optimizer == "adamw" else sgd
    rate = cosine(stage.learning_rate, stage.epochs * steps_per_epoch, stage.warmup_steps)
    optimizer = make(rate, recipe.weight_decay, dict.fromkeys(head_layers(staged), recipe.head_factor), workers, anchor)
    return keras.optimizers.LossScaleOptimizer(optimizer) if recipe.precision == "mixed_float16" else optimizer


def _losses(lesson: TrainingJob, remembered: FeatureTeacher | None) -> dict[str, object]:
    recipe = lesson.recipe
    smoothed = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing)
    losses: dict[str, object] = {"logits": smoothed}
    if lesson.teachers:
        losses["logits"] = distillation_loss(recipe.label_smoothing, recipe.teacher_share, recipe.teacher_temperature)
    shares = {"logits": 1.0}
    if lesson.rules is not None:
        losses["bin_logits"] = smoothed
        shares = {"logits": 1 - recipe.bin_share, "bin_logits": recipe.bin_share}
    if remembered is not None:
        losses["embedding"] = remembered.strayed
        shares = {name: (1 - recipe.remember_share) * share for name, share in shares.items()} | {"embedding": recipe.remember_share}
    return {"loss": losses, "loss_weights": shares}


def _remove_leftovers(run: Path) -> None:
    """Remove what a run left that did not come to the end of an epoch: nothing goes on from it, and another recipe's must not count."""
    for left in (*run.glob("progress.*"), run / METRICS, run / FIRST_PHASE, run / "further.txt"):
        left.unlink(missing_ok=True)


def _write_lines(file: Path, lines: Sequence[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
