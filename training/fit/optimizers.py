"""Optimizers with a learning rate factor for each layer, decay towards an anchor, and gradients averaged over all workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from device.common.arrays import Float32Array
from training.fit.distributed import SingleWorker, Workers


@dataclass(frozen=True)
class Anchor:
    """Values that some variables decay towards, by the variable's path. decay: strength, in the same unit as weight decay."""

    decay: float
    values: Mapping[str, Float32Array]


class _PerLayerRates:
    """Mixin for a Keras optimizer: multiplies the learning rate of some layers, decays towards an anchor, averages gradients."""

    rate_factors: Mapping[str, float] = {}
    workers: Workers = SingleWorker()
    anchor: Anchor | None = None

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Decay to zero, or to the anchor where it has values. The rate is computed once: Keras would do it again for each variable."""
        rate = keras.ops.cast(self.learning_rate, "float32")  # type: ignore[attr-defined]
        for variable in variables:
            if self.anchor is not None and variable.path in self.anchor.values:
                variable.assign(variable - rate * self.anchor.decay * (variable - self.anchor.values[variable.path]))
            elif self.weight_decay:  # type: ignore[attr-defined]
                variable.assign(variable - variable * self.weight_decay * rate)  # type: ignore[attr-defined]

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> Any:
        return super().apply(self.workers.mean(grads), trainable_variables)  # type: ignore[misc]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        # The backend passes its own variable; the Keras variable of the same index knows its path.
        path = self._trainable_variables[self._get_variable_index(variable)].path  # type: ignore[attr-defined]
        factor = self.rate_factors.get(path.split("/")[-2], 1.0)
        super().update_step(gradient, variable, learning_rate * factor)  # type: ignore[misc]


class _AdamW(_PerLayerRates, keras.optimizers.AdamW):
    pass


class _Sgd(_PerLayerRates, keras.optimizers.SGD):
    pass


def adamw(
    rate: keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float,
    rate_factors: Mapping[str, float],
    workers: Workers,
    anchor: Anchor | None = None,
) -> keras.optimizers.Optimizer:
    """AdamW (Loshchilov & Hutter 2019). rate_factors: factor on the learning rate of each named layer. anchor: its variables decay to it."""
    optimizer = _AdamW(rate, weight_decay=weight_decay, name="adamw")
    optimizer.rate_factors, optimizer.workers, optimizer.anchor = dict(rate_factors), workers, anchor
    return optimizer


def sgd(
    rate: keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float,
    rate_factors: Mapping[str, float],
    workers: Workers,
    anchor: Anchor | None = None,
) -> keras.optimizers.Optimizer:
    """Stochastic gradient descent with Nesterov momentum 0.9 and decoupled weight decay. rate_factors, anchor: as for `adamw`."""
    optimizer = _Sgd(rate, momentum=0.9, nesterov=True, weight_decay=weight_decay or None, name="sgd")
    optimizer.rate_factors, optimizer.workers, optimizer.anchor = dict(rate_factors), workers, anchor
    return optimizer


def cosine(rate: float, steps: int, warmup_steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up from 0 to `rate` in `warmup_steps`, at most half of all, then a cosine down to a hundredth (Loshchilov & Hutter 2017)."""
    warmup = min(warmup_steps, steps // 2)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else rate,
        decay_steps=max(steps - warmup, 1),
        alpha=0.01,
        warmup_target=rate if warmup else None,
        warmup_steps=warmup,
    )
