"""Minimize a smooth convex function of many numbers, given its gradient."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from device.common.arrays import Float64Array

MEMORY = 12
"""pairs of step and gradient change that approximate the curvature"""


def minimize(
    function: Callable[[Float64Array], tuple[float, Float64Array]], start: Float64Array, *, steps: int = 200, close: float = 1e-6
) -> Float64Array:
    """The minimum of a convex function, by limited-memory BFGS (Nocedal 1980; Nocedal and Wright 2006, algorithm 7.4) with backtracking.

    function: returns the value and the gradient at a point; the gradient has the shape of `start`. steps: most steps. It ends earlier when one step
    lowers the value by less than `close`, relative to its size.
    """
    point, (value, gradient) = start, function(start)
    pairs: deque[_Pair] = deque(maxlen=MEMORY)
    for _ in range(steps):
        direction = -_curved(gradient, pairs)
        slope = float(np.vdot(direction, gradient))
        if slope >= 0:
            pairs.clear()
            direction, slope = -gradient, -float(np.vdot(gradient, gradient))
        length = 1.0 if pairs else min(1.0, 1.0 / (float(np.abs(gradient).sum()) + 1e-12))
        while True:
            there = point + length * direction
            value_there, gradient_there = function(there)
            if value_there <= value + 1e-4 * length * slope or length < 1e-10:
                break
            length /= 2
        if length < 1e-10:
            break
        step, change = there - point, gradient_there - gradient
        product = float(np.vdot(step, change))
        if product > 1e-12:
            pairs.append(_Pair(step, change, product))
        fell, point, value, gradient = value - value_there, there, value_there, gradient_there
        if fell <= close * max(abs(value), 1.0):
            break
    return point


class _Pair(NamedTuple):
    """A step, how it changed the gradient, and their scalar product."""

    step: Float64Array
    change: Float64Array
    product: float


def _curved(gradient: Float64Array, pairs: deque[_Pair]) -> Float64Array:
    """The gradient multiplied by the inverse Hessian that the pairs approximate: the two-loop recursion."""
    result, shares = gradient.copy(), []
    for pair in reversed(pairs):
        shares.append(float(np.vdot(pair.step, result)) / pair.product)
        result -= shares[-1] * pair.change
    if pairs:
        newest = pairs[-1]
        result *= newest.product / float(np.vdot(newest.change, newest.change))
    for pair, share in zip(pairs, reversed(shares), strict=True):
        result += pair.step * (share - float(np.vdot(pair.change, result)) / pair.product)
    return result
