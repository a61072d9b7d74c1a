"""Cut-outs laid on a tray look like the render they were taken from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.render import matte

share = st.floats(0, 1)
colour = st.tuples(share, share, share)


def seen_over(grey, through, shine):
    """What a pixel shows that lets `through` of its ground pass and adds `shine`, linear, 1 x 1 x 3."""
    return (np.array(through) * grey + np.array(shine))[None, None]


@settings(max_examples=60)
@given(through=colour, shine=colour)
def test_a_clear_item_laid_on_the_middle_ground_looks_as_rendered(through, shine):
    dark, light = (seen_over(grey, through, shine) for grey in (matte.DARK_GROUND, matte.LIGHT_GROUND))
    cutout = matte.clear(dark, light)
    middle = (matte.display(np.array(matte.DARK_GROUND)) + matte.display(np.array(matte.LIGHT_GROUND))) / 2
    expected = (matte.display(dark) + matte.display(light)) / 2
    assert cutout.min() >= 0 and cutout.max() <= 1
    assert np.abs(matte.over(cutout, (middle, middle, middle)) - expected).max() < 0.021


def test_bare_ground_is_wholly_clear():
    dark, light = (seen_over(grey, (1, 1, 1), (0, 0, 0)) for grey in (matte.DARK_GROUND, matte.LIGHT_GROUND))
    assert matte.clear(dark, light)[0, 0, 3] == 0


def test_what_hides_the_ground_is_wholly_opaque_and_keeps_its_colour():
    paint = seen_over(0, (0, 0, 0), (0.5, 0.2, 0.1))
    assert matte.clear(paint, paint)[0, 0, 3] == 1
    assert np.allclose(matte.clear(paint, paint)[..., :3], matte.display(paint), atol=1e-6)


def test_green_glass_is_partly_clear_and_green():
    dark, light = (seen_over(grey, (0.1, 0.3, 0.08), (0.01, 0.01, 0.01)) for grey in (matte.DARK_GROUND, matte.LIGHT_GROUND))
    r, g, b, alpha = matte.clear(dark, light)[0, 0]
    assert 0.2 < alpha < 0.95
    assert g > r and g > b


def test_half_covered_edges_keep_the_colour_of_the_item():
    whole = np.array([[[0.4, 0.3, 0.2, 1.0]]])
    edge = whole * 0.5  # premultiplied, half covered
    assert np.allclose(matte.opaque(edge)[..., :3], matte.opaque(whole)[..., :3])
    assert matte.opaque(edge)[0, 0, 3] == 0.5


def test_brighter_light_never_looks_darker_and_white_is_never_passed():
    shown = matte.display(np.linspace(0, 60, 4000))
    assert (np.diff(shown) >= 0).all()
    assert shown[0] == 0 and shown[-1] <= 1


def test_a_cutout_is_cropped_to_its_item_with_a_clear_margin():
    canvas = np.zeros((40, 50, 4))
    canvas[10:20, 30:45] = 1
    tight = matte.cropped(canvas, margin_px=3)
    assert tight.shape == (16, 21, 4)
    assert tight[:3, :, 3].max() == 0 and tight[3:-3, 3:-3, 3].min() == 1


def test_an_empty_render_is_an_error():
    with pytest.raises(ValueError, match="shows no item"):
        matte.cropped(np.zeros((8, 8, 4)))


def test_transparent_pixels_take_the_nearest_item_colour():
    canvas = np.zeros((5, 9, 4))
    canvas[:, :2] = (1, 0, 0, 1)
    canvas[:, 7:] = (0, 0, 1, 1)
    bled = matte.bled(canvas)
    assert (bled[..., 3] == canvas[..., 3]).all()
    assert (bled[:, 3, :3] == (1, 0, 0)).all() and (bled[:, 6, :3] == (0, 0, 1)).all()
