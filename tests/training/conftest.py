"""Small data for training tests: coloured shapes that a network learns in a minute."""

from pathlib import Path

import cv2
import numpy as np
import pytest

COLOURS = {"blue can": (40, 60, 200), "green jar": (40, 180, 60), "red box": (200, 50, 40)}


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with three labels of twelve 80 x 60 photos each."""
    data = tmp_path_factory.mktemp("shapes")
    rng = np.random.default_rng(0)
    for label, colour in COLOURS.items():
        (data / label).mkdir()
        for number in range(12):
            photo = np.full((60, 80, 3), 225, np.uint8) + rng.integers(0, 20, (60, 80, 3), np.uint8)
            x, y = (int(v) for v in rng.integers((20, 20), (60, 40)))
            cv2.circle(photo, (x, y), 14, colour, -1)
            cv2.imwrite(str(data / label / f"{number:02}.png"), cv2.cvtColor(photo, cv2.COLOR_RGB2BGR))
    return data
