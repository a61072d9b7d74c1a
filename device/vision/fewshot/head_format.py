"""The file of a few-shot head: arrays that `numpy.load` reads, and a JSON description among them."""

import math
from pathlib import Path

import msgspec
import numpy as np

from device.common.files import replacing_durably
from device.vision.fewshot.domain import DomainDirection
from device.vision.fewshot.examples import Examples
from device.vision.fewshot.fewshot_head import FewshotHead, TeachingError, kept_columns
from device.vision.fewshot.linear_head import HeadRecipe, LinearHead
from device.vision.fewshot.prior import FewshotPrior
from device.vision.fewshot.teach import KEEP_PENALTY
from device.vision.inference.bundle import Bundle
from device.vision.inference.novelty import NoveltyModel
from device.vision.inference.npz import read_arrays, write_arrays

_ARRAYS = (
    *("about", "embeddings", "probabilities", "targets", "photos", "weights", "bias", "taken", "place", "prototypes"),
    *("distance", "doubt", "quantiles"),
)


class _About(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON description, array `about`. Keys with a default are missing in files of older versions."""

    bundle: str
    """digest of the bundle whose embeddings the head was fitted to"""
    name: str
    """name of that bundle"""
    labels: tuple[str, ...]
    taught: tuple[str, ...]
    only: bool
    trust: float
    loose: float
    keep: float = KEEP_PENALTY
    temperature: float
    reject_below: float
    unknown_above: float
    right: float | None
    sure: float | None = None
    sure_right: float | None = None
    distinct: tuple[int, ...] = ()
    """number of distinct photos for each taught label"""
    sequences: tuple[int, ...] = ()
    """number of sequences for each taught label"""
    known_photos: int
    usual: float | None = None
    often: tuple[float, ...] = ()
    """`FewshotPrior.frequencies`"""
    kin: tuple[tuple[float, ...], ...] = ()
    """`FewshotPrior.affinity`"""
    isolated: tuple[int, ...] = ()
    """rows that show an isolated item"""


def write_fewshot_head(head: FewshotHead, file: Path) -> None:
    """Write a head to one file, whole or not at all. Raises OSError."""
    about = _About(
        bundle=head.digest,
        name=head.name,
        labels=head.labels,
        taught=head.examples.labels,
        only=head.only,
        trust=head.recipe.prior_weight,
        loose=head.recipe.weight_std_nats,
        keep=head.recipe.keep_penalty,
        temperature=head.temperature,
        reject_below=head.reject_below,
        unknown_above=head.unknown_above,
        right=head.right,
        sure=head.sure,
        sure_right=head.sure_right,
        distinct=tuple(head.distinct[label] for label in head.examples.labels),
        sequences=tuple(head.sequences[label] for label in head.examples.labels if label in head.sequences),
        known_photos=int(head.novelty.photos),
        usual=head.novelty.usual if math.isfinite(head.novelty.usual) else None,
        often=tuple(head.prior.frequencies.tolist()),
        kin=tuple(map(tuple, head.prior.affinity.tolist())),
        isolated=tuple(np.flatnonzero(head.examples.isolated).tolist()),
    )
    examples, linear, prior, novelty = head.examples, head.head, head.prior, head.novelty
    domain = np.zeros(0) if prior.domain is None else np.concatenate([prior.domain.weights, prior.domain.middles])
    arrays = (
        *(np.frombuffer(msgspec.json.encode(about), np.uint8), examples.embeddings, examples.probabilities, examples.targets, examples.photos),
        *(linear.weights.astype(np.float32), linear.bias.astype(np.float32), prior.claims.astype(np.float32), domain.astype(np.float32)),
        *(novelty.prototypes.astype(np.float16), novelty.distance, novelty.doubt, novelty.quantiles),
    )
    with replacing_durably(file) as new:
        write_arrays(new, dict(zip(_ARRAYS, arrays, strict=True)))


def read_fewshot_head(file: Path, bundle: Bundle) -> FewshotHead:
    """Read what `write_fewshot_head` wrote. Raises TeachingError for a damaged file, and for a head of another bundle."""
    try:
        described, *rows, weights, bias, claims, direction, prototypes, distance, doubt, quantiles = read_arrays(file, _ARRAYS)
        embeddings, probabilities, targets, photos = rows
        about = msgspec.json.decode(described.tobytes(), type=_About)
    except OSError as error:
        raise TeachingError(f"{file}: {error.strerror}; expected a file that `sortbin teach --out` wrote") from error
    except (ValueError, msgspec.MsgspecError) as error:
        raise TeachingError(f"{file}: {error}; expected a file that `sortbin teach --out` wrote") from error
    if about.bundle != bundle.info.learning_digest:
        raise TeachingError(
            f"{file}: taught on the bundle {about.name} ({about.bundle[:12]}), and this one is {bundle.info.name} "
            f"({bundle.info.learning_digest[:12]}); teach it again from the photos"
        )
    columns, features = kept_columns(bundle.info.labels, about.labels), embeddings.shape[-1]
    labels, old = len(about.labels), len(bundle.info.labels)
    frequencies = np.array(about.often or np.ones(labels), np.float64)
    affinity = np.array(about.kin or np.eye(1, old).repeat(labels - len(columns), axis=0), np.float64).reshape(-1, old)
    found = weights.shape, bias.shape, claims.shape, frequencies.shape, affinity.shape, direction.shape if len(direction) else (features + old,)
    expected = (labels, features), (labels,), (labels - len(columns), old), (labels,), (labels - len(columns), old), (features + old,)
    if found != expected:
        raise TeachingError(f"{file}: expected weights, bias, taken, often, kin and place of shapes {expected}, found {found}; teach it again")
    examples = Examples(about.taught, targets, photos, embeddings, probabilities, np.isin(np.arange(len(photos)), about.isolated))
    usual = math.inf if about.usual is None else about.usual
    domain = DomainDirection(*np.split(direction.astype(np.float64), [features])) if len(direction) else None
    return FewshotHead(
        about.bundle,
        about.name,
        about.labels,
        about.only,
        examples,
        LinearHead(weights.astype(np.float64), bias.astype(np.float64), about.trust),
        HeadRecipe(about.trust, about.loose, about.keep),
        FewshotPrior(columns, claims.astype(np.float64), frequencies, affinity, domain),
        about.temperature,
        about.reject_below,
        about.unknown_above,
        NoveltyModel(prototypes.astype(np.float32), distance, doubt, quantiles, np.array(about.known_photos, np.int64), usual),
        dict(zip(about.taught, about.distinct, strict=True)) if len(about.distinct) == len(about.taught) else examples.counts(),
        dict(zip(about.taught, about.sequences, strict=False)),
        about.right,
        about.sure,
        about.sure_right,
    )
