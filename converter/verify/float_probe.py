"""Runs the float network of a run on photos, in a process that `device.common.run_in_subprocess.ask` starts."""

from pathlib import Path

import msgspec
import numpy as np

from converter.data.pixel_cache import map_pixels
from device.common.run_in_subprocess import reply


class FloatProbeRequest(msgspec.Struct, frozen=True):
    """network: a `.keras` file. pictures: a file of `pixel_cache.write_pixels`. logits: the `.npy` file to write, photos x labels float32."""

    network: str
    label_count: int
    pictures: str
    logits: str


def run_probe(request: FloatProbeRequest) -> str:
    """Run the network and return the versions it ran on. Raises NetworkError."""
    import keras
    import tensorflow as tf

    from converter.quantization.float_network import predict, read_network

    network = read_network(Path(request.network), request.label_count)
    np.save(request.logits, predict(network, map_pixels(Path(request.pictures)))["logits"])
    return f"keras {keras.__version__}, tensorflow {tf.__version__}"


if __name__ == "__main__":
    reply(FloatProbeRequest, run_probe)
