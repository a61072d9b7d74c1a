"""What several looks at one item say together. The network is real; the looks are of plain colours."""

from collections.abc import Callable

import numpy as np
import pytest

from device.vision.inference.bundle import Bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.fusion import fuse
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.isolate import Isolated
from device.vision.isolation.tta import FRAME_CROPS, ITEM_CROPS, MOST_VIEW_SHARE, Look
from device.vision.judge import ItemFusion, Judge

HEIGHT, WIDTH = 48, 64


@pytest.fixture
def judge(tiny_bundle: Bundle) -> Judge:
    return Judge(Classifier(tiny_bundle))


def item(height: int) -> Isolated:
    """An item as wide as the view."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:height] = 255
    return Isolated(True, "", mask, (0, 0, WIDTH, height), mask)


@pytest.fixture
def looked(judge: Judge, painted: Callable[..., Pixels]) -> Callable[..., ItemFusion]:
    """`looked(item, glass=True, paper=False)`: a look at the item that shows glass, then one at the view that shows paper."""

    def look(at: Isolated, **shown: bool) -> ItemFusion:
        looks = ItemFusion(judge)
        for label, of_item in shown.items():
            looks.add_look(Look(painted(label, HEIGHT, WIDTH), of_item, 1.0), at, in_domain=True)
        return looks

    return look


def test_a_large_item_needs_a_look_of_each_kind(looked: Callable[..., ItemFusion]) -> None:
    large, small = item(HEIGHT), item(HEIGHT // 8)
    assert not looked(large, glass=True).complete and looked(large, glass=True, paper=False).complete
    assert looked(small, glass=True).complete


def test_large_items_are_judged_by_both_kinds_small_ones_by_one(looked: Callable[..., ItemFusion]) -> None:
    both = looked(item(HEIGHT), glass=True, metal=True, paper=False)
    of_item, of_view = [each.probabilities for each in both.predictions[:2]], both.predictions[2].probabilities
    half = (1 - MOST_VIEW_SHARE) / 2
    np.testing.assert_allclose(both.posterior, fuse([*of_item, of_view], weights=[half, half, MOST_VIEW_SHARE]))
    alone = looked(item(HEIGHT // 8), glass=True)
    np.testing.assert_allclose(alone.posterior, alone.predictions[0].probabilities, atol=1e-7)


def test_looks_that_contradict_each_other_are_less_certain_than_either(looked: Callable[..., ItemFusion]) -> None:
    apart = looked(item(HEIGHT), glass=True, paper=False)
    assert apart.posterior.max() < min(each.probabilities.max() for each in apart.predictions)


def test_a_burst_covers_both_kinds_at_once(judge: Judge) -> None:
    crops = judge.crops(item(HEIGHT))
    assert {type(crop) for crop in crops[:2]} == {type(ITEM_CROPS[0]), type(FRAME_CROPS[0])}
