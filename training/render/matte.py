"""From linear renders to pictures with alpha. Needs no Blender.

What is clear has no alpha of its own: green glass dims a tray's colours unequally and adds its own reflections. So it is rendered over
two grounds and taken apart (triangulation matting, Smith and Blinn 1996), here for the colours a screen shows, because that is
where a cut-out is laid over a tray: result = alpha * colour + (1 - alpha) * tray, in sRGB.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

FloatArray = npt.NDArray[np.floating[Any]]

DARK_GROUND, LIGHT_GROUND = 0.035, 0.42
EXPOSURE = 0.62


def display(light: FloatArray, exposure: float = EXPOSURE) -> FloatArray:
    """Linear light to sRGB 0..1, any shape: straight up to 0.55, then a shoulder, so that lamps mirrored in metal do not clip."""
    light = np.maximum(light, 0) * exposure
    knee = 0.55
    toned = np.where(light < knee, light, knee + (1 - knee) * (1 - np.exp(-(light - knee) / (1 - knee))))
    return np.where(toned <= 0.0031308, toned * 12.92, 1.055 * np.maximum(toned, 1e-9) ** (1 / 2.4) - 0.055)


def opaque(render: FloatArray) -> FloatArray:
    """A premultiplied linear render, height x width x 4, to straight sRGB and alpha, 0..1."""
    alpha = np.clip(render[..., 3:], 0, 1)
    colour = render[..., :3] / np.maximum(alpha, 1e-3)
    return np.concatenate([display(colour), alpha], axis=-1)


def clear(over_dark: FloatArray, over_light: FloatArray, dark: float = DARK_GROUND, light: float = LIGHT_GROUND) -> FloatArray:
    """Two linear renders, height x width x 3, over grounds of those linear greys, to straight sRGB and one alpha, 0..1.

    Over a ground halfway between the two it is exact wherever a colour in 0..1 can be; alpha is raised where none could.
    """
    ground_dark, ground_light = (float(display(np.array(grey))) for grey in (dark, light))
    seen_dark, seen_light = display(over_dark), display(over_light)
    middle = (seen_dark + seen_light) / 2
    ground = (ground_dark + ground_light) / 2
    through = np.clip((seen_light - seen_dark).mean(axis=-1) / (ground_light - ground_dark), 0, 1)
    through = np.minimum(through, np.clip(middle.min(axis=-1) / ground, 0, 1))
    through = np.minimum(through, np.clip((1 - middle.max(axis=-1)) / (1 - ground), 0, 1))
    alpha = 1 - through[..., None]
    colour = (middle - (1 - alpha) * ground) / np.maximum(alpha, 1e-3)
    alpha = np.where(alpha < 0.02, 0, alpha)  # what the denoiser left on the bare ground
    return np.concatenate([np.clip(colour, 0, 1), alpha], axis=-1)


def over(cutout: FloatArray, tray: tuple[float, float, float]) -> FloatArray:
    """Lay a cut-out on a plain tray of an sRGB colour 0..1: height x width x 3."""
    alpha = cutout[..., 3:]
    return np.asarray(cutout[..., :3] * alpha + (1 - alpha) * np.array(tray))


def cropped(cutout: FloatArray, margin_px: int = 3) -> FloatArray:
    """Cut to the item, a few clear pixels left around it. Raises ValueError when there is nothing in it."""
    rows, columns = (np.flatnonzero((cutout[..., 3] > 0.04).any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        raise ValueError("the render shows no item; its camera looks past it")
    tight = cutout[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.pad(tight, ((margin_px, margin_px), (margin_px, margin_px), (0, 0)))


def bled(cutout: FloatArray) -> FloatArray:
    """Give clear pixels the colour of the nearest one that is not, so that resampling and lossy coding draw no dark rim around the item."""
    nearest = distance_transform_edt(cutout[..., 3] < 0.02, return_distances=False, return_indices=True)
    return np.concatenate([cutout[nearest[0], nearest[1], :3], cutout[..., 3:]], axis=-1)
