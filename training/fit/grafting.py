"""Grafting: the last layers of one network are added to another, beside its own. Its logits stay, and its embedding holds the features of both.

A fine-tuned network loses features that tell other things apart, most of them in its last layers (Yosinski et al. 2014). The last layers of the
network that it was fine-tuned from still work on its earlier layers. They bring those features back for a fifth of the cost of a second network.
The stock is the network that is kept; the scion is the one whose layers are added.
"""

import json
import shutil
from pathlib import Path

import keras
import numpy as np

from converter.common.atomic_directory import atomic_directory
from converter.quantization.float_network import read_heads
from device.common.errors import SortbinError
from training.fit.provenance import run_reference
from training.fit.warm_start import require_named_layers
from training.models.network import HEAD, add_heads, head_layers, read_labels, set_head

FILE = "grafted.json"
SUFFIX = "_grafted"
BOTH = "both"
"""the layer that holds the features of both networks"""

_LISTS = ("labels.txt", "train.txt", "val.txt", "further.txt", "recipe.toml")


class GraftError(SortbinError, ValueError):
    """Networks or a layer that do not fit together. The message says what was expected."""


def write_graft(stock: Path, scion: Path, after: str, out: Path) -> keras.Model:
    """Write the run folder `out`, which must not exist: the network, the stock's lists of photos, and in FILE the runs it was made of.

    stock, scion: finished runs of the same architecture. after: the last layer that both share. Raises GraftError, WarmStartError, NetworkError,
    OutputError.
    """
    stock_network, scion_network = _read(stock), _read(scion)
    heads = head_layers(stock_network)
    if heads != [HEAD]:
        raise GraftError(f"{stock / 'model.keras'}: expected one head and no hidden layers, found {', '.join(heads)}")
    network = graft(stock_network, scion_network, after)
    made_of: dict[str, object] = {"after": after, "stock": run_reference(stock), "scion": run_reference(scion)}
    with atomic_directory(out) as folder:
        _write(network, stock, folder, made_of)
    return network


def write_ungrafted(run: Path, out: Path) -> keras.Model:
    """Write the run folder `out`, which must not exist: the stock of a grafted run, and the run's lists of photos.

    Raises GraftError, WarmStartError, NetworkError, OutputError.
    """
    network = ungraft(_read(run), run / "model.keras")
    with atomic_directory(out) as folder:
        _write(network, run, folder, {"ungrafted": run_reference(run)})
    return network


def ungraft(network: keras.Model, file: Path) -> keras.Model:
    """The stock of a grafted network; its logits are the same. file: what errors call the network. Raises GraftError."""
    if BOTH not in {layer.name for layer in network.layers}:
        raise GraftError(f"{file}: expected a network that `training graft` made, found no grafted layers")
    stock = network.get_layer(BOTH).input[0]
    kernel, bias = network.get_layer(HEAD).get_weights()
    if kernel[..., stock.shape[-1] :, :].any():
        raise GraftError(f"{file}: its head was trained on the grafted features since; without them it would name other labels")
    alone = add_heads(keras.Model(network.input, stock), kernel.shape[-1], dropout=network.get_layer("dropout").rate)
    set_head(alone, kernel[0, 0, : stock.shape[-1]].T, bias)
    return alone


def graft(stock: keras.Model, scion: keras.Model, after: str) -> keras.Model:
    """The stock with the scion's layers behind `after` added; the embedding holds the stock's features, then the scion's.

    stock: has one head without hidden layers. The head's weights for the scion's features are 0, so logits are the stock's. Raises GraftError.
    """
    shapes = [_shape(network, after) for network in (stock, scion)]
    if shapes[0] != shapes[1]:
        raise GraftError(f"{after}: expected layers of the same shape in both networks, found {shapes[0]} and {shapes[1]}")
    trunk = stock.get_layer("pool").input
    signal = keras.layers.Concatenate(name=BOTH)([trunk, _copy_layers(scion, after, stock.get_layer(after).output)])
    kernel, bias = stock.get_layer(HEAD).get_weights()
    network = add_heads(keras.Model(stock.input, signal), kernel.shape[-1], dropout=stock.get_layer("dropout").rate)
    coefficients = np.zeros((kernel.shape[-1], signal.shape[-1]), np.float32)
    coefficients[:, : kernel.shape[-2]] = kernel[0, 0].T
    set_head(network, coefficients, bias)
    return network


def _write(network: keras.Model, like: Path, folder: Path, made_of: dict[str, object]) -> None:
    network.save(folder / "model.keras")
    for name in _LISTS:
        if (like / name).is_file():
            shutil.copyfile(like / name, folder / name)
    (folder / FILE).write_text(json.dumps(made_of, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _copy_layers(scion: keras.Model, after: str, onto: keras.KerasTensor) -> keras.KerasTensor:
    """Copy the scion's layers between `after` and its pooled features, with their weights, onto another tensor. Returns their output."""
    signals = {id(scion.get_layer(after).output): onto}
    names = [layer.name for layer in scion.layers]
    for layer in scion.layers[names.index(after) + 1 : names.index("pool")]:
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        if any(id(tensor) not in signals for tensor in inputs):
            raise GraftError(f"{after}: expected a layer that all later layers depend on alone, as block_14_add; {layer.name} has another input")
        copy = layer.__class__.from_config(layer.get_config() | {"name": layer.name + SUFFIX})
        given = [signals[id(tensor)] for tensor in inputs]
        signals[id(layer.output)] = copy(given if isinstance(layer.input, list) else given[0])
        copy.set_weights(layer.get_weights())
    return signals[id(scion.get_layer("pool").input)]


def _read(run: Path) -> keras.Model:
    for name in ("model.keras", "labels.txt"):
        if not (run / name).is_file():
            raise GraftError(f"{run}: expected a finished run: {name} is missing")
    network = read_heads(run / "model.keras", len(read_labels(run)))
    require_named_layers(network, run / "model.keras")
    return network


def _shape(network: keras.Model, layer: str) -> tuple[int | None, ...]:
    names = [each.name for each in network.layers]
    trunk = names[: names.index("pool") - 1]
    if layer not in trunk:
        raise GraftError(f"{layer}: expected a layer of the trunk that is not its last, as block_14_add; the last ones are {', '.join(trunk[-6:])}")
    return tuple(network.get_layer(layer).output.shape)
