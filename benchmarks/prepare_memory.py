"""What memory `training prepare` takes for many pictures.

    python -m benchmarks.prepare_memory [--pictures N] [--folder DIR] [--json]

Draws N pictures of 64 x 64 as JPEG into 100 label folders (one in fifty a near-duplicate of another, one in a thousand with its end missing),
prepares them in a process of its own with groups and folds, and tells the most memory that it had resident and how long it took. Before that the
same for a tenth of the pictures: what the two differ by is what each picture costs. About 400 MB of disk for 100,000 pictures.
"""

import sys
from pathlib import Path

from benchmarks.many_pictures import tell, training

BUDGET_MIB = 400
"""most that 100,000 pictures may take: twice that of a hundred would do no harm, but it must not grow with every picture's pixels"""


def prepare(folder: Path) -> None:
    """Prepare what was drawn."""
    training("prepare", folder / "photos", "--out", folder / "set", "--group-by", "filename-block:10", "--folds", "5", "--test-share", "0.1")


if __name__ == "__main__":
    sys.exit(tell("prepare_memory", __doc__, BUDGET_MIB, prepare))
