"""Several machines train one network: each takes a share of every batch, and all apply the same averaged gradient.

`TF_CONFIG` names the machines, as TensorFlow defines it (https://www.tensorflow.org/guide/distributed_training), and its collectives average.
Keras 3 alone cannot do it: its `fit` fails under MultiWorkerMirroredStrategy when it reduces a scalar loss.
"""

import json
import math
import os
from collections.abc import Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from device.common.errors import SortbinError


class WorkersError(SortbinError, ValueError):
    """A cluster description that cannot be used, or workers that disagree."""


class Workers(Protocol):
    """index: number of this worker, from 0. count: how many workers there are."""

    index: int
    count: int

    def mean(self, tensors: Sequence[Any]) -> list[Any]:
        """Average each float tensor over all workers. All have to call this in the same order. Works inside a compiled step too."""


class SingleWorker:
    """The only worker."""

    index = 0
    count = 1

    def mean(self, tensors: Sequence[Any]) -> list[Any]:
        """The tensors themselves."""
        return list(tensors)


SINGLE_WORKER = SingleWorker()


class Cluster:
    """One of several workers, connected by TensorFlow's collectives. The constructor waits for the others."""

    def __init__(self, index: int, count: int) -> None:
        self.index, self.count = index, count
        self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
        self._device = self._strategy.extended.worker_devices[0]

    @tf.autograph.experimental.do_not_convert
    def mean(self, tensors: Sequence[Any]) -> list[Any]:
        """See `Workers`."""
        shapes = [tuple(tensor.shape) for tensor in tensors]
        with tf.device(self._device):
            flat = tf.concat([tf.reshape(tf.cast(tensor, tf.float32), [-1]) for tensor in tensors], 0)
            averaged = self._average(flat)
        parts = tf.split(averaged, [math.prod(shape) for shape in shapes])
        return [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]

    @tf.function(autograph=False, reduce_retracing=True)
    def _average(self, flat: Any) -> Any:
        with tf.device(self._device):
            return self._strategy.run(
                lambda here: tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, tf.identity(here)), args=(flat,)
            )


def join_cluster() -> Workers:
    """Join the workers that `TF_CONFIG` names; without it, or with one worker in it, work alone. Call it before TensorFlow computes anything.

    Raises WorkersError where `TF_CONFIG` is no such description.
    """
    given = os.environ.get("TF_CONFIG", "")
    if not given:
        return SINGLE_WORKER
    try:
        config = json.loads(given)
        workers, task = config["cluster"]["worker"], config["task"]
        index = int(task["index"])
        fits = isinstance(workers, list) and task["type"] == "worker" and 0 <= index < len(workers) and len(config["cluster"]) == 1
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        wanted = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        raise WorkersError(f"TF_CONFIG: expected {wanted}, found {given}")
    return Cluster(index, len(workers)) if len(workers) > 1 else SINGLE_WORKER


def require_agreement(workers: Workers, what: str, values: Sequence[float]) -> None:
    """Raise WorkersError unless all workers have the same `values`. what: this worker's values in words, for the message."""
    own = np.asarray(values, np.float32)
    (common,) = workers.mean([keras.ops.convert_to_tensor(own)])
    if not np.allclose(keras.ops.convert_to_numpy(common), own, rtol=1e-6, atol=1e-6):
        raise WorkersError(f"worker {workers.index}: {what}; all workers need the same")
