"""Optimizers that train some layers faster than others, and average gradients over all workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from device.common.arrays import Float32Array
from training.fit.distributed import SingleWorker, Workers


@dataclass(frozen=True)
class Anchor:
    """Where the weights of some variables are drawn to: their values by the variable's path, and how strongly, as weight decay is measured."""

    decay: float
    places: Mapping[str, Float32Array]


class _PerLayerRates:
    """Multiplies the learning rate of the variables of some layers. Put before a Keras optimizer among the bases."""

    faster: Mapping[str, float] = {}
    workers: Workers = SingleWorker()
    anchor: Anchor | None = None

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        anchor = self.anchor
        if anchor is None:
            super()._apply_weight_decay(variables)  # type: ignore[misc]
            return
        held = [variable for variable in variables if variable.path in anchor.places]
        super()._apply_weight_decay([variable for variable in variables if variable.path not in anchor.places])  # type: ignore[misc]
        rate = keras.ops.cast(self.learning_rate, "float32") * anchor.decay  # type: ignore[attr-defined]
        for variable in held:
            variable.assign(variable - rate * (variable - anchor.places[variable.path]))

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> Any:
        return super().apply(self.workers.mean(grads), trainable_variables)  # type: ignore[misc]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        # Backends hand over their own variables; the Keras one, which knows its path, has the same index.
        path = self._trainable_variables[self._get_variable_index(variable)].path  # type: ignore[attr-defined]
        factor = self.faster.get(path.split("/")[-2], 1.0)
        super().update_step(gradient, variable, learning_rate * factor)  # type: ignore[misc]


class _AdamW(_PerLayerRates, keras.optimizers.AdamW):
    pass


class _Sgd(_PerLayerRates, keras.optimizers.SGD):
    pass


def adamw(
    rate: keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float,
    faster: Mapping[str, float],
    workers: Workers,
    anchor: Anchor | None = None,
) -> keras.optimizers.Optimizer:
    """AdamW (Loshchilov & Hutter 2019). faster: factor on the rate of each layer named. anchor: instead of 0 for the variables it names."""
    optimizer = _AdamW(rate, weight_decay=weight_decay, name="adamw")
    optimizer.faster, optimizer.workers, optimizer.anchor = dict(faster), workers, anchor
    return optimizer


def sgd(
    rate: keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float,
    faster: Mapping[str, float],
    workers: Workers,
    anchor: Anchor | None = None,
) -> keras.optimizers.Optimizer:
    """Stochastic gradient descent with Nesterov's momentum, 0.9, and decoupled weight decay. faster, anchor: as for `adamw`."""
    optimizer = _Sgd(rate, momentum=0.9, nesterov=True, weight_decay=weight_decay or None, name="sgd")
    optimizer.faster, optimizer.workers, optimizer.anchor = dict(faster), workers, anchor
    return optimizer


def cosine(rate: float, steps: int, warmup_steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """From 0 to `rate` in `warmup_steps`, at most half of all, then along a cosine to a hundredth of it (Loshchilov & Hutter 2017)."""
    warmup = min(warmup_steps, steps // 2)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else rate,
        decay_steps=max(steps - warmup, 1),
        alpha=0.01,
        warmup_target=rate if warmup else None,
        warmup_steps=warmup,
    )
