"""Train and measure round after round, in the way that suits the recipe."""

from collections.abc import Sequence
from pathlib import Path

from converter.common.progress import Progress
from training.fit.checkpoint import storage_errors
from training.fit.recipe import RECIPE_FILE
from training.left_out.fitted import fit_round, measure_fitted_round
from training.left_out.frozen import frozen_features, measure_frozen_round, only_fits_heads
from training.left_out.measure import PlaceReport, Protocol
from training.left_out.rounds import LeftOutRound


def measure_rounds(
    rounds: Sequence[LeftOutRound], out: Path, recipe_text: str, weights: str | None, protocol: Protocol, progress: Progress
) -> list[PlaceReport]:
    """The report of each round. out: each round is a run folder below it, called as its place. recipe_text: written into each run.

    weights: see `build_trunk`. Raises what `fit` raises.
    """
    recipe, labels = rounds[0].job.recipe, rounds[0].job.split.labels
    features = None
    if only_fits_heads(recipe):
        photos = {photo.path: photo for round_ in rounds for photo in (*round_.place.photos, *round_.job.photos, *round_.job.split.val)}
        features = frozen_features(recipe, labels, weights, list(photos.values()), progress)
    measured = []
    for number, round_ in enumerate(rounds, 1):
        run = out / round_.place.name
        progress.step(f"round {number} of {len(rounds)}: {round_.place.name} is left out")
        with storage_errors(run):
            run.mkdir(parents=True, exist_ok=True)
            if features is None:
                if not (run / RECIPE_FILE).is_file():
                    (run / RECIPE_FILE).write_text(recipe_text, encoding="utf-8")
                fit_round(round_, run, weights, progress.step)
                measured.append(measure_fitted_round(round_, run, protocol, progress))
            else:
                (run / RECIPE_FILE).write_text(recipe_text, encoding="utf-8")
                measured.append(measure_frozen_round(features, round_, run, protocol))
    return measured
