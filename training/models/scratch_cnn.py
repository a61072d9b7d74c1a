"""Networks to train from scratch: a small configurable CNN, and ResNet-18."""

import keras

from training.models.scratch_options import ScratchCnnOptions


def scratch_cnn(shape: tuple[int, int, int], options: ScratchCnnOptions) -> keras.Model:
    """A trunk for inputs of `shape` (height, width, 3), float32 -1..1."""
    signal = source = keras.Input(shape)
    features = options.features
    for number in range(options.layers):
        signal = keras.layers.Conv2D(features, options.kernel, padding="same", use_bias=not options.batch_norm, name=f"conv{number}")(signal)
        if options.batch_norm:
            signal = keras.layers.BatchNormalization(name=f"norm{number}")(signal)
        signal = keras.layers.Activation(options.activation, name=f"act{number}")(signal)
        signal = keras.layers.MaxPooling2D(2, padding="same", name=f"pool{number}")(signal)
        features = max(8, {"same": features, "doubling": 2 * features, "halving": features // 2}[options.strategy])
    return keras.Model(source, signal, name="scratch_cnn")


def resnet18(shape: tuple[int, int, int]) -> keras.Model:
    """A trunk as in He et al. 2016, table 1, 18 layers: four stages, each of two blocks of two 3 x 3 convolutions."""
    source = keras.Input(shape)
    signal = _convolution(source, 64, 7, 2, "stem")
    signal = keras.layers.Activation("relu", name="stem_act")(signal)
    signal = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(signal)
    for stage, features in enumerate((64, 128, 256, 512)):
        for block in range(2):
            signal = _block(signal, features, 2 if stage and not block else 1, f"stage{stage}_block{block}")
    return keras.Model(source, signal, name="resnet18")


def _block(signal: keras.KerasTensor, features: int, stride: int, name: str) -> keras.KerasTensor:
    shortcut = signal
    if stride != 1 or signal.shape[-1] != features:
        shortcut = _convolution(signal, features, 1, stride, f"{name}_shortcut")
    signal = keras.layers.Activation("relu", name=f"{name}_act1")(_convolution(signal, features, 3, stride, f"{name}_1"))
    signal = _convolution(signal, features, 3, 1, f"{name}_2")
    signal = keras.layers.Add(name=f"{name}_add")([signal, shortcut])
    return keras.layers.Activation("relu", name=f"{name}_act2")(signal)


def _convolution(signal: keras.KerasTensor, features: int, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    signal = keras.layers.Conv2D(features, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv")(
        signal
    )
    return keras.layers.BatchNormalization(name=f"{name}_norm")(signal)
