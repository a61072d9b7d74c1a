"""Train a network in two phases: heads on frozen features, then the whole network in stages.

A run folder holds `recipe.toml`, `labels.txt`, `train.txt`, `val.txt`, `further.txt` (extra photos, if any), `begun.json` (the inputs of the run),
`first_phase.jsonl` (the network before training and after the first phase), `metrics.jsonl` (one line an epoch), `tensorboard/`, `model.keras` (the
result), `curves.png` and `report.html`. During training it also holds `progress.*`, from which a killed run goes on at its last whole epoch.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from training.fit.checkpoint import TrainingProgress
from training.fit.curves import write_run_report
from training.fit.distributed import SINGLE_WORKER, Workers, WorkersError, require_agreement
from training.fit.feature_distillation import FeatureDistillationError, save_start_weights
from training.fit.history import FIRST_PHASE, METRICS, append_line, epoch_metrics
from training.fit.job import TrainingJob
from training.fit.linear_head import HeadExamples, fit_heads
from training.fit.metrics import Score, evaluate
from training.fit.provenance import INPUTS_FILE, RunInputs, require_same_inputs
from training.fit.stages import EpochDone, Report, RunContext, fine_tune
from training.fit.warm_start import WarmStartError, read_start_network
from training.models.backbones import build_trunk
from training.models.batch_norm_folding import fold_batch_norm
from training.models.network import HiddenLayers, add_heads


def fit(
    job: TrainingJob, run: Path, weights: str | None, report: Report, epoch_done: EpochDone | None = None, workers: Workers = SINGLE_WORKER
) -> Score:
    """Train into the folder `run`, or go on where an earlier call was stopped, and return the validation score of the result.

    weights: start of the trunk, see `build_trunk`; not used where the job has a start. report: gets lines for a person. epoch_done: called after each
    epoch with how many epochs of all stages are behind it, those that patience skipped included, and its score; what it raises ends the run, which
    can go on later. workers: each calls this with the same job and a run folder of its own.
    Raises BackboneError, WeightsError, ProvenanceError, WarmStartError, NetworkError, TeacherError, FeatureDistillationError, PhotosError,
    WorkersError, and DivergedError where the weights grow beyond all bounds: the run stays at its last whole epoch.
    """
    recipe, split = job.recipe, job.split
    _require_possible(job, workers)
    keras.utils.set_random_seed(recipe.seed)
    run.mkdir(parents=True, exist_ok=True)
    progress = TrainingProgress.read(run)
    if progress is None and (run / INPUTS_FILE).is_file():
        _remove_leftovers(run)
    _require_same_place(job, run, progress, workers)
    inputs = RunInputs(recipe, split.train, split.val, job.start, job.teachers, job.feature_teacher, job.extra_photos)
    require_same_inputs(run, inputs, resumed=progress is not None)
    _write_lists(job, run)
    network = _build(job, None if progress else weights)
    if progress is not None:
        report(f"going on after stage {progress.stage + 1}, epoch {progress.epoch}")
    else:
        _first_phase(network, job, run, report)
        if job.needs_start_weights:
            save_start_weights(network, run)
    progress = progress or TrainingProgress(0, 0)
    context = RunContext(job, run, report, epoch_done, workers)
    for index in range(progress.stage, len(recipe.stage)):
        network = fine_tune(network, context, index, progress.epoch if index == progress.stage else 0)
    if recipe.start_share:
        pairs = zip(_build(job, None).get_weights(), network.get_weights(), strict=True)
        network.set_weights([recipe.start_share * start + (1 - recipe.start_share) * trained for start, trained in pairs])
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=run) as folder:  # Keras saves only to names that end in .keras
        new = Path(folder, "model.keras")
        network.save(new)
        new.replace(run / "model.keras")
    for left in run.glob("progress.*"):
        left.unlink()
    score = evaluate(network, split.val, split.labels)
    write_run_report(run, score)
    return score


def _first_phase(network: keras.Model, job: TrainingJob, run: Path, report: Report) -> None:
    """Measure the network before any training, and fit its heads where the recipe asks for it."""
    recipe, split, photos = job.recipe, job.split, job.train_sample
    if len(photos) < len(split.train):
        report(f"train accuracy is of {len(photos)} of the {len(split.train)} training photos, as they are, labels in their shares")

    def judge(epoch: int, when: str) -> None:
        train, val = (evaluate(network, part, split.labels) for part in (photos, split.val))
        append_line(run / FIRST_PHASE, {"epoch": epoch, **epoch_metrics(train, val)})
        report(f"{when}: train {train.accuracy:.4f} of {train.n}  {val.summary(split.labels)}")

    judge(0, "epoch 0, before any training")
    if not recipe.first_phase:
        return
    report(f"phase 1: heads on frozen features of {len(job.photos)} photos")
    train = HeadExamples(job.photos, job.target_indices(job.photos), job.first_phase_weights())
    val = HeadExamples(split.val, job.target_indices(split.val), np.ones(len(split.val), np.float32))
    epochs = fit_heads(network, train, val, recipe)
    for epoch in epochs:
        append_line(run / FIRST_PHASE, epoch)
    judge(len(epochs) + 1, "phase 1")


def _build(job: TrainingJob, weights: str | None) -> keras.Model:
    recipe = job.recipe
    keras.utils.set_random_seed(recipe.seed)  # again, just before the weights are drawn: other draws must not change them
    if job.start is not None:
        network = read_start_network(job.start, job.output_widths)
        return fold_batch_norm(network) if recipe.batch_norm == "fold" else network
    trunk = build_trunk(recipe.backbone, recipe.final_size, width=recipe.width, scratch=recipe.scratch, weights=weights)
    if recipe.batch_norm == "fold":
        trunk = fold_batch_norm(trunk)
    hidden = HiddenLayers(recipe.dense, recipe.dense_activation, recipe.dense_dropout)
    return add_heads(trunk, len(job.split.labels), dropout=recipe.dropout, seed=recipe.seed, hidden=hidden, bin_count=len(job.bins))


def _require_possible(job: TrainingJob, workers: Workers) -> None:
    """Refuse a recipe that does not fit the job, or that makes workers drift apart or wait for each other for ever."""
    recipe = job.recipe
    if recipe.start_share and job.start is None:
        raise WarmStartError("start_share: expected 0 where no finished run is trained further")
    if job.feature_teacher is not None and not recipe.remember_share:
        raise FeatureDistillationError("remember_share: expected above 0 in the recipe where a run is to be remembered")
    if workers.count > 1 and recipe.batch_norm == "train":
        raise WorkersError("batch_norm: expected fold or frozen with several workers: each would have statistics of its own")
    if workers.count > 1 and recipe.precision == "mixed_float16":
        raise WorkersError("precision: expected float32 or mixed_bfloat16 with several workers: each would skip other steps")
    if workers.count > 1 and any(stage.fake_quantize for stage in recipe.stage):
        raise WorkersError("fake_quantize: expected no stage with it with several workers: each would have ranges of its own")


def _require_same_place(job: TrainingJob, run: Path, progress: TrainingProgress | None, workers: Workers) -> None:
    """Raise WorkersError unless all workers start, or go on, at the same epoch with as many photos."""
    came = f"{run} goes on after stage {progress.stage + 1}, epoch {progress.epoch}" if progress else f"{run} starts from nothing"
    place = (progress.stage, progress.epoch) if progress else (-1, 0)
    require_agreement(workers, f"{came}, with {len(job.photos)} photos", [*place, len(job.photos)])


def _write_lists(job: TrainingJob, run: Path) -> None:
    _write_lines(run / "labels.txt", job.split.labels)
    _write_lines(run / "train.txt", [photo.name for photo in job.split.train])
    _write_lines(run / "val.txt", [photo.name for photo in job.split.val])
    if job.extra_photos:
        _write_lines(run / "further.txt", [photo.name for photo in job.extra_photos])


def _remove_leftovers(run: Path) -> None:
    """Remove what a run left that did not come to the end of an epoch: nothing goes on from it, and another recipe's must not count."""
    for left in (*run.glob("progress.*"), run / METRICS, run / FIRST_PHASE, run / "further.txt"):
        left.unlink(missing_ok=True)


def _write_lines(file: Path, lines: Sequence[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
