"""The float network of a run in a process of its own: what it makes of photos. Asked by `device.common.run_in_subprocess.ask`."""

from pathlib import Path

import msgspec
import numpy as np

from converter.data.pixel_cache import mapped
from device.common.run_in_subprocess import reply


class Question(msgspec.Struct, frozen=True):
    """network: a `.keras` file; pictures: what `converter.data.pixel_cache.keep` wrote; logits: the `.npy` file to leave their logits in."""

    network: str
    label_count: int
    pictures: str
    logits: str


def testify(question: Question) -> str:
    """Run it and tell on what. Raises NetworkError."""
    import keras
    import tensorflow as tf

    from converter.quantization.float_network import predict, read_network

    network = read_network(Path(question.network), question.label_count)
    np.save(question.logits, predict(network, mapped(Path(question.pictures)))["logits"])
    return f"keras {keras.__version__}, tensorflow {tf.__version__}"


if __name__ == "__main__":
    reply(Question, testify)
