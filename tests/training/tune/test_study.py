"""Studies: shared by processes, resumed after a kill, pruned."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from converter.data.photos import Split, read_split
from training.cli import main
from training.tune.space import Space, read_space
from training.tune.study import Search, StudyError, StudyStorageError, folder_of, open_study, sample_values, search

SPACE = """
[recipe]
backbone = "scratch_cnn"
first_phase = false
batch_norm = "train"
scratch = { layers = 2, features = 4, kernel = 3, activation = "relu" }
[[recipe.stage]]
size = 32
epochs = 2
learning_rate = 1e-3
batch = 16
warmup_steps = 0
ema = 0.0
[sample."stage.0.learning_rate"]
low = 1e-4
high = 1e-2
log = true
[sample."scratch.features"]
choices = [4, 8]
"""
GRID = """
[sample.width]
choices = [0.5, 1.0, 2.0]
[sample.dropout]
choices = [0.0, 0.2]
"""
COMMAND = """
import argparse, sys
from training.commands import tune
parser = argparse.ArgumentParser()
tune.add_parser(parser.add_subparsers())
arguments = parser.parse_args(sys.argv[1:])
sys.exit(arguments.run(arguments))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "space.toml").write_text(SPACE)
    return tmp_path / "space.toml"


@pytest.fixture
def space(file: Path) -> Space:
    return read_space(file)


def storage(folder: Path) -> str:
    return f"sqlite:///{folder / 'study.db'}"


def silent(line: str) -> None:
    pass


def finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))


def test_two_processes_share_the_trials_of_a_study(file: Path, space: Space, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    study = open_study(storage(out), "sortbin", space, "tpe", 1)
    asked = ["tune", "--space", str(file), "--data", str(shapes), "--weights", "none", "--out", str(out), "--trials", "3"]
    other = subprocess.Popen([sys.executable, "-c", COMMAND, *asked], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not study.get_trials(states=(TrialState.RUNNING,)):
        assert other.poll() is None, other.communicate()[0]
        time.sleep(0.05)
    assert main(asked) == 0
    said, _ = other.communicate(timeout=240)
    assert other.returncode == 0, said
    trials = finished(study)
    assert len(trials) == 3
    assert len({trial.user_attrs["process"] for trial in trials}) == 2, "each process ran some of them"
    assert len({trial.params["stage.0.learning_rate"] for trial in trials}) == 3, "no two drew the same"
    assert json.loads((out / "report.json").read_text())["complete"] >= 1
    assert (out / "best-recipe.toml").is_file()


def test_a_study_that_several_create_at_once_is_one(space: Space, tmp_path: Path) -> None:
    begin = threading.Barrier(4)

    def create(number: int) -> optuna.Study:
        begin.wait(30)
        return open_study(storage(tmp_path), "sortbin", space, "tpe", 1)

    with ThreadPoolExecutor(4) as threads:
        assert len({study._study_id for study in threads.map(create, range(4))}) == 1


def test_the_trial_of_a_killed_process_is_resumed_once(space: Space, shapes: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    asked = Search(space, read_split(shapes), None, tmp_path)
    study = open_study(storage(tmp_path), "sortbin", space, "tpe", 1)

    def die(line: str) -> None:
        if "epoch 2/2" in line:
            raise Killed

    with pytest.raises(Killed):
        search(study, asked, 1, die)
    left = study.trials[0]
    assert left.state == TrialState.RUNNING
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait(timeout=30)
    study._storage.set_trial_user_attr(left._trial_id, "process", f"{socket.gethostname()}:{dead.pid}")

    lines: list[str] = []
    again = open_study(storage(tmp_path), "sortbin", space, "tpe", 1)
    search(again, asked, 1, lines.append)
    (trial,) = finished(again)
    assert folder_of(trial) == "trial-0"
    assert trial.params == left.params
    assert any("going on after stage 1, epoch 1" in line for line in lines)
    assert sorted(trial.intermediate_values) == [1, 2], "the epochs before the kill are known"
    assert (tmp_path / "trial-0" / "model.keras").is_file()
    search(again, asked, 1, silent)
    assert len(finished(again)) == 1, "a study that has its trials runs no more"


def test_a_pruned_trial_leaves_no_weights(space: Space, shapes: Path, tmp_path: Path) -> None:
    study = open_study(storage(tmp_path), "sortbin", space, "random", 1)
    study.pruner = optuna.pruners.ThresholdPruner(lower=1.1)
    search(study, Search(space, read_split(shapes), None, tmp_path), 1, silent)
    (trial,) = study.trials
    assert trial.state == TrialState.PRUNED
    assert list(trial.intermediate_values) == [1]
    assert not list((tmp_path / "trial-0").glob("progress.*"))


def test_a_grid_tries_each_combination_once_and_prunes_none(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(SPACE.split("[sample.")[0] + GRID)
    space = read_space(tmp_path / "grid.toml")
    assert space.combinations() == 6
    for _ in range(6):
        study = open_study(storage(tmp_path), "grid", space, "grid", 1)
        study.optimize(lambda trial: float(len(sample_values(trial, space))), n_trials=1)
    tried = [tuple(trial.params.values()) for trial in finished(study)]
    assert len(tried) == len(set(tried)) == 6
    assert isinstance(study.pruner, optuna.pruners.NopPruner)


def test_a_grid_over_a_range_is_refused(file: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["tune", "--space", str(file), "--data", str(shapes), "--weights", "none", "--out", str(tmp_path / "out"), "--sampler", "grid"]
    assert main(command) == 2
    assert f"{file}: expected choices everywhere for --sampler grid" in capsys.readouterr().err


def test_a_storage_that_cannot_be_opened_is_named(space: Space) -> None:
    with pytest.raises(StudyStorageError, match=r"sqlite:////nowhere/study\.db"):
        open_study("sqlite:////nowhere/study.db", "sortbin", space, "tpe", 1)


def test_a_living_process_keeps_its_trial(space: Space, shapes: Path, tmp_path: Path) -> None:
    study = open_study(storage(tmp_path), "sortbin", space, "tpe", 1)
    with pytest.warns(UserWarning, match="Heartbeat"):
        trial = study.ask()
    trial.set_user_attr("process", f"{socket.gethostname()}:{os.getppid()}")
    search(study, Search(space, read_split(shapes), None, tmp_path), 1, silent)
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING]


def test_a_trial_that_diverges_is_pruned_and_the_study_goes_on(tmp_path: Path, shapes: Path) -> None:
    (tmp_path / "space.toml").write_text(SPACE.replace("low = 1e-4\nhigh = 1e-2\nlog = true", "choices = [1e37, 1e38]"))
    space = read_space(tmp_path / "space.toml")
    told: list[str] = []
    study = open_study(storage(tmp_path), "sortbin", space, "random", 1)
    search(study, Search(space, read_split(shapes), None, tmp_path / "runs"), 2, told.append)
    assert [trial.state for trial in study.get_trials()] == [TrialState.PRUNED] * 2
    assert sum("since it diverged" in line for line in told) == 2


def test_a_study_goes_on_only_with_the_same_space_and_photos(file: Path, space: Space, shapes: Path, tmp_path: Path) -> None:
    study = open_study(storage(tmp_path), "sortbin", space, "random", 1)
    split = read_split(shapes)
    search(study, Search(space, split, None, tmp_path), 0, silent)
    file.write_text(SPACE.replace("[4, 8]", "[4, 8, 16]"))
    with pytest.raises(StudyError, match=r"--study sortbin: was begun with another --space"):
        search(study, Search(read_space(file), split, None, tmp_path), 1, silent)
    fewer = Split(split.labels, split.train[1:], split.val)
    with pytest.raises(StudyError, match=r"--study sortbin: was begun with another --data"):
        search(open_study(storage(tmp_path), "sortbin", space, "random", 1), Search(space, fewer, None, tmp_path), 1, silent)
    assert not study.trials
