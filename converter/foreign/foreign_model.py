"""Classifiers of other programs: a `.keras` or `.h5` file or a SavedModel, converted to the form that a bundle needs.

The network is frozen to a plain graph. A softmax or sigmoid at its end is removed. The input of its last dense layer or convolution is the embedding.
The conversion to its range of pixels is added in front, so that it takes a square picture of -1..1 like the networks of `training fit`.
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
        """pixels: one of RANGES. Raises GraphError if the network does not give one value per label."""
        self.size = max(model.shape[:2])
        graph = model.function.prune([model.image], [head.scores, head.embedding])
        values = int(tf.size(graph(tf.zeros((1, *model.shape)))[0]))
        if values != label_count and (values, label_count) != (1, 2):
            raise GraphError(f"expected {label_count} values, one per label, found {values}")

        def answer(image: tf.Tensor) -> dict[str, tf.Tensor]:
            scores, embedding = graph(_to_trained_input(image, model.shape, pixels))
            if values == 1:
                # One sigmoid for two labels: softmax over -z/2 and z/2 is sigmoid(z) for the second.
                scores = tf.matmul(tf.reshape(scores, (1, 1)), tf.constant([[-0.5, 0.5]]))
            return {"logits": tf.reshape(scores, (1, -1)), "embedding": tf.reshape(_pool(embedding), (1, -1))}

        self._module = tf.Module()
        self._module.graph = graph
        self._module.answer = tf.function(answer, input_signature=[tf.TensorSpec((1, self.size, self.size, 3), tf.float32, name="image")])

    def predict(self, pictures: Iterable[Pixels]) -> dict[str, Float32Array]:
        """Outputs by name, one row per picture of size x size x 3 uint8."""
        rows = [self._module.answer(to_float(picture)[None]) for picture in pictures]
        return {name: np.concatenate([row[name].numpy() for row in rows]) for name in ("logits", "embedding")}

    @contextlib.contextmanager
    def exported(self) -> Iterator[Path]:
        """The network as a SavedModel in a temporary folder."""
        with tempfile.TemporaryDirectory(prefix="sortbin-") as folder:
            # Gradients of silu and similar functions are separate functions, which a frozen graph does not contain.
            options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
            tf.saved_model.save(self._module, folder, signatures={"serving_default": self._module.answer}, options=options)
            yield Path(folder)


class ForeignClassifier:
    """A classifier as it was saved. `network` converts it once its range of pixels is known."""

    def __init__(self, file: Path, label_count: int, output: str | None = None, size: int | None = None) -> None:
        """Read a `.keras` or `.h5` file or the folder of a SavedModel. output: which of several. size: side of its input if that is open.

        Raises NetworkError for other files, and for a model that does not have exactly one input of pictures, draws random numbers, or does not give
        one value for each of `label_count` labels.
        """
        require_model(file)
        self._file, self._label_count = file, label_count
        self._model = load_frozen(file, output, size)
        with self._naming_the_file():
            self._head = find_head(self._model.output, self._model.image)

    @property
    def ranges(self) -> tuple[str, ...]:
        """The pixel ranges that it may have been trained on."""
        if self._model.whole_numbers:
            return ("0,255",)
        return GREY_RANGES if self._model.shape[2] == 1 else tuple(RANGES)

    @property
    def kind(self) -> str:
        """The kind of its input, in words."""
        return "whole numbers" if self._model.whole_numbers else "grey pictures" if self._model.shape[2] == 1 else "colour pictures"

    def network(self, pixels: str) -> ForeignNetwork:
        """The network to quantize. pixels: one of RANGES. Raises NetworkError."""
        with self._naming_the_file():
            return ForeignNetwork(self._model, self._head, self._label_count, pixels)

    @contextlib.contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        """Turn the errors of the block into a NetworkError that names the file."""
        try:
            yield
        except GraphError as error:
            raise NetworkError(f"{self._file}: {error}") from error
        except tf.errors.OpError as error:
            raise NetworkError(f"{self._file}: does not run: {first_sentence(error)}") from error


def _to_trained_input(image: tf.Tensor, shape: tuple[int, int, int], pixels: str) -> tf.Tensor:
    """Convert a square picture of -1..1 to the pixel range, size and channels that the network was trained on."""
    height, width, channels = shape
    if (height, width) != tuple(image.shape[1:3]):
        image = tf.image.resize(image, (height, width))
    if pixels == "-1,1" and channels == 3:
        return image
    matrix, bias = RANGES[pixels].matrix_and_bias(channels)
    return tf.nn.conv2d(image, tf.constant(matrix[np.newaxis, np.newaxis]), 1, "VALID") + tf.constant(bias)


def _pool(embedding: tf.Tensor) -> Any:
    """The mean over all positions of a feature map, or over all rows of a list: one value per feature."""
    places = [axis for axis in range(1, embedding.shape.rank - 1) if embedding.shape[axis] != 1]
    if embedding.shape.rank == 2 and embedding.shape[0] != 1:
        places = [0]
    return tf.reduce_mean(embedding, places) if places else embedding
