"""A study: several processes take trials from one storage; each trial is a training run in its own folder.

Tree-structured Parzen estimators propose hyperparameters (Bergstra et al. 2011), and Hyperband ends trials early that are behind at the same epoch
(Li et al. 2018). The next process resumes the trial of a killed one at its last whole epoch.
"""

import hashlib
import json
import os
import socket
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import keras
import msgspec
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, BruteForceSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from converter.data.photos import Split
from device.common.errors import SortbinError
from device.policy.rules import find_rules, read_rules
from training.fit.history import METRICS
from training.fit.job import TrainingJob
from training.fit.metrics import Score
from training.fit.provenance import photos_digest
from training.fit.stages import DivergedError
from training.fit.trainer import fit
from training.tune.space import Choices, NumberRange, Space, Value, recipe_toml

Report = Callable[[str], None]
Sampler = Literal["tpe", "random", "grid"]
SAMPLERS: Mapping[Sampler, Callable[..., BaseSampler]] = {"tpe": TPESampler, "random": RandomSampler, "grid": BruteForceSampler}
"""grid: tries each combination of choices once"""
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
COUNTED = (*FINISHED, TrialState.RUNNING)
HEARTBEAT_S = 20
ATTEMPTS = 4
"""attempts to open the storage: processes that start together may create the tables at the same moment, and all but one fail once"""
SILENCE_S = 180
"""after so long without a heartbeat a process on another machine counts as dead"""


class StudyStorageError(SortbinError, ValueError):
    """A storage that cannot be opened; the message gives its URL and the reason."""


class StudyError(SortbinError, ValueError):
    """A study that is to go on with another space or other photos: its trials could not be compared."""


@dataclass(frozen=True)
class Search:
    """A search: its space, photos and start weights (see `build_trunk`). out: folder of the runs."""

    space: Space
    split: Split
    weights: str | None
    out: Path


def open_study(storage: str, name: str, space: Space, sampler: Sampler, seed: int) -> optuna.Study:
    """Open a study, or create it where the storage has none of that name. storage: an SQLAlchemy URL. Raises StudyStorageError."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # whoever catches the error of a trial reports it
    waiting = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}
    hyperband = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=space.epochs(), reduction_factor=3)
    pruner = optuna.pruners.NopPruner() if sampler == "grid" else hyperband
    left = ATTEMPTS
    while True:
        left -= 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                opened = optuna.storages.RDBStorage(
                    storage,
                    engine_kwargs=waiting,
                    heartbeat_interval=HEARTBEAT_S,
                    grace_period=SILENCE_S,
                    heartbeat_stale_trial_callback=_queue_again,
                )
            return optuna.create_study(
                storage=opened, study_name=name, sampler=SeededByTrial(sampler, seed), pruner=pruner, direction="maximize", load_if_exists=True
            )
        except Exception as error:  # each database raises its own errors
            if not left:
                raise StudyStorageError(f"--storage {storage}: cannot be opened: {str(error).strip().splitlines()[0]}") from error
            time.sleep(0.5)


def search(study: optuna.Study, asked: Search, trials: int, report: Report) -> None:
    """Run trials until the study has `trials` finished or pruned ones, with those of other processes. Failed trials do not count.

    Raises what `fit` raises, and StudyError for a study of another space or other photos.
    """
    _require_same_inputs(study, asked)
    _resume_dead(study, report)

    def objective(trial: optuna.Trial) -> float:
        if _trials_before(study, trial.number) >= trials:
            trial.set_user_attr("surplus", True)
            trial.study.stop()
            raise SurplusTrial
        return _train(trial, asked, report)

    while sum(trial.state in COUNTED for trial in study.get_trials(deepcopy=False)) < trials:
        study.optimize(objective, n_trials=1, catch=(SurplusTrial,))


def _require_same_inputs(study: optuna.Study, asked: Search) -> None:
    """Store the inputs of a new study; compare those of an earlier one."""
    space = msgspec.json.encode([asked.space.common, asked.space.sample], order="sorted")
    now = {"--space": hashlib.sha256(space).hexdigest(), "--data": photos_digest([*asked.split.train, *asked.split.val])}
    earlier = study.user_attrs
    for option, one in now.items():
        if option not in earlier:
            study.set_user_attr(option, one)
        elif earlier[option] != one:
            raise StudyError(f"--study {study.study_name}: was begun with another {option}; name another --out, or another --study")


class SurplusTrial(Exception):
    """Raised in a trial when enough trials were started before it."""


class SeededByTrial(BaseSampler):
    """Seeds the sampler by (seed, trial number): processes of one study draw differently, and a resumed study draws the same."""

    def __init__(self, kind: Sampler, seed: int) -> None:
        self._kind, self._seed = kind, seed
        self._sampler: BaseSampler = RandomSampler(seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        seed = (self._seed * 1_000_003 + trial.number) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._sampler = SAMPLERS[self._kind](seed=seed)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._sampler.after_trial(study, trial, state, values)


def sample_values(trial: optuna.Trial, space: Space) -> dict[str, Value]:
    """Let the study propose a value of each hyperparameter."""
    return {place: _sample_value(trial, place, entry) for place, entry in space.sample.items()}


def _sample_value(trial: optuna.Trial, place: str, entry: Choices | NumberRange) -> Value:
    match entry:
        case Choices():
            return cast(Value, trial.suggest_categorical(place, entry.stored))
        case NumberRange(whole=True):
            return trial.suggest_int(place, int(entry.low), int(entry.high), log=entry.log)
        case NumberRange():
            return trial.suggest_float(place, entry.low, entry.high, log=entry.log)


def folder_of(trial: FrozenTrial) -> str:
    """Name of the run's folder. A trial that resumes a dead one uses the dead one's folder."""
    return str(trial.user_attrs.get("run", f"trial-{trial.number}"))


def _train(trial: optuna.Trial, asked: Search, report: Report) -> float:
    trial.set_user_attr("process", _process(os.getpid()))
    trial.set_user_attr("n", len(asked.split.val))
    values = sample_values(trial, asked.space)
    recipe, run = asked.space.recipe(values), asked.out / str(trial.user_attrs.get("run", f"trial-{trial.number}"))
    shown = {place: f"{value:.4g}" if isinstance(value, float) else value for place, value in values.items()}
    report(f"trial {trial.number}: {', '.join(f'{place} {value}' for place, value in shown.items())}")
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.toml").write_text(recipe_toml(asked.space.table(values)), encoding="utf-8")
    for epoch, accuracy in _done(run, [stage.epochs for stage in recipe.stage]).items():
        trial.report(accuracy, epoch)

    def epoch_done(epoch: int, score: Score) -> None:
        trial.report(score.accuracy, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    rules = read_rules(find_rules(recipe.rules), asked.split.labels) if recipe.rules else None
    try:
        score = fit(TrainingJob(recipe, asked.split, rules), run, asked.weights, lambda line: report(f"trial {trial.number}: {line}"), epoch_done)
    except (optuna.TrialPruned, DivergedError) as ended:
        for left in run.glob("progress.*"):
            left.unlink()
        report(f"trial {trial.number}: pruned" + (f", since it diverged: {ended}" if isinstance(ended, DivergedError) else ""))
        raise optuna.TrialPruned from ended
    finally:
        keras.backend.clear_session()
    report(f"trial {trial.number}: validation accuracy {score.accuracy:.4f} of {score.n}")
    return score.accuracy


def _done(run: Path, epochs: Sequence[int]) -> dict[int, float]:
    """Validation accuracy of the epochs that an earlier process finished in this run, numbered over all stages."""
    file = run / METRICS
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if (run / "progress.json").is_file() else []
    return {sum(epochs[: line["stage"] - 1]) + line["epoch"]: line["val_accuracy"] for line in lines}


def _trials_before(study: optuna.Study, number: int) -> int:
    """How many finished, pruned or running trials have a lower number."""
    return sum(trial.number < number and trial.state in COUNTED for trial in study.get_trials(deepcopy=False))


def _queue_again(study: optuna.Study, dead: FrozenTrial) -> None:
    """Queue the hyperparameters of a dead trial again; the run goes on in its folder."""
    if dead.params:
        study.enqueue_trial(dead.params, user_attrs={"run": folder_of(dead)})


def _resume_dead(study: optuna.Study, report: Report) -> None:
    """Queue the running trials of dead processes of this machine again. On other machines missing heartbeats show dead processes."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, _, process = trial.user_attrs.get("process", "").rpartition(":")
        if host == socket.gethostname() and not _alive(int(process)):
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            _queue_again(study, trial)
            report(f"trial {trial.number}: its process {process} has ended; resuming it")


def _process(number: int) -> str:
    return f"{socket.gethostname()}:{number}"


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()
