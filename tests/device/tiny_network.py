"""Write the network of the tests' tiny bundle: `python tiny_network.py FILE`. A program, so that TensorFlow stays out of the tests' process.

Six labels stand for six colours. The features are the mean of each channel above and below mid-grey, and the head compares them with each label's
colour. So a picture in a label's colour gets that label for certain, and a grey one gets all labels alike.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf

SIZE = 32
COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 255, 255), (255, 0, 255), (255, 255, 0)], np.float32) / 127.5 - 1


def network() -> keras.Model:
    image = keras.Input(batch_shape=(1, SIZE, SIZE, 3), name="image")
    halves = keras.layers.Conv2D(8, 2, strides=2, activation="relu", name="halves")
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(halves(image))
    head = keras.layers.Conv2D(6, 1, name="head")
    outputs = {"logits": keras.layers.Flatten(name="logits")(head(pooled)), "embedding": keras.layers.Flatten(name="embedding")(pooled)}
    model = keras.Model(image, outputs)

    kernel = np.zeros((2, 2, 3, 8), np.float32)
    for channel in range(3):
        kernel[:, :, channel, channel], kernel[:, :, channel, channel + 3] = 0.25, -0.25
        kernel[:, :, channel, 6:] = 1 / 12
    halves.set_weights([kernel, np.zeros(8, np.float32)])
    weights = np.concatenate([COLOURS, -COLOURS, np.zeros((6, 2), np.float32)], axis=1)
    head.set_weights([4 * weights.T[np.newaxis, np.newaxis], np.zeros(6, np.float32)])
    return model


def pictures() -> list[list[np.ndarray]]:
    noise = np.random.default_rng(0).uniform(-1, 1, (8, SIZE, SIZE, 3)).astype(np.float32)
    plain = [np.broadcast_to(colour, (SIZE, SIZE, 3)).astype(np.float32) for colour in COLOURS]
    return [[picture[np.newaxis]] for picture in [*plain, *noise]]


def main(file: Path) -> None:
    converter = tf.lite.TFLiteConverter.from_keras_model(network())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = pictures
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type, converter.inference_output_type = tf.uint8, tf.int8
    file.write_bytes(converter.convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
