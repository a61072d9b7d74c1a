"""The float network of a run in a process of its own: what it makes of photos. Asked by `device.common.run_in_subprocess.ask`."""

from pathlib import Path

import msgspec
import numpy as np

from converter.data.pixel_cache import map_pixels
from device.common.run_in_subprocess import reply


class FloatProbeRequest(msgspec.Struct, frozen=True):
    """network: a `.keras` file; pictures: what `converter.data.pixel_cache.write_pixels` wrote; logits: the `.npy` file to leave their logits in."""

    network: str
    label_count: int
    pictures: str
    logits: str


def run_probe(question: FloatProbeRequest) -> str:
    """Run it and tell on what. Raises NetworkError."""
    import keras
    import tensorflow as tf

    from converter.quantization.float_network import predict, read_network

    network = read_network(Path(question.network), question.label_count)
    np.save(question.logits, predict(network, map_pixels(Path(question.pictures)))["logits"])
    return f"keras {keras.__version__}, tensorflow {tf.__version__}"


if __name__ == "__main__":
    reply(FloatProbeRequest, run_probe)
