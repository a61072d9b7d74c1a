"""Draws docs/pictures/demo.jpg: what the virtual bin's camera sees of a dozen items, and what the default bundle makes of them.

python docs/pictures/demo.py
"""

from pathlib import Path

import cv2
import numpy as np
from device.decision import Evidence, decide
from device.rules import default_rules, read_rules
from device.twin.items import own_things, shuffled
from device.twin.tray import HEIGHT, WIDTH, Pose, Tray
from device.vision.bundle import default_bundle, read_bundle
from device.vision.classifier import Classifier
from device.vision.preprocess import Pixels

COLUMNS, ROWS, SCALE, CAPTION = 4, 3, 0.5, 34
RIGHT, WRONG, UNSURE = (40, 120, 40), (170, 40, 40), (150, 100, 0)


def main() -> None:
    """Write the picture."""
    classifier = Classifier(read_bundle(default_bundle()))
    rules = read_rules(default_rules(), classifier.labels)
    rng = np.random.default_rng(4)
    tray = Tray(rng)
    cells = []
    for thing in shuffled(own_things(), seed=11)[: COLUMNS * ROWS]:
        tray.lay(thing)
        seen = tray.picture(Pose(0.5, 0.5, float(rng.uniform(-30, 30))), 0.0, 1.0)
        choice = decide(Evidence(classifier.posterior(seen)), classifier.labels, rules, reject_below=classifier.reject_below)
        assert thing.label is not None
        colour = RIGHT if choice.bin == rules.bin_of(thing.label) else UNSURE if choice.reason == "unsure" else WRONG
        cells.append(captioned(seen, f"{choice.label} {100 * choice.p:.0f} %  >  {choice.bin}", colour))
    rows = [np.hstack(cells[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)]
    sheet = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(Path(__file__).with_name("demo.jpg")), sheet, [cv2.IMWRITE_JPEG_QUALITY, 85])


def captioned(seen: Pixels, text: str, colour: tuple[int, int, int]) -> Pixels:
    """A smaller frame with a line below it."""
    small = cv2.resize(seen, (round(WIDTH * SCALE), round(HEIGHT * SCALE)), interpolation=cv2.INTER_AREA)
    line = np.full((CAPTION, small.shape[1], 3), 250, np.uint8)
    cv2.putText(line, text, (8, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.55, colour, 1, cv2.LINE_AA)
    return np.pad(np.vstack([small, line]), ((2, 2), (2, 2), (0, 0)), constant_values=250)


if __name__ == "__main__":
    main()
