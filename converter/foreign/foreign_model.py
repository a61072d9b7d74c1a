"""Classifiers that our training did not make: a `.keras` or `.h5` file or a SavedModel, brought into the form that a bundle needs.

The network is frozen to a plain graph. A softmax or sigmoid at its end is left off, what its last dense layer or convolution takes is the
embedding, and the range of pixels it was made for goes in front, so that it takes a square of -1..1 as all of ours do.
"""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from converter.common.exception_text import first_sentence
from converter.common.network_error import NetworkError
from converter.foreign.classifier_head import ClassifierHead, find_head
from converter.foreign.file_checks import require_model
from converter.foreign.graph_edits import GraphError
from converter.foreign.loading import FrozenModel, load_frozen
from converter.foreign.pixel_range import GREY_RANGES, RANGES
from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels, to_float


class ForeignNetwork:
    """A frozen graph with the outputs `logits` and `embedding`, for one picture at a time. size: side of its square input in pixels."""

    def __init__(self, model: FrozenModel, head: ClassifierHead, label_count: int, pixels: str) -> None:
        """pixels: one of RANGES. Raises GraphError where it does not give a value for each label."""
        self.size = max(model.shape[:2])
        graph = model.function.prune([model.image], [head.scores, head.embedding])
        values = int(tf.size(graph(tf.zeros((1, *model.shape)))[0]))
        if values != label_count and (values, label_count) != (1, 2):
            raise GraphError(f"expected {label_count} values, one per label, found {values}")

        def answer(image: tf.Tensor) -> dict[str, tf.Tensor]:
            scores, embedding = graph(_as_trained(image, model.shape, pixels))
            if values == 1:
                # One sigmoid for two labels: softmax over -z/2 and z/2 is sigmoid(z) for the second.
                scores = tf.matmul(tf.reshape(scores, (1, 1)), tf.constant([[-0.5, 0.5]]))
            return {"logits": tf.reshape(scores, (1, -1)), "embedding": tf.reshape(_pooled(embedding), (1, -1))}

        self._module = tf.Module()
        self._module.graph = graph
        self._module.answer = tf.function(answer, input_signature=[tf.TensorSpec((1, self.size, self.size, 3), tf.float32, name="image")])

    def predict(self, pictures: Iterable[Pixels]) -> dict[str, Float32Array]:
        """Outputs by name, one row a picture of size x size x 3 uint8."""
        rows = [self._module.answer(to_float(picture)[None]) for picture in pictures]
        return {name: np.concatenate([row[name].numpy() for row in rows]) for name in ("logits", "embedding")}

    @contextlib.contextmanager
    def exported(self) -> Iterator[Path]:
        """The network as a SavedModel in a temporary folder."""
        with tempfile.TemporaryDirectory(prefix="sortbin-") as folder:
            # Gradients of silu and its kind are functions of their own, which are not in a frozen graph.
            options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
            tf.saved_model.save(self._module, folder, signatures={"serving_default": self._module.answer}, options=options)
            yield Path(folder)


class ForeignClassifier:
    """A classifier as it was found, which becomes a network once its range of pixels is known."""

    def __init__(self, file: Path, label_count: int, output: str | None = None, size: int | None = None) -> None:
        """Read a `.keras` or `.h5` file or the folder of a SavedModel. output: which of several; size: side of its input where that is open.

        Raises NetworkError for what is none of these, has other than one input for pictures, draws random numbers, or does not give a value
        for each of `label_count` labels.
        """
        require_model(file)
        self._file, self._label_count = file, label_count
        self._model = load_frozen(file, output, size)
        with self._named():
            self._head = find_head(self._model.output, self._model.image)

    @property
    def ranges(self) -> tuple[str, ...]:
        """The ranges of pixels that it can have been trained on."""
        if self._model.whole_numbers:
            return ("0,255",)
        return GREY_RANGES if self._model.shape[2] == 1 else tuple(RANGES)

    @property
    def kind(self) -> str:
        """What it takes, in words."""
        return "whole numbers" if self._model.whole_numbers else "grey pictures" if self._model.shape[2] == 1 else "colour pictures"

    def network(self, pixels: str) -> ForeignNetwork:
        """What is quantized. pixels: one of RANGES. Raises NetworkError."""
        with self._named():
            return ForeignNetwork(self._model, self._head, self._label_count, pixels)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except GraphError as error:
            raise NetworkError(f"{self._file}: {error}") from error
        except tf.errors.OpError as error:
            raise NetworkError(f"{self._file}: does not run: {first_sentence(error)}") from error


def _as_trained(image: tf.Tensor, shape: tuple[int, int, int], pixels: str) -> tf.Tensor:
    """A square picture of -1..1 with the values, the size and the channels that a network was trained on."""
    height, width, channels = shape
    if (height, width) != tuple(image.shape[1:3]):
        image = tf.image.resize(image, (height, width))
    if pixels == "-1,1" and channels == 3:
        return image
    matrix, bias = RANGES[pixels].mixing(channels)
    return tf.nn.conv2d(image, tf.constant(matrix[np.newaxis, np.newaxis]), 1, "VALID") + tf.constant(bias)


def _pooled(embedding: tf.Tensor) -> Any:
    """The mean over every place of a map, or over all rows of a list: what is left is a value a feature."""
    places = [axis for axis in range(1, embedding.shape.rank - 1) if embedding.shape[axis] != 1]
    if embedding.shape.rank == 2 and embedding.shape[0] != 1:
        places = [0]
    return tf.reduce_mean(embedding, places) if places else embedding
