"""Near-duplicates that only a network sees."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from device.vision.inference.bundle import Bundle
from tests.training.prepare.pictures import drawn, encoded, rows
from training.prepare import embeddings
from training.prepare.embeddings import near_embeddings
from training.prepare.inspection import Inspected
from training.prepare.options import PrepareError
from training.prepare.records import PendingPicture, Records


def test_a_mirrored_copy_is_found_by_embedding_and_not_by_hash(prepare, source: Path, out: Path, tmp_path: Path, tiny_bundle: Bundle) -> None:
    for index in range(3):
        (source / "glass" / f"mirrored_{index}.png").write_bytes(encoded(drawn(index)[:, ::-1]))
    assert prepare(source, "--out", out) == 0
    assert not any(row["flags"] for row in rows(out).values())
    assert prepare(source, "--out", tmp_path / "seen", "--embeddings", tiny_bundle.folder, "--alike", "0.9999") == 0
    found = rows(tmp_path / "seen")
    for index in range(3):
        mirrored, shot = found[f"glass/mirrored_{index}.png"], found[f"glass/shot_{index:03}.png"]
        assert mirrored["group"] == shot["group"]
        assert mirrored["split"] == shot["split"]
        assert (mirrored["flags"], shot["flags"]) == ("", "near")


def test_embeddings_are_kept_and_those_of_another_bundle_are_not_taken(prepare, source: Path, out: Path, tmp_path: Path, tiny_bundle: Bundle) -> None:
    copy = Path(shutil.copytree(tiny_bundle.folder, tmp_path / "bundle"))
    assert prepare(source, "--out", out, "--embeddings", copy) == 0
    first = (out / "manifest.csv").read_bytes()
    assert prepare(source, "--out", out, "--embeddings", copy) == 0
    assert (out / "manifest.csv").read_bytes() == first
    with Records(out) as records:
        assert list(records.unembedded(tiny_bundle.info.digest)) == []
        assert sum(len(page) for page in records.unembedded("another")) == 24
    info = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match=r"bundle.json: digest does not match"):
        prepare(source, "--out", out, "--embeddings", copy)
    with pytest.raises(ValueError, match=r"bundle.json: No such file"):
        prepare(source, "--out", tmp_path / "none", "--embeddings", tmp_path)
    with pytest.raises(PrepareError, match=r"was prepared with other options \(bundle was"):
        prepare(source, "--out", out)


def test_pairs_are_the_same_in_blocks_as_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "BLOCK", 7)
    vectors = np.random.default_rng(0).normal(size=(40, 5))
    vectors[33] = vectors[2] + 0.01
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with Records(tmp_path) as records:
        for number, vector in enumerate(vectors, start=1):
            records.see(f"a/{number:02}.png", "tag", 1)
            records.store(PendingPicture(number, "", "tag"), Inspected(width=1))
            records.embed(PendingPicture(number, "", "b tag"), vector)
        found = {(one, other): cosine for one, other, cosine in near_embeddings(records, range(1, 41), 0.5)}
    cosines = vectors @ vectors.T
    assert (2, 33) in found
    clear = {(i, j) for j in range(40) for i in range(j) if cosines[i, j] >= 0.5 + 1e-3}
    doubtful = {(i, j) for j in range(40) for i in range(j) if abs(cosines[i, j] - 0.5) < 1e-3}
    assert clear <= found.keys() <= clear | doubtful
    assert all(cosine == pytest.approx(cosines[pair], abs=2e-3) for pair, cosine in found.items())
