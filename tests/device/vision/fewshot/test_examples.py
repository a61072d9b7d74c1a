"""Examples: copies are dropped."""

import numpy as np

from tests.device.vision.fewshot.synthetic import WORLD, shown_again


def test_exact_copies_of_earlier_photos_are_dropped() -> None:
    examples = WORLD.examples(("can", "pet"), np.repeat([6, 7], 3), 27)
    twice = shown_again(examples, 2, moved=0.0)
    kept = twice.without_copies()
    assert (twice.count, kept.count) == (12, 6)
    for name in ("targets", "photos", "embeddings", "probabilities", "isolated"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(examples, name))
    assert kept.followed_by(WORLD.examples(("can",), np.array([6]), 28)).without_copies().counts() == {"can": 4, "pet": 3}
