"""The prior of a few-shot head."""

from dataclasses import replace

import numpy as np
import pytest

from converter.bundle.embedding_stats import fit_embedding_stats
from device.common.arrays import Float64Array
from device.vision.fewshot.linear_head import NO_FOLD
from device.vision.fewshot.prior import UNTAUGHT_FREQUENCY, FewshotPrior, FittedPrior, FoldedExamples, fit_prior

OLD, FEATURES = 4, 24
RNG = np.random.default_rng(0)
MEANS = RNG.gamma(1, 1, (OLD, FEATURES))
REFERENCE = fit_embedding_stats(
    (np.repeat(MEANS, 40, axis=0) + RNG.normal(0, 0.3, (160, FEATURES))).astype(np.float32), np.repeat(np.arange(OLD), 40), OLD
)
CAN, PET = OLD, OLD + 1


def views(targets: list[int], seed: int = 1) -> FoldedExamples:
    """One photo for each target, two crops of it. The bundle takes a can for the third old label, a pet for the fourth."""
    twice = np.repeat(targets, 2)
    looks_like = np.where(twice >= OLD, twice - 2, twice)
    drawn = np.random.default_rng(seed).normal(0, 0.3, (len(twice), FEATURES))
    numbers = np.repeat(np.arange(len(targets)), 2)
    return FoldedExamples(
        MEANS[looks_like] + drawn,
        np.full((len(twice), OLD), 0.05) + 0.8 * np.eye(OLD)[looks_like],
        twice,
        numbers,
        numbers,
        numbers % 3,
        3 + numbers % 2,
    )


def started(taught: FoldedExamples, *, only: bool = False, isolated: bool = True) -> FittedPrior:
    return fit_prior(REFERENCE, np.arange(OLD), taught, only=only, isolated=isolated)


def of(prior: FewshotPrior, probabilities: list[float], here: float) -> Float64Array:
    return np.asarray(np.exp(prior.log_probabilities(np.array([probabilities]), np.array([here])))[0], np.float64)


def test_untaught_labels_are_rarer_in_domain_only() -> None:
    prior = started(views([0, 0, 1, 1])).prior
    np.testing.assert_allclose(of(prior, [0.25] * OLD, 1.0), [0.25, 0.25, 0.25 * UNTAUGHT_FREQUENCY, 0.25 * UNTAUGHT_FREQUENCY])
    np.testing.assert_allclose(of(prior, [0.25] * OLD, 0.0), [0.25] * OLD)


def test_a_new_label_claims_most_of_its_related_label_and_little_else() -> None:
    shares = started(views([CAN] * 6 + [PET] * 6)).prior.claims
    assert shares[0, 2] > 0.6 and shares[1, 3] > 0.6
    assert shares[:, :2].max() < 0.2


def test_greater_certainty_counts_against_a_new_label_in_domain() -> None:
    taught = views([CAN] * 5)
    prior = started(taught._replace(probabilities=np.full_like(taught.probabilities, 1 / OLD))).prior
    sure, here = [0.94, 0.02, 0.02, 0.02], 1.0
    linear = replace(prior, affinity=np.eye(1, OLD))
    assert of(prior, sure, here)[CAN] < 0.7 * of(linear, sure, here)[CAN]
    np.testing.assert_allclose(of(prior, sure, here)[:OLD], of(linear, sure, here)[:OLD])
    np.testing.assert_allclose(of(prior, sure, 0.0), of(linear, sure, 0.0))
    np.testing.assert_allclose(of(prior, [1 / OLD] * OLD, here), of(linear, [1 / OLD] * OLD, here))


@pytest.mark.parametrize("fold", [1, 4])
@pytest.mark.parametrize("isolated", [True, False])
def test_left_out_rows_do_not_influence_pseudo_examples_made_without_them(isolated: bool, fold: int) -> None:
    taught = views([CAN] * 4 + [PET] * 5)
    left_out = (taught.folds == fold) | (taught.sequence_folds == fold)
    moved = taught._replace(embeddings=np.where(left_out[:, np.newaxis], taught.embeddings + 1, taught.embeddings))
    before, after = (started(each, isolated=isolated).pseudo_examples for each in (taught, moved))
    assert before.without.tolist() == after.without.tolist() == [number for number in (NO_FOLD, 0, 1, 2, 3, 4) for _ in range(OLD)]
    same = np.isclose(before.training_set.embeddings, after.training_set.embeddings).all(axis=1)
    np.testing.assert_array_equal(same, before.without == fold)


def test_no_pseudo_examples_without_new_labels_or_with_only() -> None:
    assert len(started(views([0, 0, 1, 1])).pseudo_examples.without) == 0
    alone = views([CAN, CAN, PET, PET])
    alone = alone._replace(targets=alone.targets - CAN)
    assert len(fit_prior(REFERENCE, np.arange(0), alone, only=True, isolated=True).pseudo_examples.without) == 0


def test_the_domain_is_estimated_unless_isolated_or_only() -> None:
    taught = views([CAN] * 4 + [PET] * 4)
    assert started(taught).prior.domain is not None
    assert started(taught, only=True).prior.domain is None
    at_the_place = np.exp(started(taught).out_of_fold).sum(axis=1)
    unsure = np.exp(started(taught, isolated=False).out_of_fold).sum(axis=1)
    assert (at_the_place < unsure).all()
