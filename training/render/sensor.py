"""From light to what a cheap camera makes of it. Needs no Blender."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array

Light = Float32Array
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sensor:
    """A camera's rendering.

    brightness: mean linear level, 0..1, that the empty view is exposed for. auto: share of a change in brightness that the exposure follows.
    white: gains of R, G, B; shoulder: True rolls highlights off, False clips them. vignetting: light lost in the corners, 0..1; flare: share
    of light scattered all over; blur_px: standard deviation; noise: variance of a pixel at full light; sharpening: strength of the halo;
    quality: of JPEG, 1..100.
    """

    brightness: float = 0.2
    auto: float = 0.0
    white: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shoulder: bool = True
    vignetting: float = 0.1
    flare: float = 0.02
    blur_px: float = 0.7
    noise: float = 3e-4
    sharpening: float = 0.3
    quality: int = 85


def gain(light: Light, sensor: Sensor) -> float:
    """The exposure at which an empty view, height x width x 3 linear, is as bright as the camera wants it.

    Metered between the mean and the geometric mean: a lamp in the picture counts, but does not rule.
    """
    luminance = np.clip(light.mean(axis=-1, dtype=np.float64), 1e-5, None)
    metered = np.sqrt(np.exp(np.log(luminance).mean()) * np.minimum(luminance, np.percentile(luminance, 97)).mean())
    return float(sensor.brightness / metered)


def develop(
    light: Light, sensor: Sensor, exposure: float, gains: tuple[float, float, float], size: tuple[int, int], rng: np.random.Generator
) -> Pixels:
    """What the camera shows of linear light, height x width x 3: uint8 RGB of `size` (width, height).

    exposure: as `gain` metered it; gains: factors on R, G, B beside it. Noise is drawn from `rng`; the rest is the same every time.
    """
    width, height = size
    exposed = np.clip(light * np.float32(exposure), 0, 12)
    if sensor.auto:
        exposed = exposed * np.float32((exposure / gain(light, sensor)) ** -sensor.auto)
    seen = np.clip(cv2.resize(exposed, size, interpolation=cv2.INTER_CUBIC if width > light.shape[1] else cv2.INTER_AREA), 0, 12)
    seen = seen * np.float32(np.multiply(gains, sensor.white))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    seen = seen * (1 - sensor.vignetting * (x * x + y * y) / 2)[..., None].astype(np.float32)
    if sensor.flare:
        seen = seen + sensor.flare * cv2.GaussianBlur(np.minimum(seen, 4), (0, 0), 0.06 * width)
    if sensor.blur_px:
        seen = cv2.GaussianBlur(seen, (0, 0), sensor.blur_px)
    deviation = np.sqrt(sensor.noise * np.maximum(seen, 0) + 0.02 * sensor.noise)
    seen = np.maximum(seen + deviation * rng.standard_normal(seen.shape).astype(np.float32), 0)
    shown = _srgb(1 - np.exp(-1.25 * seen) if sensor.shoulder else np.minimum(seen, 1))
    if sensor.sharpening:
        shown = shown + sensor.sharpening * (shown - cv2.GaussianBlur(shown, (0, 0), 1.2))
    return np.asarray(np.round(np.clip(shown, 0, 1) * 255), np.uint8)


def jpeg(picture: Pixels, quality: int) -> bytes:
    """A uint8 RGB picture as a JPEG file."""
    _, coded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality))
    return coded.tobytes()


def _srgb(light: Light) -> Light:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055).astype(np.float32)
