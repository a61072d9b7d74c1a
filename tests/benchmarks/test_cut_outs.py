import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cut_outs import SCENES, laid

pytestmark = pytest.mark.slow


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), scene=st.sampled_from(sorted(SCENES)), height=st.integers(20, 120), width=st.integers(20, 120))
def test_an_item_is_laid_whole_within_the_sizes_of_its_scene(seed: int, scene: str, height: int, width: int) -> None:
    photo, mask = np.full((120, 120, 3), 240, np.uint8), np.zeros((120, 120), np.uint8)
    mask[:height, :width] = 255
    ground = np.full((150, 200, 3), 60, np.uint8)
    frame, shown = laid(photo, mask, ground, SCENES[scene], np.random.default_rng(seed))
    assert frame.shape == ground.shape and shown.shape == ground.shape[:2]
    rows, columns = np.nonzero(shown > 127)
    down, across = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    least, most = SCENES[scene].sides
    assert least * 150 - 3 <= max(down, across) <= most * 150 + 1
    assert min(down, across) / max(down, across) == pytest.approx(min(height, width) / max(height, width), abs=0.12)
    assert rows.min() > 0 and rows.max() < 149 and columns.min() > 0 and columns.max() < 199
    assert frame[shown > 250].mean() > frame[shown == 0].mean() + 10


def test_the_same_chance_gives_the_same_picture() -> None:
    photo, mask, ground = np.full((50, 50, 3), 200, np.uint8), np.full((50, 50), 255, np.uint8), np.full((150, 200, 3), 90, np.uint8)
    made = [laid(photo, mask, ground, SCENES["warm"], np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert (made[0][0] == made[1][0]).all() and (made[0][1] == made[1][1]).all()
    assert (made[0][1] != made[2][1]).any()
