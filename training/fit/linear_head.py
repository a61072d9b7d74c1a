"""The first phase: heads are fitted to frozen features. Features are computed once, without augmentation, so this is quick."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from converter.data.photos import Photo
from device.common.arrays import Float32Array, Float64Array
from training.fit.metrics import predict
from training.fit.recipe import HeadTraining, TrainingRecipe
from training.models.network import BIN_HEAD, HEAD, head_layers, set_head

Labels = npt.NDArray[np.intp]


class HeadExamples(NamedTuple):
    """Photos; the right column of `logits`, and of `bin_logits` where there is a second head; and weights in the loss. One entry a photo."""

    photos: Sequence[Photo]
    targets: dict[str, Labels]
    weights: Float32Array


def fit_heads(network: keras.Model, train: HeadExamples, val: HeadExamples, recipe: TrainingRecipe) -> list[dict[str, float]]:
    """Fit each head to the embeddings of the training photos and their mirror images: by logistic regression, or by AdamW with hidden layers.

    Returns the measures of each epoch of AdamW, by their names in `metrics.jsonl`; logistic regression has none.
    """
    photos, targets, weights = train
    size = network.input_shape[1]
    features = np.concatenate([predict(network, photos, size, mirrored=mirrored)["embedding"] for mirrored in (False, True)])
    twice = np.concatenate([weights, weights])
    both = {name: np.concatenate([wanted, wanted]) for name, wanted in targets.items()}
    if any(name not in (HEAD, BIN_HEAD) for name in head_layers(network)):
        val_features = predict(network, val.photos, size)["embedding"]
        return list(
            _train_hidden(network, HeadFeatures(features, both, twice), HeadFeatures(val_features, val.targets, val.weights), recipe.head_training)
        )
    for name, layer in (("logits", HEAD), ("bin_logits", BIN_HEAD)):
        if name in both:
            set_head(network, *fit_logistic_regression(features, both[name], network.output[name].shape[-1], twice, recipe.head_C), layer)
    return []


def fit_logistic_regression(
    features: Float32Array, targets: Labels, outputs: int, weights: Float32Array, strength: float
) -> tuple[Float64Array, Float64Array]:
    """Coefficients (outputs x features) and intercepts of a multinomial logistic regression. strength: C, the inverse of the L2 penalty.

    In float64, to a narrow tolerance, on centred features: in float32 the last bit of a feature changed coefficients by 1e-4, and intercepts by 7e-5
    where features lie far from zero. Centring does not change the optimum, because the intercept has no penalty.
    """
    centre = np.average(features.astype(np.float64), axis=0, weights=weights)
    fitted = LogisticRegression(C=strength, tol=1e-8, max_iter=5000).fit(features - centre, targets, sample_weight=weights)
    classes, slopes, offsets = fitted.classes_, fitted.coef_, fitted.intercept_ - fitted.coef_ @ centre
    if len(classes) == 2:
        slopes, offsets = np.concatenate([-slopes, slopes]) / 2, np.concatenate([-offsets, offsets]) / 2
    coefficients, intercepts = np.zeros((outputs, features.shape[1])), np.full(outputs, offsets.min() - 5.0)
    coefficients[classes], intercepts[classes] = slopes, offsets
    return coefficients, intercepts


class HeadFeatures(NamedTuple):
    """Embeddings, N x D, with their targets and weights as in HeadExamples."""

    embeddings: Float32Array
    targets: dict[str, Labels]
    weights: Float32Array


def _train_hidden(network: keras.Model, train: HeadFeatures, val: HeadFeatures, settings: HeadTraining) -> Iterator[dict[str, float]]:
    """Train the network's own head layers on features. Yields the measures of each epoch."""
    source = keras.Input((1, 1, train.embeddings.shape[1]))
    model = keras.Model(source, _heads(network, source, train.targets))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.AdamW(settings.learning_rate, weight_decay=settings.weight_decay)
    model.compile(optimizer, dict.fromkeys(train.targets, loss), jit_compile=False)
    optimizer.build(model.trainable_variables)  # else Keras traces the training step twice
    inputs = train.embeddings[:, None, None]
    for epoch in range(1, settings.epochs + 1):
        losses = model.fit(inputs, train.targets, sample_weight=train.weights, batch_size=settings.batch, verbose=0).history
        yield {
            "epoch": epoch,
            "loss": float(losses["loss"][0]),
            **_metrics("train", model, train),
            **_metrics("val", model, val),
        }


def _heads(network: keras.Model, source: keras.KerasTensor, targets: dict[str, Labels]) -> dict[str, keras.KerasTensor]:
    """The network's layers behind its features, on another input: one output for each target."""
    signal = source
    heads = {"logits": HEAD, "bin_logits": BIN_HEAD}
    names = [layer.name for layer in network.layers]
    hidden = [layer for layer in network.layers[names.index("dropout") + 1 :] if layer.name.startswith("dense")]
    for layer in hidden:
        signal = layer(signal)
    return {name: keras.layers.Flatten(name=name)(network.get_layer(heads[name])(signal)) for name in targets}


def _metrics(name: str, model: keras.Model, features: HeadFeatures) -> dict[str, float]:
    """Accuracy and mean negative log likelihood of the labels."""
    logits = model.predict(features.embeddings[:, None, None], batch_size=1024, verbose=0)["logits"].astype(np.float64)
    targets = features.targets["logits"]
    nll = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(targets)), targets]
    return {f"{name}_accuracy": float((logits.argmax(axis=1) == targets).mean()), f"{name}_nll": float(nll.mean()), f"{name}_n": len(targets)}
