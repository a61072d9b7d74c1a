"""What memory `training fit` takes for many pictures.

    python -m benchmarks.fit_memory [--pictures N] [--folder DIR] [--json]

Draws N pictures of 64 x 64 as JPEG into 100 label folders, prepares them, trains a small CNN for an epoch at 96 pixels, each in a process of
its own, and tells the most memory that one had resident, and how long both took. Before that the same for a tenth of the pictures: what the
two differ by is what each picture costs. `fit` keeps decoded pictures up to a budget of 1 GiB and decodes the others anew each epoch.
About 400 MB of disk for 100,000 pictures.
"""

import sys
from pathlib import Path

from benchmarks.many_pictures import tell, training

BUDGET_MIB = 2600
"""most that 100,000 pictures may take: TensorFlow, the 1 GiB of kept pictures, and what a row for each takes"""

RECIPE = """
backbone = "scratch_cnn"
scratch = { layers = 3, features = 8, kernel = 3, activation = "relu" }

[[stage]]
size = 96
epochs = 1
learning_rate = 1e-3
batch = 64
"""


def prepare_and_fit(folder: Path) -> None:
    """Prepare what was drawn, and train on it."""
    (folder / "recipe.toml").write_text(RECIPE)
    training("prepare", folder / "photos", "--out", folder / "set")
    training("fit", "--data", folder / "set", "--weights", "none", "--out", folder / "run", "--recipe", folder / "recipe.toml")


if __name__ == "__main__":
    sys.exit(tell("fit_memory", __doc__, BUDGET_MIB, prepare_and_fit))
