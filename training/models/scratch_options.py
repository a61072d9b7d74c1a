"""The settings of the small CNN in a recipe; apart from `scratch_cnn`, so that a recipe is read without Keras."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class ScratchCnnOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The small CNN: `layers` times convolution, batch norm, activation, 2 x 2 pooling."""

    layers: Annotated[int, Meta(ge=1, le=7)] = 5
    features: Annotated[int, Meta(ge=4, le=512)] = 64
    """filters of the first layer"""
    strategy: Literal["same", "doubling", "halving"] = "same"
    """filters of each next layer relative to the one before; at least 8"""
    kernel: Literal[3, 5] = 5
    activation: Literal["relu", "gelu", "silu", "mish"] = "mish"
    batch_norm: bool = True
