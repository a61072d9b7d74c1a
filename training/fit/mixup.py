"""Mixup and CutMix: pictures of a batch are mixed with each other, and their targets with them."""

from typing import NamedTuple

import cv2
import numpy as np

from device.common.arrays import Float32Array


class Batch(NamedTuple):
    """inputs: (B, S, S, 3) float32 -1..1; targets: (B, labels), rows sum to 1; weights: (B,) of each picture in the loss."""

    inputs: Float32Array
    targets: Float32Array
    weights: Float32Array


def mixup(batch: Batch, alpha: float, rng: np.random.Generator) -> Batch:
    """Blend each picture with its opposite in the reversed batch, all by one share drawn from Beta(alpha, alpha) (Zhang et al. 2018)."""
    share = np.float32(rng.beta(alpha, alpha))
    inputs = np.empty_like(batch.inputs)
    for picture, opposite, blend in zip(batch.inputs, batch.inputs[::-1], inputs, strict=True):
        cv2.addWeighted(picture, float(share), opposite, float(1 - share), 0, dst=blend)
    return Batch(inputs, *(share * part + (1 - share) * part[::-1] for part in batch[1:]))


def cutmix(batch: Batch, alpha: float, rng: np.random.Generator) -> Batch:
    """Paste one rectangle of its opposite in the reversed batch into each picture, and mix the targets by area (Yun et al. 2019)."""
    size = batch.inputs.shape[1]
    side = size * np.sqrt(1 - rng.beta(alpha, alpha))
    centre = rng.uniform(0, size, 2)
    top, left = np.clip(np.round(centre - side / 2), 0, size).astype(int)
    bottom, right = np.clip(np.round(centre + side / 2), 0, size).astype(int)
    inputs = batch.inputs.copy()
    inputs[:, top:bottom, left:right] = batch.inputs[::-1, top:bottom, left:right]
    share = np.float32(1 - (bottom - top) * (right - left) / size**2)
    return Batch(inputs, *(share * part + (1 - share) * part[::-1] for part in batch[1:]))
