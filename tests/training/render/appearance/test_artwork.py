"""Invented print, drawn where Blender's module is installed (its fonts are used)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("bpy", reason="Blender's module is not installed")

from PIL import Image, ImageDraw

from training.render.appearance.artwork import barcode

place = st.floats(0, 200)


@settings(max_examples=60)
@given(left=place, top=place, width=st.floats(5, 120), height=st.floats(4, 60), chance=st.integers(0, 1000))
def test_a_barcode_can_be_drawn_anywhere_at_any_size(left, top, width, height, chance):
    picture = Image.new("RGB", (400, 300), (128, 128, 128))
    barcode(np.random.default_rng(chance), ImageDraw.Draw(picture), (left, top, width, height))
    drawn = np.asarray(picture).reshape(-1, 3).min(axis=1)
    assert (drawn == 248).any() or (drawn == 20).any()
