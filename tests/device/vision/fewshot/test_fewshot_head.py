"""What a few-shot head names in domain and elsewhere, and what counts as unknown."""

import math
from pathlib import Path

import numpy as np
import pytest

from device.common.arrays import Float64Array
from device.vision.fewshot.fewshot_head import FewshotHead, TeachingError, labels_after_teaching
from device.vision.fewshot.head_format import read_fewshot_head, write_fewshot_head
from device.vision.fewshot.prior import UNTAUGHT_FREQUENCY
from device.vision.fewshot.teach import teach
from device.vision.inference.bundle import Bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.embedding_stats import EmbeddingStats
from device.vision.inference.novelty import NoveltyModel
from device.vision.isolation.isolate import Isolated, whole_frame
from device.vision.isolation.tta import BOTH_CROPS, FRAME_CROPS, ITEM_CROPS, take_looks
from device.vision.judge import Judge
from tests.device.vision.fewshot.synthetic import CHAMBER, MIDDLES, OLD, WORLD, World, share

pytestmark = pytest.mark.slow


def test_a_taught_head_judges_what_it_was_taught_with(taught: FewshotHead, tiny_bundle: Bundle) -> None:
    """The item alone where it was isolated, and all looks alike; the bundle alone also judges the view of a large item, and whole frames most."""
    frame = np.zeros((48, 64, 3), np.uint8)
    view = whole_frame(frame, "nothing differs")
    item = Isolated(True, "", view.mask, view.box, frame)
    alone, with_teaching = (Judge(Classifier(tiny_bundle), teaching) for teaching in (None, taught))
    assert (alone.crops(item), with_teaching.crops(item)) == (BOTH_CROPS, ITEM_CROPS)
    assert alone.crops(view) == with_teaching.crops(view) == FRAME_CROPS
    looks = take_looks(frame, view, tiny_bundle.info.ground, FRAME_CROPS)
    assert [alone.look_weight(look) for look in looks] == [3, 1, 1] and {with_teaching.look_weight(look) for look in looks} == {1}


def test_a_new_name_holds_at_the_site_and_the_old_one_elsewhere(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel) -> None:
    """Cans and bottles of this place, while whatever else is metal or plastic stays so, and other labels stay known here as well."""
    world = World(place=CHAMBER)
    examples = world.examples(("can", "pet"), np.repeat([2, 4], 8), 12)
    teaching = teach(examples, tiny_bundle, reference, familiar, only=False)
    assert teaching.labels == (*OLD, "can", "pet")
    assert teaching.rivals() == [("can", "metal"), ("pet", "plastic")]
    assert teach(examples, tiny_bundle, reference, familiar, only=True).rivals() == []
    assert share(world.named(teaching, world.photos(np.repeat([2, 4], 50), 13, shift=1.0)), ["can"] * 50 + ["pet"] * 50) >= 0.9
    old = np.repeat(np.arange(6), 50)
    assert share(world.named(teaching, world.photos(old, 14)), [OLD[i] for i in old]) >= 0.99
    rest = np.repeat([0, 1, 3, 5], 50)
    assert share(world.named(teaching, world.photos(rest, 15, shift=1.0)), [OLD[i] for i in rest]) >= 0.95


def test_an_isolated_item_is_in_domain_however_much_it_looks_like_training(
    tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel
) -> None:
    """A pale tray, on which nothing looks other than on white card: what is isolated there has the names that were taught there."""
    examples = WORLD.examples(("can", "pet"), np.repeat([2, 4], 8), 16, shift=0.0, isolated=True)
    teaching = teach(examples, tiny_bundle, reference, familiar, only=False)
    later, rest, old = (WORLD.photos(np.repeat(targets, 50), 17, shift=0.0) for targets in ([2, 4], [0, 1, 3, 5], range(6)))
    assert share(WORLD.named(teaching, later, here=True), ["can"] * 50 + ["pet"] * 50) >= 0.95
    assert share(WORLD.named(teaching, rest, here=True), [OLD[i] for i in np.repeat([0, 1, 3, 5], 50)]) >= 0.95
    assert share(WORLD.named(teaching, old), [OLD[i] for i in np.repeat(range(6), 50)]) >= 0.99


def test_out_of_domain_the_bundle_judges_alone(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel) -> None:
    """All six labels are taught in a chamber where each is taken for the next."""
    world, targets = World(place=CHAMBER), np.repeat(np.arange(6), 8)
    examples = world.examples(tuple(OLD[(i + 1) % 6] for i in range(6)), targets, 19, isolated=True)
    teaching = teach(examples, tiny_bundle, reference, familiar, only=False)
    later, old = world.photos(np.repeat(np.arange(6), 30), 20, shift=1.0), world.photos(np.repeat(np.arange(6), 30), 21)
    assert share(world.named(teaching, later, here=True), [OLD[(i + 1) % 6] for i in np.repeat(np.arange(6), 30)]) > 0.9
    before = world.before(old)
    after = np.array([teaching.predict(row, embedding, in_domain=False)[0] for row, embedding in zip(before, old.astype(np.float32), strict=True)])
    assert np.abs(after - before).mean() < 0.005
    assert (after.argmax(axis=1) == before.argmax(axis=1)).all()


def test_taught_labels_are_likelier_in_domain_than_untaught_ones(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel) -> None:
    examples = WORLD.examples(("glass", "metal"), np.repeat([1, 2], 8), 18, shift=0.0, isolated=True)
    teaching = teach(examples, tiny_bundle, reference, familiar, only=False)
    between = ((MIDDLES[1] + MIDDLES[3]) / 2).astype(np.float32)
    either = np.array([0.0, 0.5, 0.0, 0.5, 0.0, 0.0])
    here, anywhere = (dict(zip(teaching.labels, teaching.predict(either, between, in_domain=known)[0], strict=True)) for known in (True, False))
    assert here["glass"] > 2 * here["paper"]
    assert here["glass"] / here["paper"] > 2.5 * anywhere["glass"] / anywhere["paper"]
    usual = dict(zip(teaching.labels, Judge(Classifier(tiny_bundle), teaching).expected_shares, strict=True))
    assert usual["glass"] == usual["metal"] == pytest.approx(usual["paper"] / UNTAUGHT_FREQUENCY)


def test_an_untaught_item_scores_as_unknown(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel) -> None:
    teaching = teach(WORLD.examples(("glass", "metal", "can"), np.repeat([1, 2, 6], 15), 10), tiny_bundle, reference, familiar, only=True)

    def scores(target: int) -> Float64Array:
        embeddings = WORLD.photos(np.repeat(target, 40), 11, shift=1.0).astype(np.float32)
        return np.array([teaching.predict(before, row, in_domain=False)[1] for row, before in zip(embeddings, WORLD.before(embeddings), strict=True)])

    assert np.median(scores(7)) > 0.97
    assert np.median(scores(6)) < 0.9


def test_an_item_surely_of_a_left_out_label_scores_as_unknown(
    tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel, tmp_path: Path
) -> None:
    examples = WORLD.examples(("glass", "metal", "can"), np.repeat([1, 2, 6], 15), 10)
    teaching = teach(examples, tiny_bundle, reference, familiar, only=True)
    like_glass = WORLD.photos(np.repeat(1, 40), 13, shift=1.0).astype(np.float32)
    paper = np.full(6, 0.002) + 0.988 * (np.arange(6) == OLD.index("paper"))
    surely = [teaching.predict(paper, row, in_domain=False)[1] for row in like_glass]
    as_before = [teaching.predict(before, row, in_domain=False)[1] for before, row in zip(WORLD.before(like_glass), like_glass, strict=True)]
    assert np.mean(np.array(surely) > teaching.unknown_above) > 0.9
    assert np.mean(np.array(as_before) > teaching.unknown_above) < 0.2
    write_fewshot_head(teaching, tmp_path / "taught.npz")
    assert read_fewshot_head(tmp_path / "taught.npz", tiny_bundle).novelty.usual == teaching.novelty.usual < 14
    beside = teach(examples, tiny_bundle, reference, familiar, only=False)
    assert math.isinf(beside.novelty.usual)


def test_one_label_alone_is_refused() -> None:
    with pytest.raises(TeachingError, match="can: one label alone"):
        labels_after_teaching(OLD, ("can",), only=True)
    assert labels_after_teaching(OLD, ("zinc", "metal", "can"), only=True) == ("metal", "can", "zinc")
