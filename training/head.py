"""The first phase: heads fitted to frozen features. Features are computed once, so this is quick; augmentation has no part in it."""

from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from converter.photos import Photo
from training.network import BIN_HEAD, HEAD, head_layers, set_head
from training.score import predict

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.intp]

HIDDEN_EPOCHS = 60


def fit_heads(network: keras.Model, photos: Sequence[Photo], targets: dict[str, Labels], weights: Floats, decay: float) -> None:
    """Fit each head to the embeddings of the photos and their mirror images.

    targets: for `logits` and, where there is a second head, `bin_logits`: the index of the right output, one a photo. weights: one a photo.
    decay: C of the logistic regression. Heads with hidden layers are trained by gradient descent instead.
    """
    size = network.input_shape[1]
    features = np.concatenate([predict(network, photos, size, mirrored=mirrored)["embedding"] for mirrored in (False, True)])
    twice = np.concatenate([weights, weights])
    both = {name: np.concatenate([wanted, wanted]) for name, wanted in targets.items()}
    if any(name not in (HEAD, BIN_HEAD) for name in head_layers(network)):
        _train_hidden(network, features, both, twice)
        return
    for name, layer in (("logits", HEAD), ("bin_logits", BIN_HEAD)):
        if name in both:
            set_head(network, *regression(features, both[name], network.output[name].shape[-1], twice, decay), layer)


def regression(features: Floats, targets: Labels, outputs: int, weights: Floats, decay: float) -> tuple[Floats, Floats]:
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


def _train_hidden(network: keras.Model, features: Floats, targets: dict[str, Labels], weights: Floats) -> None:
    """Train copies of the head's layers on features alone, and put their weights back."""
    signal = source = keras.Input((1, 1, features.shape[1]))
    layers = {name: network.get_layer(name) for name in head_layers(network)}
    heads = {"logits": HEAD, "bin_logits": BIN_HEAD}
    for name, layer in layers.items():
        if name not in heads.values():
            signal = layer(signal)
    outputs = {name: keras.layers.Flatten(name=name)(layers[heads[name]](signal)) for name in targets}
    model = keras.Model(source, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=1e-3), dict.fromkeys(targets, loss), jit_compile=False)
    model.fit(features[:, None, None], targets, sample_weight=weights, batch_size=64, epochs=HIDDEN_EPOCHS, verbose=0)
