"""Rounds of any recipe: each is a run of `training fit`, which goes on where it was stopped."""

from collections.abc import Callable
from pathlib import Path

from converter.common.progress import Progress
from training.evaluate.models import open_model
from training.fit.provenance import RunInputs, require_same_inputs
from training.fit.trainer import fit
from training.left_out.at_places import own_photos
from training.left_out.judging import run_judging, see
from training.left_out.known_photos import count_known
from training.left_out.measure import PlaceReport, Protocol, measure
from training.left_out.rounds import LeftOutRound

Report = Callable[[str], None]


def fit_round(round_: LeftOutRound, run: Path, weights: str | None, report: Report) -> None:
    """Train without the place, unless the run is finished. weights: see `build_trunk`. Raises what `fit` raises; ProvenanceError also for a run that
    was finished with another recipe or other photos.
    """
    job = round_.job
    if (run / "model.keras").is_file():
        require_same_inputs(run, RunInputs(job.recipe, job.split.train, job.split.val, extra_photos=job.extra_photos), resumed=True)
        return
    fit(job, run, weights, report)


def measure_fitted_round(round_: LeftOutRound, run: Path, protocol: Protocol, progress: Progress) -> PlaceReport:
    """Measure a finished run at the place that was left out."""
    model, job = open_model(run), round_.job
    train, val = (own_photos(model, photos, progress) for photos in (job.photos, job.split.val))
    seen = see(model, progress.track(round_.place.photos, f"showing {model.name} {round_.place.name}"))
    known = count_known(model, round_.place)
    progress.step(f"teaching {model.name} {round_.place.name}")
    return measure(run_judging(model, train, val), round_.place, round_.others, seen, known, protocol)
