"""The file of decoded photos."""

from pathlib import Path

import numpy as np
import pytest

from converter.common.atomic_directory import OutputError
from converter.data import pixel_cache


@pytest.mark.parametrize("count", [1, 3])
def test_written_pixels_are_read_back(tmp_path: Path, count: int) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    assert pixel_cache.write_pixels(pictures, 5, tmp_path / "kept.npy") == count
    np.testing.assert_array_equal(pixel_cache.map_pixels(tmp_path / "kept.npy"), pictures)


def test_a_full_disk_raises_an_error() -> None:
    with pytest.raises(OutputError, match="/dev: No space left on device; decoded photos take 0 MB there"):
        pixel_cache.write_pixels(np.zeros((40, 64, 64, 3), np.uint8), 64, Path("/dev/full"))
