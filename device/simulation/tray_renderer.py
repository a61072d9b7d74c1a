"""Renders the virtual tray as a camera sees it: ground, shadow, item, lamp, exposure, sensor noise."""

from dataclasses import dataclass

import cv2
import numpy as np

from device.common.arrays import Float32Array, Float64Array
from device.simulation.items import VirtualItem
from device.simulation.sensor import VirtualSensor, to_linear
from device.vision.inference.preprocess import Pixels

WIDTH, HEIGHT = 640, 480
PHOTO_SHARE = 0.84
"""width and height of a photo on the tray, as shares of the view: what hides the border is not taken for an item"""
TRAY_CM = 34.0
"""height of the camera's view, centimetres of tray"""
GLARE = 0.01
"""share of all light that the lens scatters over the whole picture; it veils what is much darker than its surroundings"""


@dataclass(frozen=True)
class Pose:
    """Pose of an item: its centre in shares of the view, and its rotation."""

    x: float
    y: float
    angle_deg: float


class TrayRenderer:
    """Renders frames, HEIGHT x WIDTH x 3 uint8 RGB. All random values come from `rng`.

    back_lit: how many times as much light the ground gives as falls on an item's front, where the lamp is behind; 1: it is above, and lights both.
    """

    def __init__(self, rng: np.random.Generator, back_lit: float = 1.0) -> None:
        self._rng, self._back_lit = rng, back_lit
        self._ground = _ground(rng)
        self._light = _lamp(rng)
        noise = rng.normal(0.0, 2.2, (HEIGHT + 64, WIDTH + 64, 3)).astype(np.float32)
        self._noise = np.asarray(cv2.GaussianBlur(noise, (3, 3), 0.6), np.float32) * np.float32(1.4)
        self._thing: VirtualItem | None = None
        self._upright: tuple[Float32Array, Float32Array] = (np.zeros((1, 1, 3), np.float32), np.zeros((1, 1), np.float32))
        self._lying: tuple[Pose, Float32Array] | None = None
        self._lit_ground = np.asarray(self._ground * self._light, np.float32)
        self._sensor = VirtualSensor(rng, HEIGHT, WIDTH) if back_lit > 1 else None
        self._glowing_ground = to_linear(self._lit_ground) if back_lit > 1 else self._lit_ground

    def lay(self, item: VirtualItem) -> None:
        """Choose the item that is rendered from now on. Raises ItemsError when its picture cannot be read."""
        rgb, alpha = item.picture()
        if item.size_cm is None:
            size = round(PHOTO_SHARE * WIDTH), round(PHOTO_SHARE * HEIGHT)
            rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
            alpha = np.ones(size[::-1], np.float32)
        else:
            side = HEIGHT * float(np.clip(item.size_cm / TRAY_CM, 0.25, 0.85))
            scale = side / max(rgb.shape[:2])
            size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
            rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.uint8)
            alpha = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)
        self._thing, self._upright, self._lying = item, (rgb.astype(np.float32), alpha), None

    def picture(self, pose: Pose | None, fallen: float, exposure: float) -> Pixels:
        """Render one frame.

        pose: of the last item, None for an empty tray. fallen: 0 lies on the tray, 1 is gone. exposure: of the camera, 1 is its usual one.
        """
        if self._sensor is not None:
            light = self._glowing_ground if pose is None or fallen >= 1 else self._with_item(pose, fallen)
            veil = GLARE * float(light[::8, ::8].mean())
            return self._sensor.picture(light * np.float32(1 - GLARE) + np.float32(veil), exposure)
        scene = self._lit_ground if pose is None or fallen >= 1 else self._with_item(pose, fallen)
        top, left = self._rng.integers(0, 64, 2)
        noise = self._noise[top : top + HEIGHT, left : left + WIDTH]
        return np.asarray(cv2.addWeighted(scene, exposure, noise, 1.0, 0.0, dtype=cv2.CV_8U), np.uint8)

    def _with_item(self, pose: Pose, fallen: float) -> Float32Array:
        """The item on the ground in the light of the lamp: counts, or light 0..1 where the lamp is behind."""
        if fallen == 0 and self._lying is not None and self._lying[0] == pose:
            return self._lying[1]
        scene = self._against_the_light(pose, fallen) if self._back_lit > 1 else np.asarray(self._composed(pose, fallen) * self._light, np.float32)
        if fallen == 0:
            self._lying = pose, scene
        return scene

    def _composed(self, pose: Pose, fallen: float) -> Float32Array:
        """Compose ground, shadow and cutout. A falling item shrinks and gets darker."""
        _, alpha = self._upright
        turn = _placement(alpha.shape, pose, 1 - 0.7 * fallen)
        size = (WIDTH, HEIGHT)
        coverage, colour = self._placed(turn, fallen)
        if self._thing is not None and self._thing.size_cm is None:
            shadowed = self._ground
        else:
            soft = cv2.GaussianBlur(cv2.warpAffine(alpha, turn + np.array([[0, 0, 9], [0, 0, 13]]), size), (0, 0), 9)
            contact = cv2.GaussianBlur(cv2.warpAffine(alpha, turn + np.array([[0, 0, 2], [0, 0, 3]]), size), (0, 0), 3)
            shadow = (1 - 0.30 * soft) * (1 - 0.25 * contact)
            shadowed = self._ground * (1 - (1 - shadow[..., None]) * np.float32(1 - fallen))
        return np.asarray(shadowed * (1 - coverage) + colour * np.float32(1 - 0.5 * fallen) * coverage, np.float32)

    def _against_the_light(self, pose: Pose, fallen: float) -> Float32Array:
        """Compose the item before the ground that shines, in light 0..1: its front is in the dark, and it throws no shadow."""
        coverage, colour = self._placed(_placement(self._upright[1].shape, pose, 1 - 0.7 * fallen), fallen)
        front = to_linear(colour) * np.float32((1 - 0.5 * fallen) / self._back_lit)
        return np.asarray(self._glowing_ground * (1 - coverage) + front * coverage, np.float32)

    def _placed(self, turn: Float64Array, fallen: float) -> tuple[Float32Array, Float32Array]:
        """What the item covers of the view, H x W x 1, and its colour there, H x W x 3 counts."""
        rgb, alpha = self._upright
        size = (WIDTH, HEIGHT)
        coverage = cv2.warpAffine(alpha, turn, size, flags=cv2.INTER_LINEAR)[..., None] * np.float32(1 - fallen**3)
        colour = cv2.warpAffine(rgb, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(coverage, np.float32), np.asarray(colour, np.float32)


def _placement(shape: tuple[int, ...], pose: Pose, scale: float) -> Float64Array:
    height, width = shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), pose.angle_deg, scale)
    turn[:, 2] = turn[:, 2] + np.array([pose.x * WIDTH - width / 2, pose.y * HEIGHT - height / 2])
    return np.asarray(turn, np.float64)


def _ground(rng: np.random.Generator) -> Float32Array:
    """A pale plastic tray, slightly mottled and scratched."""
    tray: Float32Array = np.full((HEIGHT, WIDTH, 3), (206, 204, 198), np.float32)
    for cell, strength in ((8, 1.2), (32, 2.0), (128, 3.0)):
        coarse = rng.normal(0, strength, (HEIGHT // cell + 2, WIDTH // cell + 2)).astype(np.float32)
        tray = tray + np.asarray(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.float32)[..., None]
    for _ in range(26):
        start = rng.uniform((0, 0), (WIDTH, HEIGHT))
        angle, length = rng.uniform(0, np.pi), rng.uniform(15, 110)
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        scratch = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.line(scratch, (int(start[0]), int(start[1])), (int(end[0]), int(end[1])), (255,), 1, cv2.LINE_AA)
        left, top = np.maximum(np.minimum(start, end).astype(int) - 2, 0)
        right, bottom = np.maximum(start, end).astype(int) + 3
        tray[top:bottom, left:right] -= scratch[top:bottom, left:right, None] * np.float32(rng.uniform(2, 9) / 255)
    return tray


def _lamp(rng: np.random.Generator) -> Float32Array:
    """The light of a lamp near the middle, and the vignette of the lens: H x W x 1, about 1."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    centre_x, centre_y = WIDTH * rng.uniform(0.4, 0.6), HEIGHT * rng.uniform(0.35, 0.55)
    distance = np.hypot(x - centre_x, y - centre_y) / WIDTH
    return np.asarray((1.08 - 0.38 * distance**1.6)[..., None], np.float32)
