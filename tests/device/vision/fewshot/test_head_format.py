"""The file of a few-shot head: what reads back, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from device.vision.fewshot.fewshot_head import FewshotHead, TeachingError
from device.vision.fewshot.head_format import read_fewshot_head, write_fewshot_head
from device.vision.fewshot.label_transfer import split_posterior
from device.vision.fewshot.prior import UNTAUGHT_FREQUENCY
from device.vision.fewshot.teach import teach
from device.vision.inference.bundle import Bundle, write_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.embedding_stats import EmbeddingStats
from device.vision.inference.novelty import NoveltyModel
from device.vision.judge import Judge
from tests.device.vision.fewshot.synthetic import WORLD, share

pytestmark = pytest.mark.slow


def test_a_head_reads_back_equal_and_belongs_to_one_bundle(taught: FewshotHead, tiny_bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "taught.npz"
    write_fewshot_head(taught, file)
    read = read_fewshot_head(file, tiny_bundle)
    embedding, before = WORLD.photos(np.array([6]), 12)[0].astype(np.float32), np.full(6, 1 / 6)
    for found, expected in zip(*(each.predict(before, embedding, in_domain=False) for each in (read, taught)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (read.novelty.usual, read.right, read.sure, read.sure_right) == (taught.novelty.usual, taught.right, taught.sure, taught.sure_right)
    assert (read.labels, read.only, read.examples.counts()) == (taught.labels, False, {"can": 10, "pet": 10})
    assert read.examples.isolated.tolist() == taught.examples.isolated.tolist() == [False] * 10 + [True] * 10
    assert read.prior.frequencies.tolist() == [UNTAUGHT_FREQUENCY] * 6 + [1, 1]
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


def change_description(stored: dict[str, np.ndarray], change: Callable[[dict[str, object]], object]) -> None:
    """Change the JSON description in the arrays of a file."""
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
        (
            lambda stored: change_description(stored, lambda about: about.update(often=[1.0])),
            r"expected weights, .* and place of shapes .* teach it again",
        ),
        (
            lambda stored: change_description(stored, lambda about: about.update(kin=[[1.0] * 6])),
            r"expected weights, .* and place of shapes .* teach it again",
        ),
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
    change_description(
        stored, lambda about: [about.pop(name) for name in ("often", "kin", "isolated", "sure", "sure_right", "distinct", "sequences")]
    )
    np.savez(file, **stored)
    read = read_fewshot_head(file, tiny_bundle)
    assert (read.sure, read.sure_right, read.sequences) == (None, None, {})
    assert read.distinct == {"can": 10, "pet": 10}
    assert not read.examples.isolated.any()
    assert read.prior.frequencies.tolist() == [1] * 8
    linear = split_posterior(taught.examples.probabilities.astype(np.float64), read.prior.columns, read.prior.claims, np.ones(20))
    np.testing.assert_allclose(read.prior.log_probabilities(taught.examples.probabilities.astype(np.float64), np.ones(20)), linear)
    later = WORLD.photos(np.repeat([6, 7], 30), 22, shift=1.0)
    assert share(WORLD.named(read, later, here=True), ["can"] * 30 + ["pet"] * 30) >= 0.95


def test_the_same_photos_give_the_same_file(tiny_bundle: Bundle, reference: EmbeddingStats, familiar: NoveltyModel, tmp_path: Path) -> None:
    for name in ("a", "b"):
        examples = WORLD.examples(("can", "pet"), np.repeat([6, 7], 4), 16)
        write_fewshot_head(teach(examples, tiny_bundle, reference, familiar, only=False), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
