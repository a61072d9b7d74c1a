"""Classify a still frame against the empty view: nothing new, an item, another light, or another view.

Light leaves the fine structure of a place as it is, an item hides it where it lies, and after a knock of the camera it is nowhere in its old place.
So the view is divided into blocks, and those that keep their structure are counted. That works in any light and without isolating an item.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from device.common.arrays import Float32Array
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import HEIGHT, WIDTH, BackgroundModel, BackgroundStats
from device.vision.isolation.difference import difference_channels
from device.vision.isolation.isolate import ITEM_ABOVE, LEAST_AREA, MOST_SURROUNDINGS_CHANGE, area_share, surroundings_change
from device.vision.isolation.light import BRIGHTEST, fit_light, grey, to_log
from device.vision.isolation.occupancy import Side
from device.vision.isolation.outline import LEAST_CERTAINTY, find_outline
from device.vision.isolation.registration import fine_structure

Flags = npt.NDArray[np.bool_]
Change = Literal["nothing", "item", "dark", "overexposed", "another light", "another view"]

ACROSS, DOWN = 16, 12
"""number of blocks of a view"""
LAMP, LAMP_TINT = 0.2, 0.06
"""largest change of light, and difference between its channels, in logarithms, that counts as lamp drift without checking the structure"""
NEW_LIGHT = 0.4
"""change of light, in logarithms, from which it counts as another light although the structure is kept: a third darker, half brighter"""
STRUCTURED = 0.03
"""least standard deviation of a block's structure above noise, in logarithms"""
LEAST_BLOCKS = 8
"""least number of blocks with structure to judge by"""
SAME = 0.7
"""correlation above which a block has kept its structure"""
ITEM_KEEPS = 0.75
"""least share of the blocks around an item that kept their structure. Of items in any light 95 % had at least 0.92, of knocked cameras 5 % had
0.72"""
LIGHT_KEEPS = 0.85
"""the same for a whole view in which only the light changed. Of empty views in any light, also with patches of sun, 95 % had 0.87"""
EVEN = 0.07
"""most difference of a block without structure after the change of light is removed, in logarithms"""
FITS_EVENLY = 0.4
"""least share of such blocks around an item where there is too little structure. Items had at least 0.45 in an even light, other places at most
0.3"""
LARGE_ITEM, RING_FITS = 0.2, 0.5
"""from this share of the view on, the light may have been fitted to the item, and the outline drawn round the rest. Then at least RING_FITS of the
blocks along the border must be unchanged; after a knock of the camera few are"""
SAME_LIGHT = 0.12
"""changes of brightness within this distance count as one light, in logarithms"""
NO_LIGHT_CERTAINTY = 9.0
"""certainty of an outline, a logit, from which it is no effect of light. Nine of ten items reached it in any light; moved or dimmed lamps and patches
of sun reached 8.1"""
ONE_LIGHT = 0.6
"""least share of the view in one light where only items differ"""
NO_CHANGE = 0.1
"""changes below this, in any channel, in logarithms, count as none"""
PATCH = 0.25
"""least change of brightness in a patch of sun or shade, in logarithms. A clear item changes it by less"""
DARK, DARKNESS = 24, 0.985
"""counts of 255 below which a pixel is dark, and the share of such pixels that makes a view too dark"""
WHITE, WHITENESS = 250, 0.9
"""counts of 255 from which a pixel is saturated in all channels, and the share of such pixels that makes a view too bright"""


class SceneChange(NamedTuple):
    """The class of a still frame. crossing: share of the view's border that the item covers on the watched sides, 0..1; 0 without an item."""

    change: Change
    crossing: float = 0.0


def unusable(frame: Pixels) -> Literal["dark", "overexposed"] | None:
    """Whether a frame (H x W x 3 uint8 RGB) is too dark or too bright to judge; None if it is neither."""
    height, width = frame.shape[:2]
    few = frame[:: max(1, height // 48), :: max(1, width // 64)].reshape(-1, 3)
    if np.count_nonzero(few.max(axis=1) < DARK) >= DARKNESS * len(few):
        return "dark"
    if np.count_nonzero(few.min(axis=1) >= WHITE) >= WHITENESS * len(few):
        return "overexposed"
    return None


def classify_scene(frame: Pixels, empty: BackgroundModel, sides: Collection[Side] = ()) -> SceneChange:
    """Classify a frame (H x W x 3 uint8 RGB) without movement. empty: at least one view. sides: the watched sides of the border."""
    trouble = unusable(frame)
    if trouble is not None:
        return SceneChange(trouble)
    small = empty.shrink(frame)
    difference = difference_channels(small, empty)
    item, certainty, likely = find_outline(difference)
    found = area_share(item) >= LEAST_AREA and certainty >= LEAST_CERTAINTY
    around = surroundings_change(difference, item)
    frame_log = to_log(small)
    if not found and around <= MOST_SURROUNDINGS_CHANGE and _is_lamp_drift(frame_log, empty.stats):
        return SceneChange("nothing")
    blocks = _blocks(frame_log, empty.stats)
    change = _classify_outline(blocks, item, certainty, around) if found else _classify_even_change(blocks, around)
    return SceneChange(change, 0.0 if change != "item" or blocks.ring_is_unchanged() else _on_border(likely, sides))


@dataclass(frozen=True, slots=True, eq=False)
class _Blocks:
    """A view in blocks, DOWN x ACROSS.

    structured: had structure in the empty view. kept: has kept it. even: differs by at most EVEN without the change of light. usable: neither black
    nor saturated. change: of the light, in logarithms, DOWN x ACROSS x 3.
    """

    structured: Flags
    kept: Flags
    even: Flags
    usable: Flags
    change: Float32Array

    @property
    def brighter(self) -> Float32Array:
        """The change of brightness."""
        return grey(self.change)

    def enough(self, where: Flags) -> bool:
        return np.count_nonzero(self.structured & where) >= LEAST_BLOCKS

    def share_kept(self, where: Flags) -> float:
        return _share(self.kept, self.structured & where)

    def share_even(self, where: Flags) -> float:
        return _share(self.even, self.usable & where)

    def share_in_one_light(self, where: Flags) -> tuple[float, float]:
        """The share of blocks whose brightness changed as the median does, and that median change."""
        inside = self.brighter[self.usable & where]
        middle = float(np.median(inside)) if inside.size else 0.0
        return _share(np.abs(self.brighter - middle) < SAME_LIGHT, self.usable & where), middle

    def in_another_light(self) -> bool:
        """Whether no single light covers most of the view, or one does that is more than the lamp's drift."""
        share, brighter = self.share_in_one_light(self.usable)
        return share < ONE_LIGHT or abs(brighter) > SAME_LIGHT

    def ring_fits(self) -> bool:
        """Whether most blocks along the border kept their structure and are in one light."""
        whole = self.enough(_RING)
        fits = _share(self.kept, self.structured & _RING) if whole else 1.0
        return min(fits, self.share_in_one_light(_RING)[0]) >= RING_FITS

    def ring_is_unchanged(self) -> bool:
        """Whether the blocks along the border changed by one common light at most."""
        ring = self.change[_RING]
        return bool(np.abs(ring - np.median(ring, axis=0)).max() < NO_CHANGE)


def _classify_outline(blocks: _Blocks, item: Pixels, certainty: float, around: float) -> Change:
    """Classify a view with an outline in it. around: median difference of the surroundings."""
    covered = _in_blocks((item > ITEM_ABOVE).astype(np.float32))
    beside, touched = covered < 0.3, covered > 0.3
    evenly = around <= MOST_SURROUNDINGS_CHANGE and blocks.share_even(beside) >= FITS_EVENLY
    fits = blocks.share_kept(beside) >= ITEM_KEEPS if blocks.enough(beside) else evenly
    if fits and certainty < NO_LIGHT_CERTAINTY and _is_patch_of_light(blocks, touched):
        return _classify_light(blocks)
    return "item" if fits or blocks.ring_is_unchanged() or (area_share(item) >= LARGE_ITEM and blocks.ring_fits()) else "another view"


def _is_patch_of_light(blocks: _Blocks, touched: Flags) -> bool:
    """Whether the outline is a patch of sun or shade: the structure below is kept, in another light. Below a clear item the light stays."""
    share, brighter = blocks.share_in_one_light(touched)
    patch = blocks.enough(touched) and share >= LIGHT_KEEPS and abs(brighter) >= PATCH
    return blocks.share_kept(touched) >= LIGHT_KEEPS and (patch or blocks.in_another_light())


def _classify_even_change(blocks: _Blocks, around: float) -> Change:
    """Classify an even change that is more than the lamp's drift. A plain sheet over the whole view is one, too."""
    if not blocks.enough(blocks.usable):
        return "another light" if around <= MOST_SURROUNDINGS_CHANGE else "another view"
    if blocks.share_kept(blocks.usable) < LIGHT_KEEPS:
        return "item" if blocks.ring_is_unchanged() else "another view"
    return _classify_light(blocks)


def _classify_light(blocks: _Blocks) -> Change:
    """Classify a change that is one of light alone."""
    return "nothing" if abs(float(np.median(blocks.brighter))) < NEW_LIGHT else "another light"


def _is_lamp_drift(frame_log: Float32Array, stats: BackgroundStats) -> bool:
    """Whether the change is small enough for a lamp's drift. A plain sheet over the whole view is an even change too, but rarely so small."""
    change = np.median((frame_log[::3, ::3] - stats.middle[::3, ::3]).reshape(-1, 3), axis=0)
    return bool(abs(change.mean()) < LAMP and np.ptp(change) < LAMP_TINT)


def _blocks(frame_log: Float32Array, stats: BackgroundStats) -> _Blocks:
    now, before = fine_structure(grey(frame_log)), stats.landmarks.structure
    strength = _in_blocks(before * before)
    alike = _in_blocks(now * before) / np.sqrt(strength * _in_blocks(now * now) + 1e-12)
    light = fit_light(frame_log, stats.middle, stats.any_saturated)
    change = frame_log - stats.middle
    off = np.sqrt(_in_blocks(np.square(change - light).mean(axis=2)))
    bright = frame_log.max(axis=2)
    usable = _in_blocks(((bright < BRIGHTEST) & (bright > _DARK)).astype(np.float32)) > 0.5
    structured = (strength > STRUCTURED**2) & usable
    return _Blocks(structured, alike > SAME, off < EVEN, usable, _in_blocks(change))


def _in_blocks(view: Float32Array) -> Float32Array:
    return np.asarray(cv2.resize(view, (ACROSS, DOWN), interpolation=cv2.INTER_AREA), np.float32)


def _share(of: Flags, where: Flags) -> float:
    return np.count_nonzero(of & where) / max(1, np.count_nonzero(where))


def _on_border(likely: Pixels, sides: Collection[Side]) -> float:
    edges = {"left": likely[:, 0], "right": likely[:, -1], "top": likely[0], "bottom": likely[-1]}
    return sum(np.count_nonzero(edges[side]) for side in sides) / (2 * (WIDTH + HEIGHT))


_RING = np.ones((DOWN, ACROSS), np.bool_)
_RING[1:-1, 1:-1] = False
_DARK = to_log(np.full((1, 1, 3), 12, np.uint8)).item(0)
