"""Near-duplicates by the embeddings of a bundle: they find the same thing photographed again, which pixel hashes miss."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from converter.common.progress import Progress
from converter.data.photos import read_pixels
from device.common.arrays import Float32Array
from device.vision.inference.bundle import Bundle
from device.vision.inference.classifier import Classifier
from training.prepare.records import Records

BLOCK = 1024


def embed_pictures(records: Records, source: Path, bundle: Bundle, progress: Progress) -> None:
    """Store the embedding, scaled to length 1, of every decodable picture that has none of this bundle yet. Raises BundleError, RuntimeFault."""
    classifier = Classifier(bundle)
    classifier.check_golden_output()
    done = 0
    for page in records.unembedded(bundle.info.digest):
        for picture in page:
            embedding = classifier.outputs(read_pixels(source / picture.path)).embedding.ravel()
            records.embed(picture, embedding / max(float(np.linalg.norm(embedding)), 1e-9))
        records.commit()
        done += len(page)
        progress.step(f"embedding {done}")


def near_embeddings(records: Records, ids: Sequence[int], alike: float) -> Iterator[tuple[int, int, float]]:
    """All pairs of positions in `ids` whose embeddings have a cosine of at least `alike`, the lower position first, with the cosine.

    Compares every pair, a block at a time: twice the pictures take four times as long, and no more memory.
    """
    for top in range(0, len(ids), BLOCK):
        rows = records.embeddings(ids[top : top + BLOCK])
        for left in range(top, len(ids), BLOCK):
            columns: Float32Array = rows if left == top else records.embeddings(ids[left : left + BLOCK])
            cosines = rows @ columns.T
            for one, other in zip(*np.nonzero(cosines >= alike), strict=True):
                if top + one < left + other:
                    yield int(top + one), int(left + other), float(cosines[one, other])
