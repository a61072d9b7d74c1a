"""What a still frame shows against the empty view: nothing new, an item, another light, or another view.

Light leaves the fine structure of a place where it is, an item hides it only where it lies, and a camera that was knocked has it nowhere. So it is
looked at in blocks: how many of those with structure still have theirs. That holds in any light and needs no item to be found.
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
from device.vision.isolation.isolate import HALF, LEAST_AREA, UNLIKE, area_share, surroundings_change
from device.vision.isolation.light import BRIGHTEST, fit_light, grey, to_log
from device.vision.isolation.occupancy import Side
from device.vision.isolation.outline import CERTAIN, find_outline
from device.vision.isolation.registration import fine_structure

Flags = npt.NDArray[np.bool_]
Change = Literal["nothing", "item", "dark", "overexposed", "another light", "another view"]

ACROSS, DOWN = 16, 12
"""blocks of a view"""
LAMP, LAMP_TINT = 0.2, 0.06
"""largest change of light, and of its channels among each other, in logarithms, that is a lamp's drift also where no structure bears it out"""
TOLD = 0.4
"""change of light, in logarithms, that is told and learned anew though structure bears it out: a third darker, half brighter"""
STRUCTURED = 0.03
"""least standard deviation of a block's structure, in logarithms, that is more than noise"""
LEAST_BLOCKS = 8
"""blocks with structure that are enough to judge by"""
SAME = 0.7
"""correlation with its own structure above which a block still has it"""
FITS = 0.75
"""share of the blocks round an item that have their structure. Of items in any light 95 % had 0.92 and more, of knocked cameras 5 % had 0.72"""
STAYS = 0.85
"""the same of a whole view in which only the light changed. Of empty views in any light, patches of sun too, 95 % had 0.87"""
EVEN = 0.07
"""how far off a block without structure may be once the light is taken out, in logarithms"""
FITS_EVENLY = 0.4
"""share of such blocks round an item, where there is no structure to go by. Items had 0.45 and more in an even light, other places 0.3 at most"""
LARGE, RING_FITS = 0.2, 0.5
"""share of the view from which on the light may have been fitted to the item, and its outline drawn round the rest; then so many of the blocks along
the view's border have to be as they were, for a camera that was knocked shows few of them"""
SAME_LIGHT = 0.12
"""how far apart changes of brightness may be for one light, in logarithms"""
SURE = 9.0
"""logit from which on an outline is no light's. Nine of ten items reached it in any light; lamps that dimmed or moved 8.1, patches of sun 8.1"""
ONE_LIGHT = 0.6
"""share of the view that has one light where only items differ"""
NO_CHANGE = 0.1
"""the same for what has not changed at all in any channel"""
PATCH = 0.25
"""least change of brightness of what is a patch of sun or shade, in logarithms. A clear item changes it by less"""
DARK, DARKNESS = 24, 0.985
"""counts of 255 below which a pixel is dark, and the share of such pixels that makes a view too dark to see anything in"""
WHITE, WHITENESS = 250, 0.9
"""the same for pixels that are saturated in all channels"""


class SceneChange(NamedTuple):
    """What a still frame shows. crossing: share of the view's border, on the sides that are watched, that the item covers, 0..1; 0 without one."""

    change: Change
    crossing: float = 0.0


def unusable(frame: Pixels) -> Literal["dark", "overexposed"] | None:
    """Whether a frame (H x W x 3 uint8 RGB) is too dark or too bright to see anything in."""
    height, width = frame.shape[:2]
    few = frame[:: max(1, height // 48), :: max(1, width // 64)].reshape(-1, 3)
    if np.count_nonzero(few.max(axis=1) < DARK) >= DARKNESS * len(few):
        return "dark"
    if np.count_nonzero(few.min(axis=1) >= WHITE) >= WHITENESS * len(few):
        return "overexposed"
    return None


def classify_scene(frame: Pixels, empty: BackgroundModel, sides: Collection[Side] = ()) -> SceneChange:
    """What a frame (H x W x 3 uint8 RGB) shows in which nothing moves. empty: at least one view must be known. sides: of the border to watch."""
    trouble = unusable(frame)
    if trouble is not None:
        return SceneChange(trouble)
    small = empty.shrink(frame)
    differs = difference_channels(small, empty)
    item, certainty, likely = find_outline(differs)
    found = area_share(item) >= LEAST_AREA and certainty >= CERTAIN
    around = surroundings_change(differs, item)
    seen = to_log(small)
    if not found and around <= UNLIKE and _like_a_lamp(seen, empty.stats):
        return SceneChange("nothing")
    blocks = _blocks(seen, empty.stats)
    change = _with_something(blocks, item, certainty, around) if found else _without_anything(blocks, around)
    return SceneChange(change, 0.0 if change != "item" or blocks.ring_is_as_it_was() else _on_border(likely, sides))


@dataclass(frozen=True, slots=True, eq=False)
class _Blocks:
    """Blocks of a view, DOWN x ACROSS.

    structured: which had structure; kept: which have the same still. even: which differ by no more than noise once the light is taken out; usable:
    which are neither black nor saturated. change: of their light, in logarithms, DOWN x ACROSS x 3.
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
        """How many have changed as most have, and how much brighter that is."""
        inside = self.brighter[self.usable & where]
        middle = float(np.median(inside)) if inside.size else 0.0
        return _share(np.abs(self.brighter - middle) < SAME_LIGHT, self.usable & where), middle

    def in_another_light(self) -> bool:
        """Whether no one light has much of the view, or one that is not the lamp's drift."""
        share, brighter = self.share_in_one_light(self.usable)
        return share < ONE_LIGHT or abs(brighter) > SAME_LIGHT

    def ring_fits(self) -> bool:
        """Whether most of what is along the border of the view is as it was, in one light."""
        whole = self.enough(_RING)
        fits = _share(self.kept, self.structured & _RING) if whole else 1.0
        return min(fits, self.share_in_one_light(_RING)[0]) >= RING_FITS

    def ring_is_as_it_was(self) -> bool:
        """Whether nothing at all has changed along the border of the view but the light of all of it."""
        ring = self.change[_RING]
        return bool(np.abs(ring - np.median(ring, axis=0)).max() < NO_CHANGE)


def _with_something(blocks: _Blocks, item: Pixels, certainty: float, around: float) -> Change:
    """What it is that an outline was drawn round. around: how much half of what is beside it differs."""
    covered = _in_blocks((item > HALF).astype(np.float32))
    beside, touched = covered < 0.3, covered > 0.3
    evenly = around <= UNLIKE and blocks.share_even(beside) >= FITS_EVENLY
    fits = blocks.share_kept(beside) >= FITS if blocks.enough(beside) else evenly
    if fits and certainty < SURE and _lit(blocks, touched):
        return _light(blocks)
    return "item" if fits or blocks.ring_is_as_it_was() or (area_share(item) >= LARGE and blocks.ring_fits()) else "another view"


def _lit(blocks: _Blocks, touched: Flags) -> bool:
    """Whether what is in the outline is a patch of sun or shade: what is below shows through, in another light. A clear item leaves that as it is."""
    share, brighter = blocks.share_in_one_light(touched)
    patch = blocks.enough(touched) and share >= STAYS and abs(brighter) >= PATCH
    return blocks.share_kept(touched) >= STAYS and (patch or blocks.in_another_light())


def _without_anything(blocks: _Blocks, around: float) -> Change:
    """What an even change is that is more than a lamp's drift. A plain sheet over all of the view is one, too."""
    if not blocks.enough(blocks.usable):
        return "another light" if around <= UNLIKE else "another view"
    if blocks.share_kept(blocks.usable) < STAYS:
        return "item" if blocks.ring_is_as_it_was() else "another view"
    return _light(blocks)


def _light(blocks: _Blocks) -> Change:
    """What a change of light is that is known to be one."""
    return "nothing" if abs(float(np.median(blocks.brighter))) < TOLD else "another light"


def _like_a_lamp(seen: Float32Array, reference: BackgroundStats) -> bool:
    """Whether a lamp may have changed so much. A plain sheet that covers the whole view is an even change too, but seldom so small a one."""
    change = np.median((seen[::3, ::3] - reference.middle[::3, ::3]).reshape(-1, 3), axis=0)
    return bool(abs(change.mean()) < LAMP and np.ptp(change) < LAMP_TINT)


def _blocks(seen: Float32Array, reference: BackgroundStats) -> _Blocks:
    now, before = fine_structure(grey(seen)), reference.landmarks.structure
    strength = _in_blocks(before * before)
    alike = _in_blocks(now * before) / np.sqrt(strength * _in_blocks(now * now) + 1e-12)
    light = fit_light(seen, reference.middle, reference.dazzling)
    change = seen - reference.middle
    off = np.sqrt(_in_blocks(np.square(change - light).mean(axis=2)))
    bright = seen.max(axis=2)
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
