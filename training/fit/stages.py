"""The second phase: fine-tuning in stages, each of some epochs at one input size."""

import contextlib
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from converter.common.progress import Progress
from converter.data.isolated_view import isolated_view
from converter.data.photos import Photo
from device.common.errors import SortbinError
from device.vision.inference.preprocess import Pixels, to_input
from training.fit.batches import BatchSpec, TrainingBatches, TrainingExamples
from training.fit.callbacks import AfterEpoch, KeepMemory, SeedDropoutByEpoch, ShowProgress
from training.fit.checkpoint import BestWeights, TrainingProgress, WeightAverage, load_state, save_state
from training.fit.distillation import Teachers, distillation_loss
from training.fit.distributed import SINGLE_WORKER, Workers
from training.fit.feature_distillation import FeatureTeacher, anchor_to_start, load_start_network, read_feature_teacher
from training.fit.history import METRICS, append_line, epoch_metrics
from training.fit.job import TrainingJob
from training.fit.metrics import Score, evaluate
from training.fit.optimizers import Anchor, adamw, cosine, sgd
from training.fit.recipe import Stage, TrainingRecipe
from training.models.batch_norm_folding import freeze_batch_norm
from training.models.fake_quantization import copy_weights_back, fake_quantize, measure_ranges
from training.models.network import head_layers, resized, unfreeze

Report = Callable[[str], None]
EpochDone = Callable[[int, Score], None]

ISOLATED_CACHE = 1024
"""validation photos whose isolated view is stored from epoch to epoch: isolating takes several times as long as judging"""


class DivergedError(SortbinError, ArithmeticError):
    """A training run whose weights became infinite or no numbers."""


@dataclass(frozen=True)
class RunContext:
    """What all stages of a run share. report: gets lines for a person. epoch_done: see `fit`."""

    job: TrainingJob
    run: Path
    report: Report
    epoch_done: EpochDone | None = None
    workers: Workers = SINGLE_WORKER


class StageNetworks(NamedTuple):
    """The networks of one stage: the one that is trained, the one that is judged after each epoch, and the result at its final size."""

    staged: keras.Model
    judged: keras.Model
    finished: keras.Model


def fine_tune(network: keras.Model, context: RunContext, index: int, first_epoch: int) -> keras.Model:
    """Train stage number `index` (from 0) from `first_epoch` on, and return the network at its final size.

    Its weights are the averaged ones: of the best epoch where the stage has patience, and in the last stage unless the recipe keeps the last epoch;
    else of the last epoch. Raises DivergedError.
    """
    job, run, workers = context.job, context.run, context.workers
    recipe, stage = job.recipe, job.recipe.stage[index]
    network.set_weights([keras.ops.convert_to_numpy(weight) for weight in workers.mean(network.get_weights())])
    networks = _stage_networks(network, recipe, stage)
    staged, judged, finished = networks
    start = load_start_network(staged, run) if job.needs_start_weights else None
    features = _feature_teacher(job, staged, start) if recipe.remember_share else None
    trained = keras.Model(staged.input, {name: staged.output[name] for name in job.loss_outputs})
    batches = _batches(context, index, first_epoch, features)
    anchor = anchor_to_start(staged, start, recipe.start_decay) if start and recipe.start_decay else None
    optimizer = _optimizer(staged, job, stage, len(batches), workers, anchor)
    trained.compile(optimizer=optimizer, jit_compile=False, **_losses(job, features))
    trained.optimizer.build(trained.trainable_variables)  # else Keras traces the training step twice: first to make these variables
    average, best = WeightAverage(stage.ema), BestWeights(run / f"progress.best{index}.npz")
    if first_epoch:
        load_state(trained, run / "progress.state.npz")
        average.load(run / "progress.average.npz")
    elif stage.fake_quantize:
        measure_ranges(trained, job.photos, recipe.seed)
    terminal = Progress()
    with contextlib.closing(terminal):
        trained.fit(
            batches,
            initial_epoch=first_epoch,
            epochs=stage.epochs,
            shuffle=False,  # the batches are shuffled already; Keras would shuffle otherwise in a run that goes on
            callbacks=[
                KeepMemory(),
                average,
                SeedDropoutByEpoch(recipe.seed * workers.count + workers.index),
                AfterEpoch(_EpochEnd(context, index, batches.views, judged, trained, average, best, terminal)),
                ShowProgress(terminal),
                keras.callbacks.TensorBoard(str(run / "tensorboard" / f"stage{index + 1}"), write_graph=False),
            ],
            verbose=0,
        )
    keep_best = stage.patience is not None or (index == len(recipe.stage) - 1 and recipe.keep == "best")
    judged.set_weights(best.weights() if keep_best else average.weights)
    if stage.fake_quantize:
        copy_weights_back(judged, finished)
    return finished


@dataclass(frozen=True, eq=False)
class _EpochEnd:
    """Measures, reports and saves after each epoch of a stage."""

    context: RunContext
    index: int
    views: int
    judged: keras.Model
    trained: keras.Model
    average: WeightAverage
    best: BestWeights
    terminal: Progress

    def __call__(self, epoch: int, logs: dict[str, float], seconds: float) -> bool:
        """epoch: from 0. logs: of Keras; the measures are added. Returns whether the stage ends here. Raises DivergedError."""
        job, run, workers = self.context.job, self.context.run, self.context.workers
        recipe, stage, labels = job.recipe, job.recipe.stage[self.index], job.split.labels
        self.judged.set_weights(self.average.weights)
        whole, train = evaluate(self.judged, job.split.val, labels), evaluate(self.judged, job.train_sample, labels)
        isolated = evaluate(self.judged, job.split.val, labels, self._isolated) if recipe.views(stage).isolated_share else None
        score = whole.averaged_with(isolated) if isolated else whole
        if not math.isfinite(score.nll):
            place = f"stage {self.index + 1}, epoch {epoch + 1}: nll is {score.nll:.0f}"
            raise DivergedError(f"{run}: {place}: the weights grew beyond all bounds; lower that stage's learning_rate and name another folder")
        images_per_s = self.views / seconds
        logs["loss"] = _mean(workers, logs["loss"])
        logs |= epoch_metrics(train, whole, isolated)
        logs["rate"] = float(self.trained.optimizer.learning_rate)
        self.terminal.step("")
        self.context.report(
            f"stage {self.index + 1}/{len(recipe.stage)} ({recipe.size_at(stage)} px) epoch {epoch + 1}/{stage.epochs}  loss {logs['loss']:.4f}"
            f"  train {train.accuracy:.4f} of {train.n}  {whole.summary(labels)}"
            f"{f'  isolated: {isolated.summary(labels)}' if isolated else ''}  {images_per_s:.0f} images/s"
        )
        append_line(run / METRICS, {"stage": self.index + 1, "epoch": epoch + 1, **logs, "val_recall": whole.recall, "images_per_s": images_per_s})
        self.best.offer(score, epoch, self.average.weights)
        save_state(self.trained, run / "progress.state.npz")
        self.average.save(run / "progress.average.npz")
        TrainingProgress(self.index, epoch + 1).write(run)
        if self.context.epoch_done is not None:
            self.context.epoch_done(sum(earlier.epochs for earlier in recipe.stage[: self.index]) + epoch + 1, score)
        no_better = stage.patience is not None and epoch - self.best.epoch >= stage.patience
        return _mean(workers, float(no_better)) > 0.5

    @functools.cached_property
    def _isolated(self) -> Callable[[Photo], Pixels]:
        size = self.context.job.recipe.final_size
        return functools.lru_cache(ISOLATED_CACHE)(lambda photo: to_input(isolated_view(photo), size))


def _stage_networks(network: keras.Model, recipe: TrainingRecipe, stage: Stage) -> StageNetworks:
    staged, finished = _staged_copy(network, recipe.size_at(stage), recipe.precision), resized(network, recipe.final_size)
    unfreeze(staged, stage.unfreeze)
    if recipe.batch_norm != "train":
        freeze_batch_norm(staged)
    if stage.fake_quantize:
        return StageNetworks(fake_quantize(staged), fake_quantize(finished), finished)
    return StageNetworks(staged, finished, finished)


def _staged_copy(network: keras.Model, size: int, precision: str) -> keras.Model:
    """A copy of the network for another input size, its layers computing in `precision`."""
    if precision == "float32":
        return resized(network, size)
    copy = keras.models.clone_model(
        network,
        input_tensors=keras.Input((size, size, 3)),
        clone_function=lambda layer: layer.__class__.from_config(layer.get_config() | {"dtype": precision}),
    )
    copy.set_weights(network.get_weights())
    return copy


def _feature_teacher(job: TrainingJob, staged: keras.Model, start: keras.Model | None) -> FeatureTeacher:
    teacher = start if job.feature_teacher is None else read_feature_teacher(job.feature_teacher, staged)
    return FeatureTeacher(teacher, job.photos, job.recipe.seed)


def _mean(workers: Workers, value: float) -> float:
    (averaged,) = workers.mean([np.float32(value)])
    return float(averaged)


def _batches(context: RunContext, index: int, first_epoch: int, features: FeatureTeacher | None) -> TrainingBatches:
    job, workers = context.job, context.workers
    recipe, stage = job.recipe, job.recipe.stage[index]
    size = recipe.size_at(stage)
    indices = job.target_indices(job.photos)
    targets = np.concatenate([np.eye(width, dtype=np.float32)[indices[name]] for name, width in job.output_widths.items()], axis=1)
    teachers = Teachers(job.teachers, job.split.labels, size, recipe.teacher_temperature) if job.teachers else None
    return TrainingBatches(
        TrainingExamples(job.photos, targets, job.output_widths, job.photo_weights(), len(job.extra_photos), job.draws()),
        BatchSpec(size, stage.batch, stage.mixup, stage.cutmix, recipe.views(stage), recipe.seed * 1000 + index),
        first_epoch=first_epoch,
        teach=teachers.targets if teachers else None,
        embed=features.embeddings if features else None,
        worker=(workers.index, workers.count),
    )


def _optimizer(
    staged: keras.Model, job: TrainingJob, stage: Stage, steps_per_epoch: int, workers: Workers, anchor: Anchor | None
) -> keras.optimizers.Optimizer:
    recipe = job.recipe
    make = adamw if recipe.optimizer == "adamw" else sgd
    rate = cosine(stage.learning_rate, stage.epochs * steps_per_epoch, stage.warmup_steps)
    optimizer = make(rate, recipe.weight_decay, dict.fromkeys(head_layers(staged), recipe.head_factor), workers, anchor)
    return keras.optimizers.LossScaleOptimizer(optimizer) if recipe.precision == "mixed_float16" else optimizer


def _losses(job: TrainingJob, features: FeatureTeacher | None) -> dict[str, Any]:
    """The loss of each output and its weight, as arguments of `compile`."""
    recipe = job.recipe
    smoothed = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing)
    losses: dict[str, Any] = {"logits": smoothed}
    if job.teachers:
        losses["logits"] = distillation_loss(recipe.label_smoothing, recipe.teacher_share, recipe.teacher_temperature)
    shares = {"logits": 1.0}
    if job.rules is not None:
        losses["bin_logits"] = smoothed
        shares = {"logits": 1 - recipe.bin_share, "bin_logits": recipe.bin_share}
    if features is not None:
        losses["embedding"] = features.loss
        shares = {name: (1 - recipe.remember_share) * share for name, share in shares.items()} | {"embedding": recipe.remember_share}
    return {"loss": losses, "loss_weights": shares}
