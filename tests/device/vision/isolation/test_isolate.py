"""Isolate items: found in any light, nothing found on an empty tray, surroundings painted as in training."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.simulation.items import VirtualItem, shipped_items
from device.simulation.tray_renderer import HEIGHT, WIDTH, Pose, TrayRenderer
from device.vision.inference.ground import PLAIN, Ground
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import MOST_VIEWS, BackgroundModel
from device.vision.isolation.isolate import MARGIN, Isolated, isolate, paint

GROUND = PLAIN
UPRIGHT = Pose(0.5, 0.5, 0.0)

Mask = npt.NDArray[np.bool_]
Laid = Callable[..., tuple[Pixels, Mask]]


@pytest.fixture(scope="module")
def tray() -> TrayRenderer:
    return TrayRenderer(np.random.default_rng(3))


@pytest.fixture(scope="module")
def empty(tray: TrayRenderer) -> BackgroundModel:
    return BackgroundModel(tray.picture(None, 0.0, exposure) for exposure in (0.98, 1.0, 1.02))


@pytest.fixture(scope="module")
def solid() -> list[VirtualItem]:
    """Items that are opaque and do not have the tray's colour."""
    named = {thing.file.stem: thing for thing in shipped_items()}
    return [named[name] for name in ("box-00", "flat-carton-00", "torn-piece-00", "wine-bottle-00", "crisp-bag-00", "crown-cap-00")]


@pytest.fixture(scope="module")
def laid(tray: TrayRenderer) -> Laid:
    """`laid(thing, pose, exposure)`: a frame and the item's true mask."""

    def lay(thing: VirtualItem, pose: Pose = UPRIGHT, exposure: float = 1.0) -> tuple[Pixels, Mask]:
        tray.lay(thing)
        frame = tray.picture(pose, 0.0, exposure)
        alpha = tray._upright[1]
        turn = cv2.getRotationMatrix2D((alpha.shape[1] / 2, alpha.shape[0] / 2), pose.angle_deg, 1)
        turn[:, 2] += (pose.x * WIDTH - alpha.shape[1] / 2, pose.y * HEIGHT - alpha.shape[0] / 2)
        return frame, cv2.warpAffine(alpha, turn, (WIDTH, HEIGHT)) > 0.5

    return lay


def overlap(isolated: Isolated, mask: Mask) -> float:
    found = isolated.mask > 127
    return float((found & mask).sum() / (found | mask).sum())


def require_whole(isolated: Isolated, frame: Pixels, why: str) -> None:
    assert (isolated.found, isolated.why) == (False, why)
    assert isolated.picture is frame
    assert isolated.mask.shape == frame.shape[:2] and (isolated.mask == 255).all()
    assert isolated.box == (0, 0, frame.shape[1], frame.shape[0])
    assert isolated.area == 1.0


@settings(max_examples=12)
@given(
    which=st.integers(0, 5),
    x=st.floats(0.35, 0.65),
    y=st.floats(0.4, 0.6),
    angle_deg=st.floats(-180, 180),
    exposure=st.floats(0.55, 1.1),
    tint=st.tuples(*[st.floats(0.93, 1.07)] * 3),
)
def test_an_item_is_found_wherever_it_lies_and_whatever_the_light(
    empty: BackgroundModel,
    laid: Laid,
    solid: list[VirtualItem],
    which: int,
    x: float,
    y: float,
    angle_deg: float,
    exposure: float,
    tint: tuple[float, ...],
) -> None:
    frame, mask = laid(solid[which % len(solid)], Pose(x, y, angle_deg), exposure)
    isolated = isolate(np.clip(frame * np.array(tint), 0, 255).astype(np.uint8), empty, GROUND)
    assert isolated.found and isolated.why == ""
    assert overlap(isolated, mask) > 0.75
    left, top, right, bottom = isolated.box
    rows, columns = np.nonzero(isolated.mask > 127)
    assert (left, top, right, bottom) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    side = round(max(right - left, bottom - top) * (1 + 2 * MARGIN))
    assert isolated.picture.shape == (min(side, HEIGHT), min(side, WIDTH), 3) and isolated.picture.dtype == np.uint8
    shown = paint(cv2.cvtColor(isolated.mask, cv2.COLOR_GRAY2RGB), isolated.mask, Ground((0, 0, 0), 0.0))[..., 0]
    assert (shown == 0).any() and (isolated.picture[shown == 0] == GROUND.colour).all(), "everything outside the mask is ground"
    np.testing.assert_array_equal(isolated.picture, paint(np.clip(frame * np.array(tint), 0, 255).astype(np.uint8), isolated.mask, GROUND))


@settings(max_examples=12)
@given(
    exposure=st.floats(0.5, 1.15),
    tint=st.tuples(*[st.floats(0.93, 1.07)] * 3),
    slope=st.floats(-0.3, 0.3),
    noise=st.floats(0, 4),
    seed=st.integers(0, 99),
)
def test_an_empty_tray_is_empty_in_any_light(
    tray: TrayRenderer, empty: BackgroundModel, exposure: float, tint: tuple[float, ...], slope: float, noise: float, seed: int
) -> None:
    lamp = 1 + slope * (np.arange(WIDTH) / WIDTH - 0.5)[None, :, None]
    noisy = tray.picture(None, 0.0, exposure) * lamp * np.array(tint) + np.random.default_rng(seed).normal(0, noise, (HEIGHT, WIDTH, 3))
    frame = np.clip(noisy, 0, 255).astype(np.uint8)
    require_whole(isolate(frame, empty, GROUND), frame, "nothing differs")


def test_a_shadow_alone_is_no_item(tray: TrayRenderer, empty: BackgroundModel) -> None:
    hand = np.zeros((HEIGHT, WIDTH), np.float32)
    cv2.ellipse(hand, (WIDTH // 2, HEIGHT // 2), (150, 90), 20, 0, 360, (1,), cv2.FILLED)
    frame = (tray.picture(None, 0.0, 1.0) * (1 - 0.35 * cv2.GaussianBlur(hand, (0, 0), 25))[..., None]).astype(np.uint8)
    require_whole(isolate(frame, empty, GROUND), frame, "nothing differs")


def test_the_mask_excludes_the_items_shadow(empty: BackgroundModel, laid: Laid, solid: list[VirtualItem]) -> None:
    frame, mask = laid(solid[0])
    isolated = isolate(frame, empty, GROUND)
    beside = cv2.dilate(mask.astype(np.uint8), np.ones((41, 41), np.uint8)).astype(bool) & ~cv2.dilate(
        mask.astype(np.uint8), np.ones((13, 13))
    ).astype(bool)
    assert (isolated.mask[beside] > 127).mean() < 0.1


def test_one_background_of_another_exposure_and_size_is_enough(tray: TrayRenderer, laid: Laid, solid: list[VirtualItem]) -> None:
    background = cv2.resize(tray.picture(None, 0.0, 0.6), (1024, 768))
    for thing in solid:
        frame, mask = laid(thing)
        assert overlap(isolate(frame, [background], GROUND), mask) > 0.75


@pytest.mark.parametrize(("x", "y", "angle_deg", "zoom"), [(2, -1, 0, 1), (25, 12, 0, 1), (-10, 8, 3, 1), (0, 0, 0, 1.04)])
def test_an_item_is_isolated_after_a_small_knock_of_the_camera(x: float, y: float, angle_deg: float, zoom: float) -> None:
    rng = np.random.default_rng(1)
    place = cv2.GaussianBlur(
        cv2.resize(rng.uniform(20, 220, (24, 32, 3)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST), (0, 0), 2
    )
    turn = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), angle_deg, zoom)
    turn[:, 2] += (x, y)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(mask, (300, 250), (120, 60), 30, 0, 360, (1,), cv2.FILLED)
    with_item = np.where(mask[..., None] > 0, np.float32((30, 200, 60)), place)
    frame = cv2.warpAffine(with_item, turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT).astype(np.uint8)
    isolated = isolate(frame, [place.astype(np.uint8)], GROUND)
    assert overlap(isolated, cv2.warpAffine(mask, turn, (WIDTH, HEIGHT)) > 0) > 0.75


def test_the_crop_of_an_item_at_the_border_lies_in_the_frame(empty: BackgroundModel, laid: Laid, solid: list[VirtualItem]) -> None:
    frame, mask = laid(solid[0], Pose(0.02, 0.5, 0.0))
    isolated = isolate(frame, empty, GROUND)
    assert isolated.found and isolated.box[0] == 0
    assert overlap(isolated, mask) > 0.7
    side = isolated.picture.shape[0]
    assert isolated.picture.shape == (side, side, 3)
    seen = (isolated.mask[:, :side] > 250).any(axis=1)
    top = int(np.flatnonzero((frame[:, :side][seen][0] == isolated.picture).all(axis=2).any(axis=1))[0])
    first = int(np.flatnonzero(seen)[0])
    where = isolated.mask[first, :side] > 250
    np.testing.assert_array_equal(isolated.picture[top][where], frame[first, :side][where])


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)])
def test_another_view_gives_the_whole_frame(empty: BackgroundModel, colour: tuple[int, int, int]) -> None:
    frame = np.full((HEIGHT, WIDTH, 3), colour, np.uint8)
    isolated = isolate(frame, empty, GROUND)
    assert isolated.why in ("another view", "fills the view", "nothing differs")
    require_whole(isolated, frame, isolated.why)


@settings(max_examples=30)
@given(height=st.integers(1, 90), width=st.integers(1, 90), seed=st.integers(0, 2**32 - 1), views=st.integers(1, 3))
def test_any_pictures_give_an_item_or_the_whole_frame(height: int, width: int, seed: int, views: int) -> None:
    rng = np.random.default_rng(seed)
    frame, *empty = rng.integers(0, 256, (views + 1, height, width, 3), dtype=np.uint8)
    isolated = isolate(frame, empty, GROUND)
    assert isolated.mask.shape == (height, width) and isolated.mask.dtype == np.uint8
    if not isolated.found:
        require_whole(isolated, frame, isolated.why)
    else:
        left, top, right, bottom = isolated.box
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        assert isolated.picture.shape[0] <= height and isolated.picture.shape[1] <= width


def test_paint_keeps_the_item_and_paints_the_rest() -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (40, 60, 3), dtype=np.uint8)
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 30:50] = 255
    painted = paint(pixels, mask, Ground((1, 2, 3), 1.0), margin=0.1)
    assert painted.shape == (24, 24, 3)
    np.testing.assert_array_equal(painted[7:17, 2:22], pixels[10:20, 30:50])
    painted[7:17, 2:22] = (1, 2, 3)
    assert (painted == (1, 2, 3)).all()


@settings(max_examples=40)
@given(
    left=st.integers(0, 50),
    top=st.integers(0, 30),
    width=st.integers(1, 60),
    height=st.integers(1, 40),
    share=st.floats(0, 1),
    margin=st.floats(0, 0.5),
)
def test_surroundings_are_painted_by_a_share_and_the_item_never(left: int, top: int, width: int, height: int, share: float, margin: float) -> None:
    """Red encodes a pixel's column and green its row, so that the crop's position can be read; blue is bright."""
    pixels = np.dstack([*np.meshgrid(np.arange(60), np.arange(40)), np.full((40, 60), 190)]).astype(np.uint8)
    mask = np.zeros((40, 60), np.uint8)
    mask[top : top + height, left : left + width] = 255
    cut = paint(pixels, mask, Ground((200, 200, 200), 0.0), margin=margin)
    x, y = cut[0, 0, :2]
    down, across = cut.shape[:2]
    np.testing.assert_array_equal(cut, pixels[y : y + down, x : x + across], err_msg="with nothing painted it is a part of the frame")
    assert x <= left and y <= top and x + across >= min(left + width, 60) and y + down >= min(top + height, 40), "the crop holds the whole item"
    painted = paint(pixels, mask, Ground((200, 200, 200), share), margin=margin)
    item = mask[y : y + down, x : x + across] > 0
    np.testing.assert_array_equal(painted[item], cut[item])
    np.testing.assert_allclose(painted[~item], (1 - share) * cut[~item] + share * 200, atol=2)


def test_paint_mixes_where_the_mask_is_soft() -> None:
    mask = np.full((10, 10), 255, np.uint8)
    mask[:, 0] = 128
    painted = paint(np.full((10, 10, 3), 200, np.uint8), mask, Ground((0, 100, 255), 1.0), margin=0)
    assert painted[5, 5].tolist() == [200, 200, 200]
    np.testing.assert_allclose(painted[5, 0], (100, 150, 227), atol=2)


def test_paint_without_an_item_keeps_the_whole_picture() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    np.testing.assert_array_equal(paint(pixels, np.zeros((30, 50), np.uint8), GROUND, margin=0), pixels)


def test_empty_views_survive_a_restart(tray: TrayRenderer, laid: Laid, solid: list[VirtualItem]) -> None:
    views = BackgroundModel()
    assert not views.learned and views.export() is None
    for exposure in np.linspace(0.9, 1.1, MOST_VIEWS + 3):
        views.add(tray.picture(None, 0.0, exposure))
    stored = views.export()
    assert stored is not None and len(stored) == MOST_VIEWS
    restored = BackgroundModel()
    restored.restore(stored)
    frame, _ = laid(solid[2])
    np.testing.assert_array_equal(isolate(frame, restored, GROUND).mask, isolate(frame, views, GROUND).mask)
    views.clear()
    assert not views.learned


@pytest.mark.parametrize(
    "stored", [np.zeros((2, 60, 80, 3), np.uint8), np.zeros((2, 96, 128, 3), np.float32), np.zeros((0, 96, 128, 3), np.uint8), np.zeros(3)]
)
def test_restoring_an_invalid_array_is_refused(stored: npt.NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match=r"expected 1 to 8 empty views"):
        BackgroundModel().restore(stored)  # type: ignore[arg-type]
