"""Classify still frames: an item, another light or another view, by the structure of the place, in any light."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.common.arrays import Float32Array
from device.simulation.items import VirtualItem, shipped_items
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.scene import classify_scene

HEIGHT, WIDTH = 240, 320
SIDES = ("left", "right", "top", "bottom")
SOLID = ("box", "wine-bottle", "crisp-bag", "drinks-can", "egg-box", "foil-tray")

gains = st.tuples(st.floats(0.45, 1.15), st.floats(0.92, 1.08), st.floats(0.92, 1.08))
"""gains of all channels, and of red and blue"""


@pytest.fixture(scope="module")
def place() -> Float32Array:
    """A chamber with slats, a bright wall and a dark corner."""
    rng = np.random.default_rng(2)
    blotches = cv2.resize(rng.uniform(60, 150, (6, 8, 3)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    blotches[::24, :] *= 0.6
    blotches[2::24, :] *= 0.6
    blotches[:, ::40] *= 0.7
    return np.asarray(np.clip(blotches, 8, 230), np.float32)


@pytest.fixture(scope="module")
def empty(place: Float32Array) -> BackgroundModel:
    return BackgroundModel(shot(place * np.float32(gain), seed) for seed, gain in enumerate((0.98, 1.0, 1.02)))


@pytest.fixture(scope="module")
def things() -> list[VirtualItem]:
    return [thing for thing in shipped_items() if thing.name in SOLID]


def shot(scene: Float32Array, seed: int) -> Pixels:
    return np.clip(scene + np.random.default_rng(seed).normal(0, 2, scene.shape), 0, 255).astype(np.uint8)


def lit(scene: Float32Array, gain: tuple[float, float, float]) -> Float32Array:
    everything, red, blue = gain
    return np.asarray(scene * np.array([everything * red, everything, everything * blue], np.float32), np.float32)


def laid(place: Float32Array, thing: VirtualItem, size: float, x: float, y: float) -> Float32Array:
    """size: the longer side as a share of the view's height. x, y: 0..1 of the free range."""
    rgb, alpha = thing.picture()
    scale = size * HEIGHT / max(alpha.shape)
    sides = max(1, round(alpha.shape[1] * scale)), max(1, round(alpha.shape[0] * scale))
    rgb, alpha = cv2.resize(rgb, sides, interpolation=cv2.INTER_AREA), cv2.resize(alpha, sides, interpolation=cv2.INTER_AREA)
    left, top = (8 + round(share * (room - side - 16)) for share, room, side in zip((x, y), (WIDTH, HEIGHT), sides, strict=True))
    scene = place.copy()
    here = scene[top : top + sides[1], left : left + sides[0]]
    here += alpha[..., None] * (rgb.astype(np.float32) * np.float32(0.7) - here)
    return scene


@settings(derandomize=True, max_examples=25)
@given(gain=gains, slope=st.floats(-0.3, 0.3), seed=st.integers(0, 99))
def test_a_change_of_light_is_no_item(place: Float32Array, empty: BackgroundModel, gain: tuple[float, float, float], slope: float, seed: int) -> None:
    across = 1 + slope * (np.arange(WIDTH, dtype=np.float32) / WIDTH - 0.5)[None, :, None]
    assert classify_scene(shot(lit(place * across, gain), seed), empty).change in ("nothing", "another light")


@settings(derandomize=True, max_examples=25)
@given(which=st.integers(0, 99), size=st.floats(0.25, 0.9), x=st.floats(0, 1), y=st.floats(0, 1), gain=gains, seed=st.integers(0, 99))
def test_an_item_is_an_item_in_any_light(
    place: Float32Array,
    empty: BackgroundModel,
    things: list[VirtualItem],
    which: int,
    size: float,
    x: float,
    y: float,
    gain: tuple[float, float, float],
    seed: int,
) -> None:
    frame = shot(lit(laid(place, things[which % len(things)], size, x, y), gain), seed)
    assert classify_scene(frame, empty).change == "item"


@pytest.mark.parametrize(("x", "y", "angle_deg"), [(64, 30, 0), (120, -50, 0), (20, 10, 12), (90, 0, 90)])
def test_a_knocked_camera_gives_another_view(place: Float32Array, empty: BackgroundModel, x: float, y: float, angle_deg: float) -> None:
    turn = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), angle_deg, 1.0)
    turn[:, 2] += (x, y)
    seen = np.asarray(cv2.warpAffine(place, turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT), np.float32)
    assert classify_scene(shot(seen, 1), empty).change == "another view"


@pytest.mark.parametrize(("level", "change"), [(0.0, "dark"), (3.0, "dark"), (400.0, "overexposed")])
def test_too_dark_and_too_bright_frames_are_reported(place: Float32Array, empty: BackgroundModel, level: float, change: str) -> None:
    assert classify_scene(shot(np.full_like(place, level), 1), empty).change == change


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("colour", [(150, 110, 70), (235, 235, 230), (30, 30, 34)])
def test_a_large_plain_item_is_an_item(place: Float32Array, empty: BackgroundModel, share: float, colour: tuple[int, int, int]) -> None:
    down, across = round(HEIGHT * share**0.5), round(WIDTH * share**0.5)
    scene = place.copy()
    top, left = (HEIGHT - down) // 2, (WIDTH - across) // 2
    scene[top : top + down, left : left + across] = colour
    seen = classify_scene(shot(scene, 3), empty, SIDES)  # type: ignore[arg-type]
    assert (seen.change, seen.crossing) == ("item", 0.0)


@pytest.mark.parametrize("side", SIDES)
def test_crossing_counts_watched_sides_only(place: Float32Array, empty: BackgroundModel, side: str) -> None:
    ends = {"left": (0, 120), "right": (WIDTH, 120), "top": (160, 0), "bottom": (160, HEIGHT)}
    frame = shot(np.asarray(cv2.line(place.copy(), ends[side], (160, 120), (200, 150, 130), 40), np.float32), 2)
    assert classify_scene(frame, empty, (side,)).crossing > 0.03  # type: ignore[arg-type]
    others = tuple(other for other in SIDES if other != side)
    assert classify_scene(frame, empty, others).crossing < 0.01  # type: ignore[arg-type]
