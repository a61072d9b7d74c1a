"""Fitting a few-shot head: what it gains at its site, what it keeps of the bundle, and near duplicates."""

from pathlib import Path

import numpy as np
import pytest

from device.vision.fewshot import teach as teaching_module
from device.vision.fewshot.acceptance import rejection_threshold
from device.vision.fewshot.fewshot_head import FewshotHead
from device.vision.fewshot.head_format import read_fewshot_head, write_fewshot_head
from device.vision.fewshot.teach import KEEP_PENALTY, LOW_KEEP_PENALTY, teach
from device.vision.inference.bundle import Bundle
from device.vision.inference.embedding_stats import EmbeddingStats
from device.vision.inference.novelty import DISTANCE_SPREAD, DISTANCE_TO_TAUGHT, NoveltyModel
from tests.device.vision.fewshot.synthetic import CHAMBER, OLD, WORLD, World, share, shown_again

pytestmark = pytest.mark.slow


def test_ten_photos_teach_new_labels_and_keep_old_ones(taught: FewshotHead) -> None:
    assert taught.labels == (*OLD, "can", "pet")
    later = np.repeat([6, 7], 50)
    assert share(WORLD.named(taught, WORLD.photos(later, 4, shift=1.0)), ["can"] * 50 + ["pet"] * 50) >= 0.97
    old = np.repeat(np.arange(6), 50)
    embeddings = WORLD.photos(old, 5)
    lost = share([OLD[i] for i in WORLD.before(embeddings).argmax(axis=1)], [OLD[i] for i in old]) - share(
        WORLD.named(taught, embeddings), [OLD[i] for i in old]
    )
    assert lost <= 0.01


def test_teaching_old_labels_at_a_site_improves_them_there(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel) -> None:
    examples = WORLD.examples(OLD, np.repeat(np.arange(6), 8), 6, shift=2.0)
    teaching = teach(examples, tiny_bundle, reference, familiar, only=False)
    targets = np.repeat(np.arange(6), 50)
    there = WORLD.photos(targets, 7, shift=2.0)
    before = (WORLD.before(there).argmax(axis=1) == targets).mean()
    after = share(WORLD.named(teaching, there), [OLD[i] for i in targets])
    assert after > before + 0.05
    assert teaching.right == pytest.approx(after, abs=0.12)
    surest = [teaching.predict(*row, in_domain=False)[0].max() for row in zip(WORLD.before(there), there.astype(np.float32), strict=True)]
    assert teaching.sure == pytest.approx(np.mean(np.array(surest) >= teaching.reject_below), abs=0.12)


@pytest.mark.parametrize("count", [3, 5])
def test_few_photos_do_not_lower_the_trust_in_the_bundle(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel, count: int) -> None:
    blurred, targets = World(spread=1.0), np.repeat([1, 2], 200)
    truth, later = [OLD[i] for i in targets], blurred.photos(targets, 20)
    before = share([OLD[1 + i] for i in blurred.before(later)[:, 1:3].argmax(axis=1)], truth)
    for seed in range(30, 42):
        examples = blurred.examples(("glass", "metal"), np.repeat([1, 2], count), seed, shift=0.0)
        teaching = teach(examples, tiny_bundle, reference, familiar, only=True)
        assert share(blurred.named(teaching, later), truth) > before - 0.02


def test_few_photos_teach_a_new_name_for_a_known_label(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel) -> None:
    """Cans and bottles are metal and plastic to the bundle, whatever they are called here."""
    blurred, targets = World(spread=1.0), np.repeat([2, 4], 200)
    later, truth = blurred.photos(targets, 21), ["can"] * 200 + ["pet"] * 200
    as_old = share([OLD[2 + 2 * i] for i in blurred.before(later)[:, [2, 4]].argmax(axis=1)], [OLD[i] for i in targets])
    found = []
    for seed in range(50, 58):
        examples = blurred.examples(("can", "pet"), np.repeat([2, 4], 5), seed, shift=0.0)
        found.append(share(blurred.named(teach(examples, tiny_bundle, reference, familiar, only=True), later), truth))
    assert np.mean(found) > as_old - 0.04


def test_taught_labels_alone_may_contradict_the_training_photos(
    tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looks like plastic to the bundle is metal here, and the other way round."""
    blurred, targets = World(spread=0.8), np.repeat([2, 4], 200)
    later, truth = blurred.photos(targets, 22), ["plastic"] * 200 + ["metal"] * 200
    right: dict[float, list[float]] = {}
    for tried in (LOW_KEEP_PENALTY, KEEP_PENALTY):
        monkeypatch.setattr(teaching_module, "LOW_KEEP_PENALTY", tried)
        for seed in range(60, 66):
            examples = blurred.examples(("plastic", "metal"), np.repeat([2, 4], 10), seed, shift=0.0)
            found = teach(examples, tiny_bundle, reference, familiar, only=True)
            right.setdefault(tried, []).append(share(blurred.named(found, later), truth))
    assert np.mean(right[LOW_KEEP_PENALTY]) > np.mean(right[KEEP_PENALTY]) + 0.02


def test_untaught_labels_keep_their_names_beside_new_ones(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel) -> None:
    world, rest, new = World(spread=0.5, place=CHAMBER), np.repeat([0, 1, 3, 5], 50), np.repeat([6, 7], 50)
    stayed, named = [], []
    for seed in range(30, 35):
        examples = world.examples(("can", "pet"), np.repeat([6, 7], 10), seed, isolated=True)
        teaching = teach(examples, tiny_bundle, reference, familiar, only=False)
        stayed.append(share(world.named(teaching, world.photos(rest, 15, shift=1.0), here=True), [OLD[i] for i in rest]))
        named.append(share(world.named(teaching, world.photos(new, 16, shift=1.0), here=True), ["can"] * 50 + ["pet"] * 50))
    assert np.mean(stayed) > 0.72 and np.mean(named) > 0.92


def test_a_single_new_label_does_not_take_over_known_items(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel) -> None:
    world, old, new = World(spread=0.4, place=CHAMBER), np.repeat(np.arange(6), 50), np.repeat([6], 50)
    stayed, named = [], []
    for seed in range(30, 36):
        teaching = teach(world.examples(("can",), np.repeat([6], 5), seed, isolated=True), tiny_bundle, reference, familiar, only=False)
        stayed.append(share(world.named(teaching, world.photos(old, 15, shift=1.0), here=True), [OLD[i] for i in old]))
        named.append(share(world.named(teaching, world.photos(new, 16, shift=1.0), here=True), ["can"] * 50))
    assert np.mean(stayed) > 0.75 and np.mean(named) > 0.88


def test_only_leaves_out_untaught_labels(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel) -> None:
    teaching = teach(WORLD.examples(("glass", "can"), np.repeat([1, 6], 10), 8), tiny_bundle, reference, familiar, only=True)
    assert teaching.labels == ("glass", "can")
    embeddings = WORLD.photos(np.repeat([1, 6], 40), 9, shift=1.0)
    assert share(WORLD.named(teaching, embeddings), ["glass"] * 40 + ["can"] * 40) >= 0.97


def test_examples_of_two_teachings_are_combined(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel) -> None:
    first = WORLD.examples(("can",), np.repeat([6], 10), 13)
    second = WORLD.examples(("glass", "pet"), np.repeat([1, 7], 10), 14)
    together = first.followed_by(second)
    assert together.counts() == {"can": 10, "glass": 10, "pet": 10}
    teaching = teach(together, tiny_bundle, reference, familiar, only=False)
    embeddings = WORLD.photos(np.repeat([6, 7], 40), 15, shift=1.0)
    assert share(WORLD.named(teaching, embeddings), ["can"] * 40 + ["pet"] * 40) >= 0.97


@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("moved", [0.0, 0.02])
def test_near_duplicates_teach_as_much_as_one_photo(
    tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel, only: bool, moved: float
) -> None:
    examples = WORLD.examples(("can", "pet"), np.repeat([6, 7], 6), 23, isolated=True)
    once, often = (teach(each, tiny_bundle, reference, familiar, only=only) for each in (examples, shown_again(examples, 4, moved=moved)))
    assert often.examples.counts() == {"can": 24, "pet": 24}
    assert often.distinct == once.distinct == {"can": 6, "pet": 6}
    later = WORLD.photos(np.repeat([6, 7], 50), 24, shift=1.0)
    rows = list(zip(WORLD.before(later), later.astype(np.float32), strict=True))
    found, expected = ([teaching.predict(*row, in_domain=True) for row in rows] for teaching in (often, once))
    np.testing.assert_allclose([p for p, _ in found], [p for p, _ in expected], atol=0.05)
    assert np.mean([unknown > often.unknown_above for _, unknown in found]) < 0.2
    assert (often.right, often.reject_below) == pytest.approx((once.right, once.reject_below), abs=0.1)


def test_one_distinct_photo_a_label_gives_no_cross_validated_figures(
    tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel, tmp_path: Path
) -> None:
    shown_once = shown_again(WORLD.examples(("can", "pet"), np.array([6, 7]), 25), 5, moved=0.02)
    teaching = teach(shown_once, tiny_bundle, reference, familiar, only=False)
    assert (teaching.distinct, teaching.right, teaching.sure) == ({"can": 1, "pet": 1}, None, None)
    nothing = np.zeros(0)
    assert teaching.reject_below == rejection_threshold(nothing, nothing.astype(bool), nothing.astype(int))
    more = shown_once.followed_by(WORLD.examples(("pet",), np.repeat([7], 9), 26))
    told = teach(more, tiny_bundle, reference, familiar, only=False)
    assert told.distinct == {"can": 1, "pet": 10}
    assert told.right is not None and told.right > 0.5 and (10 * told.right) == pytest.approx(round(10 * told.right))
    for each in (teaching, told):
        write_fewshot_head(each, tmp_path / "taught.npz")
        read = read_fewshot_head(tmp_path / "taught.npz", tiny_bundle)
        assert (read.distinct, read.right, read.sure) == (each.distinct, each.right, each.sure)


def test_a_label_with_one_photo_expects_later_items_as_far_as_elsewhere(
    tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel
) -> None:
    """Nothing tells how unlike another can may look, so what holds at other sites counts; strangers are stranger than later items all the same."""
    teaching = teach(shown_again(WORLD.examples(("can", "pet"), np.array([6, 7]), 25), 5, moved=0.02), tiny_bundle, reference, familiar, only=True)
    assert teaching.novelty.distance.tolist() == pytest.approx(
        [share * reference.mean_pair_distance for share in (DISTANCE_TO_TAUGHT, DISTANCE_SPREAD)]
    )
    later, strangers = WORLD.photos(np.repeat([6, 7], 40), 27), WORLD.photos(np.repeat([1, 3], 40), 28)
    known, strange = (
        [teaching.predict(*row, in_domain=True)[1] for row in zip(WORLD.before(of), of.astype(np.float32), strict=True)] for of in (later, strangers)
    )
    assert np.median(known) < np.median(strange)


@pytest.mark.parametrize("named", [("metal", "plastic"), ("can", "pet")])
def test_frames_of_one_item_do_not_make_other_items_unknown(
    tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel, named: tuple[str, str]
) -> None:
    """Each label is taught by one or two items, each turned a little from frame to frame; all later items look otherwise."""
    later = WORLD.photos(np.repeat([2, 4], 60), 42, shift=1.0)
    rows = list(zip(WORLD.before(later), later.astype(np.float32), strict=True))
    accepted = []
    for frames in (5, 20):
        items = WORLD.examples(named, np.repeat([2, 4], 2), 41)
        teaching = teach(shown_again(items, frames, moved=0.1), tiny_bundle, reference, familiar, only=True)
        assert min(teaching.distinct.values()) > 2
        found = [teaching.predict(*row, in_domain=True) for row in rows]
        accepted.append(np.mean([p.max() >= teaching.reject_below and unknown <= teaching.unknown_above for p, unknown in found]))
    assert min(accepted) >= 0.95 and accepted[1] >= accepted[0] - 0.01
