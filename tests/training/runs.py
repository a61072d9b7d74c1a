"""Run folders made without training, and shortcuts for commands."""

from pathlib import Path

import keras

from converter.cli import main as convert
from training.cli import main
from training.models.backbones import build_trunk
from training.models.batch_norm_folding import fold_batch_norm
from training.models.network import add_heads

LABELS = ("blue can", "green jar", "red box")
STAGE = "[[stage]]\nsize = 48\nepochs = 1\nlearning_rate = 1e-5\n"
SMALL = 'backbone = "scratch_cnn"\nscratch = { layers = 3, features = 8, kernel = 3, activation = "relu", batch_norm = false }\n'


def build_network(label_count: int, size: int, width: float, seed: int = 0) -> keras.Model:
    """An untrained MobileNetV2 for size x size inputs, its batch norm folded."""
    return add_heads(fold_batch_norm(build_trunk("mobilenet_v2", size, width=width)), label_count, seed=seed)


def run_of(network: keras.Model, folder: Path, recipe: str, labels: tuple[str, ...] = LABELS) -> Path:
    """A run folder with the network; its photos are those of `shapes`."""
    folder.mkdir()
    network.save(folder / "model.keras")
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    (folder / "recipe.toml").write_text(recipe)
    for name, numbers in (("train.txt", range(8)), ("val.txt", range(8, 12))):
        (folder / name).write_text("".join(f"{label}/{number:02}.png\n" for label in LABELS for number in numbers))
    return folder


def called(*arguments: object) -> int:
    """Run `training` with these arguments. Returns the exit status."""
    return main([str(argument) for argument in arguments])


def quantized(run: Path, data: Path, out: Path, *options: object) -> Path:
    """Quantize a run with any loss. Returns the bundle."""
    asked = ("quantize", run, "--data", data, "--out", out, "--tolerance", "100", "--calibration", "8", *options)
    assert convert([str(argument) for argument in asked]) == 0
    return out
