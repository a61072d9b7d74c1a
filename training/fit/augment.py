"""Random views of training photos: moved, turned, lit and blurred, the item on any background, near or far."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from converter.data.isolated_view import ALL_ITEM
from converter.data.light_card import segment_item
from device.common.arrays import Float32Array
from device.vision.inference.ground import PLAIN, Ground
from device.vision.inference.preprocess import Pixels, to_input
from device.vision.isolation.isolate import LEAST_AREA, MARGIN, paint
from training.fit.backgrounds import random_background

IN_PLACE_SHARE = 0.5
"""share of the isolated views that show the item where it was photographed, on its own background"""
BITE_SHARE = 0.25
"""share of the isolated views in which the mask lacks a piece of the item"""


class Augmentation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much views may differ from the photo. Shares are probabilities 0..1."""

    smallest_crop: float = 0.6
    """smallest share of the picture's area that a crop keeps"""
    aspect: float = 1.2
    """largest stretch of width against height, in either direction"""
    turn_deg: float = 15.0
    """largest rotation beside quarter turns, in degrees"""
    shear_deg: float = 0.0
    mirrors: bool = True
    """mirror images, left to right"""
    quarter_turns: bool = True
    """turns by 90, 180 and 270 degrees, as items lie on a tray"""
    gain: float = 0.25
    """largest relative change of brightness"""
    contrast: float = 0.2
    cast: float = 0.08
    """largest relative change of one colour channel against the others"""
    gamma: float = 0.2
    blur_share: float = 0.15
    noise_share: float = 0.2
    noise_sigma: float = 8.0
    """largest standard deviation of pixel noise, in counts of 255"""
    erase_share: float = 0.0
    """share of the views in which a rectangle of random colour hides a part (random erasing; Zhong et al. 2020)"""
    elsewhere_share: float = 0.0
    """share of the views that show the item cut out and pasted on another background; needs photos on light card, or masks"""
    smallest_item: float = 0.25
    """smallest longer side of a pasted item, as a share of the view's side"""
    farthest_out: float = 0.3
    """largest share of a pasted item that may lie outside the view"""
    isolated_share: float = 0.0
    """share of the pasted items that are then isolated as a bin does it, with a bin's mistakes: a square around the item, the rest painted"""
    bare_share: float = 0.35
    """share of the isolated views whose surroundings stay as they are"""
    painted_share: float = 0.3
    """share whose surroundings are painted over altogether; the rest is painted in part"""


AUGMENTATIONS: Mapping[str, Augmentation] = {
    "none": Augmentation(
        smallest_crop=1.0,
        aspect=1.0,
        turn_deg=0.0,
        mirrors=False,
        quarter_turns=False,
        gain=0.0,
        contrast=0.0,
        cast=0.0,
        gamma=0.0,
        blur_share=0.0,
        noise_share=0.0,
    ),
    "relevant": Augmentation(),
    "heavy": Augmentation(
        smallest_crop=0.3,
        aspect=1.4,
        turn_deg=30.0,
        shear_deg=12.0,
        gain=0.5,
        contrast=0.4,
        cast=0.2,
        gamma=0.5,
        blur_share=0.3,
        noise_share=0.4,
        noise_sigma=16.0,
        erase_share=0.3,
    ),
    "bin": Augmentation(gain=0.4, contrast=0.3, cast=0.15, gamma=0.35, elsewhere_share=0.5),
    "isolated": Augmentation(gain=0.4, contrast=0.3, cast=0.15, gamma=0.4, elsewhere_share=0.7, isolated_share=0.6),
}
"""the sets that a recipe can name: none, what a bin's camera does, much more than that, items in bins of all kinds, the same isolated"""


LEVELS = np.linspace(0.0, 1.0, 256)[:, np.newaxis]
"""brightness 0..1 of each 8-bit value"""


def add_card_mask(photo: Pixels) -> Pixels:
    """Add the item's mask as a fourth channel: S x S x 3 uint8 RGB to S x S x 4, alpha 255 on the item.

    The photo shows one item on light card. Alpha is 0 everywhere where no item stands out from the card.
    """
    return add_mask(photo, np.where(segment_item(photo).mask, 255, 0).astype(np.uint8))


def add_mask(photo: Pixels, mask: Pixels) -> Pixels:
    """Add a mask (S x S uint8, 255 on the item) to a photo as `add_card_mask` does. A mask that covers the whole photo counts as none."""
    alpha = np.zeros_like(mask) if mask.mean() > ALL_ITEM * 255 else mask
    return np.dstack([photo, cv2.GaussianBlur(alpha, (0, 0), 0.8)])


class AugmentedView(NamedTuple):
    """pixels: S x S x 3 uint8 RGB. as_taken: whether the item is where it was photographed, on its own background."""

    pixels: Pixels
    as_taken: bool


class Augmenter(Protocol):
    """Draws one view of a square photo: S x S x 3 uint8 RGB, or S x S x 4 from `add_card_mask` or `add_mask`.

    aspect: width over height of the photo before it was made square; isolated items get their own shape back.
    """

    def __call__(self, photo: Pixels, rng: np.random.Generator, aspect: float = 1.0) -> AugmentedView: ...


def make_augmenter(settings: Augmentation, size: int) -> Augmenter:
    """Make views of size x size pixels. Only items of photos with a mask are pasted elsewhere."""

    def augment(photo: Pixels, rng: np.random.Generator, aspect: float = 1.0) -> AugmentedView:
        if photo.shape[2] == 3 or rng.random() >= settings.elsewhere_share or not photo[..., 3].any():
            moved = _random_warp(np.ascontiguousarray(photo[..., :3]), settings, size, rng)
            return AugmentedView(_random_erase(_apply_camera(moved, settings, rng), settings, rng), as_taken=True)
        isolated = rng.random() < settings.isolated_share
        if isolated and rng.random() < IN_PLACE_SHARE:
            view, alpha = _rotate_in_place(photo, settings, aspect, rng)
        else:
            view, alpha = _paste_on_background(photo, settings, size, aspect if isolated else 1.0, rng)
        view = _random_erase(_apply_camera(view, settings, rng), settings, rng)
        return AugmentedView(_isolate(view, alpha, settings, size, rng) if isolated else view, as_taken=False)

    return augment


def _apply_camera(view: Pixels, settings: Augmentation, rng: np.random.Generator) -> Pixels:
    """Exposure, colour, blur and noise of a camera."""
    view = _jitter_colours(view, settings, rng)
    if rng.random() < settings.blur_share:
        view = np.asarray(cv2.GaussianBlur(view, (0, 0), rng.uniform(0.4, 1.6)), np.uint8)
    if rng.random() < settings.noise_share:
        noise = rng.standard_normal(view.shape, np.float32) * np.float32(rng.uniform(1.0, settings.noise_sigma))
        view = np.asarray(cv2.add(view, noise, dtype=cv2.CV_8U), np.uint8)
    return view


def _random_warp(photo: Pixels, settings: Augmentation, size: int, rng: np.random.Generator) -> Pixels:
    """Crop, stretch, mirror and turn in one interpolation. Outside the photo its border is mirrored."""
    whole = photo.shape[0]
    side = whole * np.sqrt(rng.uniform(settings.smallest_crop, 1.0))
    stretch = np.exp(rng.uniform(-1, 1) * np.log(settings.aspect) / 2)
    slack = (whole - side) / 2
    centre = whole / 2 + rng.uniform(-slack, slack, 2)
    angle = np.deg2rad(rng.uniform(-settings.turn_deg, settings.turn_deg) + 90 * rng.integers(4) * settings.quarter_turns)
    mirror = -1 if settings.mirrors and rng.random() < 0.5 else 1
    scale = np.diag([side * stretch / size * mirror, side / stretch / size])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1.0, np.tan(np.deg2rad(rng.uniform(-settings.shear_deg, settings.shear_deg)))], [0.0, 1.0]])
    linear = turn @ shear @ scale
    offset = centre - linear @ np.array([size / 2, size / 2])
    from_view = np.column_stack([linear, offset])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(photo, from_view, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def _paste_on_background(photo: Pixels, settings: Augmentation, size: int, aspect: float, rng: np.random.Generator) -> tuple[Pixels, Float32Array]:
    """The item, turned and stretched, on a random background with a lamp's shadow; and its mask, S x S float32 0..1."""
    alpha = photo[..., 3]
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    item = photo[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    longest = size * rng.uniform(settings.smallest_item, 1.0)
    scale = longest / max(item.shape[:2])
    if scale < 1:  # area averaging, so that fine patterns do not alias
        item = np.asarray(cv2.resize(item, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        scale = 1.0
    height, width = item.shape[:2]
    stretch = np.exp(rng.uniform(-1, 1) * np.log(settings.aspect) / 2)
    angle = np.deg2rad(rng.uniform(-settings.turn_deg, settings.turn_deg) + 90 * rng.integers(4) * settings.quarter_turns)
    mirror = -1 if settings.mirrors and rng.random() < 0.5 else 1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shape = np.array([aspect, 1.0]) / max(aspect, 1.0)
    linear = turn @ np.diag([scale * stretch * mirror, scale / stretch] * shape)
    reach = np.abs(linear) @ (width / 2, height / 2)
    nearest = reach * (1 - 2 * settings.farthest_out)
    low, high = np.minimum(nearest, size / 2), np.maximum(size - nearest, size / 2)
    offset = rng.uniform(low, high) - linear @ (width / 2, height / 2)
    premultiplied = np.dstack([item[..., :3] * (item[..., 3:] / np.float32(255)), item[..., 3] / np.float32(255)])
    to_view = np.column_stack([linear, offset])
    pasted = np.asarray(cv2.warpAffine(premultiplied.astype(np.float32), to_view, (size, size), flags=cv2.INTER_LINEAR), np.float32)
    background = random_background(size, rng) * _shadow(pasted[..., 3], rng)
    return np.rint(pasted[..., :3] + (1 - pasted[..., 3:]) * background).astype(np.uint8), pasted[..., 3]


def _rotate_in_place(photo: Pixels, settings: Augmentation, aspect: float, rng: np.random.Generator) -> tuple[Pixels, Float32Array]:
    """The photo in its own shape, mirrored and turned, H x W x 3; and its mask, H x W float32 0..1. Outside the photo its border is mirrored."""
    side = photo.shape[0]
    shaped = cv2.resize(photo, (round(side * min(aspect, 1)), round(side / max(aspect, 1))), interpolation=cv2.INTER_AREA)
    if settings.mirrors and rng.random() < 0.5:
        shaped = shaped[:, ::-1]
    if settings.quarter_turns:
        shaped = np.rot90(shaped, rng.integers(4))
    height, width = shaped.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-settings.turn_deg, settings.turn_deg), 1)
    turned = cv2.warpAffine(np.ascontiguousarray(shaped), turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.ascontiguousarray(turned[..., :3]), turned[..., 3].astype(np.float32) / 255


def _isolate(view: Pixels, alpha: Float32Array, settings: Augmentation, size: int, rng: np.random.Generator) -> Pixels:
    """The view as the bin isolates it: the mask gets dents and bumps, sometimes a bite or holes as in glass, then `paint`.

    The surroundings are painted over by a random share, so that a network learns isolated items and items in their place.
    """
    height, width = alpha.shape
    mask: Float32Array = np.asarray(cv2.GaussianBlur(alpha, (0, 0), width * rng.uniform(0.002, 0.02)), np.float32)
    for cells, strength in ((4, 0.25), (12, 0.2)):
        field = rng.standard_normal((cells, cells)).astype(np.float32) * np.float32(strength * rng.uniform())
        mask += np.asarray(cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC), np.float32) * (mask > 0.02)
    mask += np.float32(rng.normal(0, 0.15)) * (mask > 0.02)
    if rng.random() < BITE_SHARE:
        _cut_bite(mask, alpha > 0.5, rng)
    soft = np.clip((mask - 0.5) * rng.uniform(2, 8) + 0.5, 0, 1)
    drawn = np.rint(soft * 255).astype(np.uint8)
    if (drawn > 127).mean() < LEAST_AREA:
        return to_input(view, size)
    kind = rng.random()
    painted = 0.0 if kind < settings.bare_share else 1.0 if kind > 1 - settings.painted_share else float(rng.random())
    return to_input(paint(view, drawn, Ground(PLAIN.colour, painted), MARGIN * rng.uniform(0.2, 1.6)), size)


def _cut_bite(mask: Float32Array, item: npt.NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Remove an ellipse anywhere on the item from its mask."""
    rows, columns = np.nonzero(item)
    if not len(rows):
        return
    place = rng.integers(len(rows))
    reach = np.sqrt(len(rows)) * rng.uniform(0.1, 0.35) * np.array([1, rng.uniform(0.4, 1)])
    axes = (max(1, round(reach[0])), max(1, round(reach[1])))
    cv2.ellipse(mask, (int(columns[place]), int(rows[place])), axes, rng.uniform(0, 180), 0, 360, (0.0,), -1)


def _shadow(alpha: Float32Array, rng: np.random.Generator) -> Float32Array:
    """How much light an item's shadow leaves: S x S x 1 of 0..1, soft and moved to one side."""
    size = alpha.shape[0]
    push = np.array([[1, 0, rng.normal(0, 0.03 * size)], [0, 1, rng.normal(0, 0.03 * size)]])
    cast = cv2.GaussianBlur(cv2.warpAffine(alpha, push, (size, size)), (0, 0), size * rng.uniform(0.01, 0.05))
    return (1 - rng.uniform(0, 0.7) * np.asarray(cast))[..., np.newaxis]


def _random_erase(view: Pixels, settings: Augmentation, rng: np.random.Generator) -> Pixels:
    if rng.random() >= settings.erase_share:
        return view
    size = view.shape[0]
    height, width = (rng.uniform(0.15, 0.45, 2) * size).astype(int)
    top, left = rng.integers(0, size - height), rng.integers(0, size - width)
    hidden = view.copy()
    hidden[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return hidden


def _jitter_colours(view: Pixels, settings: Augmentation, rng: np.random.Generator) -> Pixels:
    gain = 1 + rng.uniform(-settings.gain, settings.gain)
    contrast = 1 + rng.uniform(-settings.contrast, settings.contrast)
    gamma = np.exp(rng.uniform(-settings.gamma, settings.gamma))
    cast = 1 + rng.uniform(-settings.cast, settings.cast, 3)
    curve = ((LEVELS**gamma - 0.5) * contrast + 0.5) * gain * 255
    return np.asarray(cv2.LUT(view, np.clip(curve * cast, 0, 255).astype(np.uint8)[np.newaxis]), np.uint8)
