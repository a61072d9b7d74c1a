"""A head fitted to few photos: what it gains at its place, what it keeps of the bundle, and its file."""

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.bundle.embedding_stats import fit_embedding_stats
from converter.bundle.novelty import fit_novelty_model
from device.common.arrays import Float64Array
from device.vision.fewshot import teach as teaching_module
from device.vision.fewshot.examples import Examples
from device.vision.fewshot.fewshot_head import FewshotHead, TeachingError, labels_after_teaching
from device.vision.fewshot.head import balanced_weights
from device.vision.fewshot.head_file import read_fewshot_head, write_fewshot_head
from device.vision.fewshot.label_transfer import split_posterior
from device.vision.fewshot.lbfgs import minimize
from device.vision.fewshot.prior import RARE
from device.vision.fewshot.teach import KEEP, LITTLE, teach
from device.vision.inference.bundle import Bundle, write_bundle
from device.vision.inference.classifier import Classifier, softmax
from device.vision.inference.embedding_stats import EmbeddingStats
from device.vision.inference.novelty import NoveltyModel
from device.vision.isolation.isolate import Isolated, whole_frame
from device.vision.judge import Judge

pytestmark = pytest.mark.slow

FEATURES, OLD = 48, ("cardboard", "glass", "metal", "paper", "plastic", "trash")
RNG = np.random.default_rng(0)
MIDDLES = 3 * RNG.normal(size=(8, FEATURES)) / np.sqrt(FEATURES) + 2
"""of six old labels and two new ones"""
SHIFT = 0.3 * (MIDDLES[1] - MIDDLES[2]) + 0.5 * RNG.normal(size=FEATURES) / np.sqrt(FEATURES)
"""what another place does to embeddings"""
CHAMBER = 2.5 * RNG.normal(size=FEATURES) / np.sqrt(FEATURES)
"""what one does that is like nothing in training, and makes nothing look like another label"""


@dataclass(frozen=True)
class World:
    """Photos as embeddings, with what a head fitted to the old labels at the old place makes of them. spread: of the photos of a label; place: what
    another one does to them.
    """

    spread: float = 0.28
    place: Float64Array = field(default_factory=lambda: SHIFT)

    def photos(self, targets: Float64Array, seed: int, *, shift: float = 0.0) -> Float64Array:
        rng = np.random.default_rng(seed)
        return MIDDLES[targets] + shift * self.place + rng.normal(0, self.spread, (len(targets), FEATURES))

    def before(self, embeddings: Float64Array) -> Float64Array:
        """The best head there can be at the old place."""
        return softmax(-((embeddings[:, np.newaxis] - MIDDLES[:6]) ** 2).sum(axis=2) / (2 * 0.28**2) / 4, 1.0)

    def examples(self, labels: tuple[str, ...], targets: Float64Array, seed: int, *, shift: float = 1.0, isolated: bool = False) -> Examples:
        """`labels[i]` for what has the i-th of the targets."""
        drawn = np.sort(targets)
        embeddings = self.photos(drawn, seed, shift=shift)
        return Examples(
            labels,
            np.unique(drawn, return_inverse=True)[1].astype(np.int32),
            np.arange(len(drawn), dtype=np.int32),
            embeddings.astype(np.float16),
            self.before(embeddings).astype(np.float32),
            np.full(len(drawn), isolated),
        )

    def named(self, teaching: FewshotHead, embeddings: Float64Array, *, here: bool = False) -> list[str]:
        rows = zip(self.before(embeddings), embeddings.astype(np.float32), strict=True)
        return [teaching.labels[int(teaching.predict(*row, in_domain=here)[0].argmax())] for row in rows]


WORLD = World()


@pytest.fixture(scope="module")
def reference() -> EmbeddingStats:
    targets = np.repeat(np.arange(6), 60)
    return fit_embedding_stats(WORLD.photos(targets, 1).astype(np.float32), targets, 6)


@pytest.fixture(scope="module")
def familiar() -> NoveltyModel:
    targets = np.repeat(np.arange(6), 60)
    trained, unseen = WORLD.photos(targets, 1), WORLD.photos(targets, 2)
    return fit_novelty_model(trained.astype(np.float32), targets, unseen.astype(np.float32), WORLD.before(unseen))


@pytest.fixture(scope="module")
def taught(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel) -> FewshotHead:
    """Two new labels beside the six old ones, ten photos of each, at another place, those of one isolated; cardboard, glass and the others were not
    taught.
    """
    can, pet = (WORLD.examples((label,), np.repeat([target], 10), 3, isolated=label == "pet") for label, target in (("can", 6), ("pet", 7)))
    return teach(can.followed_by(pet), tiny_bundle, reference, familiar, only=False)


def share(found: list[str], truth: list[str]) -> float:
    return float(np.mean([a == b for a, b in zip(found, truth, strict=True)]))


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


def test_bundle_weights_whole_frames_most_taught_head_all_crops_equally(taught: FewshotHead, tiny_bundle: Bundle) -> None:
    frame = np.zeros((48, 64, 3), np.uint8)
    view = whole_frame(frame, "nothing differs")
    item = Isolated(True, "", view.mask, view.box, frame)
    alone, with_teaching = (Judge(Classifier(tiny_bundle), teaching) for teaching in (None, taught))
    assert [alone.crop_weight(view, number) for number in range(5)] == [3, 1, 1, 3, 1]
    assert {
        judge.crop_weight(shown, number) for judge, shown in ((with_teaching, view), (alone, item), (with_teaching, item)) for number in range(5)
    } == {1}


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
    for tried in (LITTLE, KEEP):
        monkeypatch.setattr(teaching_module, "LITTLE", tried)
        for seed in range(60, 66):
            examples = blurred.examples(("plastic", "metal"), np.repeat([2, 4], 10), seed, shift=0.0)
            found = teach(examples, tiny_bundle, reference, familiar, only=True)
            right.setdefault(tried, []).append(share(blurred.named(found, later), truth))
    assert np.mean(right[LITTLE]) > np.mean(right[KEEP]) + 0.02


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
    assert usual["glass"] == usual["metal"] == pytest.approx(usual["paper"] / RARE)


def test_only_leaves_out_untaught_labels(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel) -> None:
    teaching = teach(WORLD.examples(("glass", "can"), np.repeat([1, 6], 10), 8), tiny_bundle, reference, familiar, only=True)
    assert teaching.labels == ("glass", "can")
    embeddings = WORLD.photos(np.repeat([1, 6], 40), 9, shift=1.0)
    assert share(WORLD.named(teaching, embeddings), ["glass"] * 40 + ["can"] * 40) >= 0.97


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


def test_a_head_reads_back_equal_and_belongs_to_one_bundle(taught: FewshotHead, tiny_bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "taught.npz"
    write_fewshot_head(taught, file)
    read = read_fewshot_head(file, tiny_bundle)
    embedding, before = WORLD.photos(np.array([6]), 12)[0].astype(np.float32), np.full(6, 1 / 6)
    for found, expected in zip(*(each.predict(before, embedding, in_domain=False) for each in (read, taught)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (read.novelty.usual, read.right, read.sure) == (taught.novelty.usual, taught.right, taught.sure)
    assert (read.labels, read.only, read.examples.counts()) == (taught.labels, False, {"can": 10, "pet": 10})
    assert read.examples.isolated.tolist() == taught.examples.isolated.tolist() == [False] * 10 + [True] * 10
    assert read.prior.frequencies.tolist() == [RARE] * 6 + [1, 1]
    np.testing.assert_array_equal(read.prior.affinity, taught.prior.affinity)
    write_fewshot_head(read, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == file.read_bytes()

    other = msgspec.structs.replace(tiny_bundle, info=msgspec.structs.replace(tiny_bundle.info, name="other", digest="0" * 64))
    with pytest.raises(TeachingError, match=r"taught\.npz: taught on the bundle tiny .* is other .*teach it again"):
        read_fewshot_head(file, other)


def test_a_head_is_valid_for_a_bundle_that_differs_only_in_words(taught: FewshotHead, tiny_copy: Bundle, tmp_path: Path) -> None:
    """An upgrade that mends the model card must not cost a bin what it was taught."""
    write_fewshot_head(taught, tmp_path / "taught.npz")
    (tiny_copy.folder / "MODEL_CARD.md").write_text("# Tiny\n\nKnows six colours.\n", encoding="utf-8")
    reworded = write_bundle(tiny_copy.folder, msgspec.structs.replace(tiny_copy.info, replaces=(tiny_copy.info.digest,)))
    assert reworded.info.digest != tiny_copy.info.digest
    assert read_fewshot_head(tmp_path / "taught.npz", reworded).labels == taught.labels
    assert Judge(Classifier(reworded)).drift_file == Judge(Classifier(tiny_copy)).drift_file


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: b"no archive", lambda whole: whole[: len(whole) // 2]])
def test_a_damaged_file_is_named(damage: object, taught: FewshotHead, tiny_bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "taught.npz"
    write_fewshot_head(taught, file)
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(TeachingError, match=r"taught\.npz: .*sortbin teach"):
        read_fewshot_head(file, tiny_bundle)


def retell(stored: dict[str, np.ndarray], change: Callable[[dict[str, object]], object]) -> None:
    """Change what a taught file says of itself."""
    about = json.loads(stored["about"].tobytes())
    change(about)
    stored["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda stored: stored.pop("place"), "place.*sortbin teach"),
        (
            lambda stored: stored.update(place=stored["place"][:-1]),
            r"expected weights, bias, taken, often, kin and place of shapes .* teach it again",
        ),
        (
            lambda stored: stored.update(taken=stored["taken"][:, 1:]),
            r"expected weights, bias, taken, often, kin and place of shapes .* teach it again",
        ),
        (lambda stored: retell(stored, lambda about: about.update(often=[1.0])), r"expected weights, .* and place of shapes .* teach it again"),
        (lambda stored: retell(stored, lambda about: about.update(kin=[[1.0] * 6])), r"expected weights, .* and place of shapes .* teach it again"),
    ],
)
def test_a_file_with_wrong_arrays_is_refused(
    change: Callable[[dict[str, np.ndarray]], object], said: str, taught: FewshotHead, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    file = tmp_path / "taught.npz"
    write_fewshot_head(taught, file)
    with np.load(file) as archive:
        stored = dict(archive)
    change(stored)
    np.savez(file, **stored)
    with pytest.raises(TeachingError, match=rf"taught\.npz: .*{said}"):
        read_fewshot_head(file, tiny_bundle)


def test_an_older_file_without_new_keys_judges_as_before(taught: FewshotHead, tiny_bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "taught.npz"
    write_fewshot_head(taught, file)
    with np.load(file) as archive:
        stored = dict(archive)
    retell(stored, lambda about: [about.pop(name) for name in ("often", "kin", "isolated", "sure", "distinct")])
    np.savez(file, **stored)
    read = read_fewshot_head(file, tiny_bundle)
    assert read.sure is None
    assert read.distinct == {"can": 10, "pet": 10}
    assert not read.examples.isolated.any()
    assert read.prior.frequencies.tolist() == [1] * 8
    linear = split_posterior(taught.examples.probabilities.astype(np.float64), read.prior.columns, read.prior.claims, np.ones(20))
    np.testing.assert_allclose(read.prior.log_probabilities(taught.examples.probabilities.astype(np.float64), np.ones(20)), linear)
    later = WORLD.photos(np.repeat([6, 7], 30), 22, shift=1.0)
    assert share(WORLD.named(read, later, here=True), ["can"] * 30 + ["pet"] * 30) >= 0.95


def test_teaching_in_two_steps_equals_teaching_at_once(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel) -> None:
    first = WORLD.examples(("can",), np.repeat([6], 10), 13)
    second = WORLD.examples(("glass", "pet"), np.repeat([1, 7], 10), 14)
    together = first.followed_by(second)
    assert together.counts() == {"can": 10, "glass": 10, "pet": 10}
    teaching = teach(together, tiny_bundle, reference, familiar, only=False)
    embeddings = WORLD.photos(np.repeat([6, 7], 40), 15, shift=1.0)
    assert share(WORLD.named(teaching, embeddings), ["can"] * 40 + ["pet"] * 40) >= 0.97


def test_the_same_photos_give_the_same_file(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel, tmp_path: Path) -> None:
    for name in ("a", "b"):
        examples = WORLD.examples(("can", "pet"), np.repeat([6, 7], 4), 16)
        write_fewshot_head(teach(examples, tiny_bundle, reference, familiar, only=False), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def shown_again(examples: Examples, times: int, *, moved: float) -> Examples:
    """Every photo so often, as in frames of an item that lies still, or in a file of another size. moved: what that does to embeddings."""
    many = examples
    for time in range(1, times):
        embeddings = examples.embeddings + np.random.default_rng(time).normal(0, moved, examples.embeddings.shape)
        probabilities = WORLD.before(embeddings.astype(np.float64)).astype(np.float32) if moved else examples.probabilities
        many = many.followed_by(dataclasses.replace(examples, embeddings=embeddings.astype(np.float16), probabilities=probabilities))
    return many


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
    assert teaching.reject_below == tiny_bundle.info.reject_below
    more = shown_once.followed_by(WORLD.examples(("pet",), np.repeat([7], 9), 26))
    told = teach(more, tiny_bundle, reference, familiar, only=False)
    assert told.distinct == {"can": 1, "pet": 10}
    assert told.right is not None and told.right > 0.5 and (10 * told.right) == pytest.approx(round(10 * told.right))
    for each in (teaching, told):
        write_fewshot_head(each, tmp_path / "taught.npz")
        read = read_fewshot_head(tmp_path / "taught.npz", tiny_bundle)
        assert (read.distinct, read.right, read.sure) == (each.distinct, each.right, each.sure)


def test_a_label_with_one_photo_uses_the_distances_of_training_photos(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel) -> None:
    """Nothing tells how unlike another can may look, so the bundle's own sense of it counts; strangers are stranger than later items all the same."""
    teaching = teach(shown_again(WORLD.examples(("can", "pet"), np.array([6, 7]), 25), 5, moved=0.02), tiny_bundle, reference, familiar, only=True)
    assert teaching.novelty.distance.tolist() == pytest.approx([reference.mean_pair_distance, float(familiar.distance[1])])
    later, strangers = WORLD.photos(np.repeat([6, 7], 40), 27), WORLD.photos(np.repeat([1, 3], 40), 28)
    known, strange = (
        [teaching.predict(*row, in_domain=True)[1] for row in zip(WORLD.before(of), of.astype(np.float32), strict=True)] for of in (later, strangers)
    )
    assert np.median(known) < np.median(strange)


def test_exact_copies_of_earlier_photos_are_dropped() -> None:
    examples = WORLD.examples(("can", "pet"), np.repeat([6, 7], 3), 27)
    twice = shown_again(examples, 2, moved=0.0)
    kept = twice.without_copies()
    assert (twice.count, kept.count) == (12, 6)
    for name in ("targets", "photos", "embeddings", "probabilities", "isolated"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(examples, name))
    assert kept.followed_by(WORLD.examples(("can",), np.array([6]), 28)).without_copies().counts() == {"can": 4, "pet": 3}


def test_one_label_alone_is_refused() -> None:
    with pytest.raises(TeachingError, match="can: one label alone"):
        labels_after_teaching(OLD, ("can",), only=True)
    assert labels_after_teaching(OLD, ("zinc", "metal", "can"), only=True) == ("metal", "can", "zinc")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=20))
def test_labels_weigh_the_same_and_photos_within_a_label_too(photos: list[tuple[int, int]]) -> None:
    targets = np.array([label for label, views in photos for _ in range(views)])
    numbers = np.array([number for number, (_, views) in enumerate(photos) for _ in range(views)])
    weights = balanced_weights(targets, numbers)
    assert weights.sum() == pytest.approx(len(photos))
    of_label = [weights[targets == label].sum() for label in np.unique(targets)]
    assert of_label == pytest.approx([of_label[0]] * len(of_label))


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_minimize_finds_the_minimum_of_a_quadratic(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size)) * np.exp(rng.normal(0, 1, size))
    matrix, aim = root @ root.T + 0.1 * np.eye(size), rng.normal(size=size)
    best = np.linalg.solve(matrix, aim)
    found = minimize(lambda x: (0.5 * float(x @ matrix @ x) - float(aim @ x), matrix @ x - aim), np.zeros(size), steps=2000, close=1e-14)
    assert (0.5 * found @ matrix @ found - aim @ found) == pytest.approx(0.5 * best @ matrix @ best - aim @ best, rel=1e-4, abs=1e-6)
