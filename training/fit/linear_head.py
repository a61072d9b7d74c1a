"""The first phase: heads fitted to frozen features. Features are computed once, so this is quick; augmentation has no part in it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from converter.data.photos import Photo
from device.common.arrays import Float32Array
from training.fit.metrics import predict
from training.fit.recipe import HeadTraining, TrainingRecipe
from training.models.network import BIN_HEAD, HEAD, head_layers, set_head

Labels = npt.NDArray[np.intp]


class HeadExamples(NamedTuple):
    """Photos, for each head the index of the right output (`logits`, and `bin_logits` where there is a second one), and weights, one a photo."""

    photos: Sequence[Photo]
    targets: dict[str, Labels]
    weights: Float32Array


def fit_heads(network: keras.Model, train: HeadExamples, val: HeadExamples, recipe: TrainingRecipe) -> list[dict[str, float]]:
    """Fit each head to the embeddings of the training photos and their mirror images: by logistic regression, with hidden layers by AdamW.

    Returns what came of each epoch of AdamW on training and validation photos, by the names of `metrics.jsonl`; of a regression, nothing.
    """
    photos, targets, weights = train
    size = network.input_shape[1]
    features = np.concatenate([predict(network, photos, size, mirrored=mirrored)["embedding"] for mirrored in (False, True)])
    twice = np.concatenate([weights, weights])
    both = {name: np.concatenate([wanted, wanted]) for name, wanted in targets.items()}
    if any(name not in (HEAD, BIN_HEAD) for name in head_layers(network)):
        seen = predict(network, val.photos, size)["embedding"]
        return list(_train_hidden(network, HeadFeatures(features, both, twice), HeadFeatures(seen, val.targets, val.weights), recipe.head_training))
    for name, layer in (("logits", HEAD), ("bin_logits", BIN_HEAD)):
        if name in both:
            set_head(network, *fit_logistic_regression(features, both[name], network.output[name].shape[-1], twice, recipe.head_C), layer)
    return []


def fit_logistic_regression(
    features: Float32Array, targets: Labels, outputs: int, weights: Float32Array, decay: float
) -> tuple[Float32Array, Float32Array]:
    """Coefficients (outputs x features) and intercepts of a multinomial logistic regression.

    In float64, to a narrow tolerance, and on centred features: a last bit of the features moved coefficients by 1e-4 in float32, and intercepts by
    7e-5 where features lie far from zero. Centring does not move the optimum, for the intercept carries no penalty.
    """
    centre = np.average(features.astype(np.float64), axis=0, weights=weights)
    fitted = LogisticRegression(C=decay, tol=1e-8, max_iter=5000).fit(features - centre, targets, sample_weight=weights)
    known, slopes, offsets = fitted.classes_, fitted.coef_, fitted.intercept_ - fitted.coef_ @ centre
    if len(known) == 2:
        slopes, offsets = np.concatenate([-slopes, slopes]) / 2, np.concatenate([-offsets, offsets]) / 2
    coefficients, intercepts = np.zeros((outputs, features.shape[1])), np.full(outputs, offsets.min() - 5.0)
    coefficients[known], intercepts[known] = slopes, offsets
    return coefficients, intercepts


class HeadFeatures(NamedTuple):
    """Embeddings, N x D, and as in Examples what belongs to each."""

    embeddings: Float32Array
    targets: dict[str, Labels]
    weights: Float32Array


def _train_hidden(network: keras.Model, train: HeadFeatures, val: HeadFeatures, settings: HeadTraining) -> Iterator[dict[str, float]]:
    """Train the head's layers on features alone; they are the network's own. Gives what came of each epoch."""
    source = keras.Input((1, 1, train.embeddings.shape[1]))
    model = keras.Model(source, _heads(network, source, train.targets))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.AdamW(settings.learning_rate, weight_decay=settings.weight_decay)
    model.compile(optimizer, dict.fromkeys(train.targets, loss), jit_compile=False)
    inputs = train.embeddings[:, None, None]
    for epoch in range(1, settings.epochs + 1):
        told = model.fit(inputs, train.targets, sample_weight=train.weights, batch_size=settings.batch, verbose=0).history
        yield {
            "epoch": epoch,
            "loss": float(told["loss"][0]),
            **_metrics("train", model, train),
            **_metrics("val", model, val),
        }


def _heads(network: keras.Model, source: keras.KerasTensor, targets: dict[str, Labels]) -> dict[str, keras.KerasTensor]:
    """The network's layers behind its features, on other inputs: one output for each of the targets."""
    signal = source
    heads = {"logits": HEAD, "bin_logits": BIN_HEAD}
    names = [layer.name for layer in network.layers]
    hidden = [layer for layer in network.layers[names.index("dropout") + 1 :] if layer.name.startswith("dense")]
    for layer in hidden:
        signal = layer(signal)
    return {name: keras.layers.Flatten(name=name)(network.get_layer(heads[name])(signal)) for name in targets}


def _metrics(name: str, model: keras.Model, seen: HeadFeatures) -> dict[str, float]:
    """Accuracy and mean negative log likelihood of the labels."""
    logits = model.predict(seen.embeddings[:, None, None], batch_size=1024, verbose=0)["logits"].astype(np.float64)
    targets = seen.targets["logits"]
    nll = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(targets)), targets]
    return {f"{name}_accuracy": float((logits.argmax(axis=1) == targets).mean()), f"{name}_nll": float(nll.mean()), f"{name}_n": len(targets)}
