"""What memory `training fit` takes for many pictures.

    python -m benchmarks.fit_memory [--pictures N] [--folder DIR] [--json]

Draws N pictures of 64 x 64 as JPEG into 100 label folders, prepares them, trains a small CNN for an epoch at 96 pixels, each in a process of
its own, and tells the most memory that one had resident, and how long training took. First the same for a tenth of the pictures: what the
two differ by is what each picture costs. `fit` keeps decoded pictures up to a budget of 1 GiB and decodes the others anew each epoch.
About 400 MB of disk for 100,000 pictures.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.prepare_memory import LABELS, WAIT_S, Result, draw

BUDGET_MIB = 2600
"""most that 100,000 pictures may take: TensorFlow, the 1 GiB of kept pictures, and what a row for each takes"""

RECIPE = """
backbone = "scratch_cnn"
scratch = { layers = 3, features = 8, kernel = 3, activation = "relu" }

[[stage]]
size = 96
epochs = 1
rate = 1e-3
batch = 64
"""


def measure(folder: Path, pictures: int) -> Result:
    """Fit in a process of its own. The peak is that of all processes waited for so far, so the smaller run has to come first."""
    draw(folder / "photos", pictures)
    (folder / "recipe.toml").write_text(RECIPE)
    _training("prepare", folder / "photos", "--out", folder / "set")
    began_s = time.monotonic()
    _training("fit", "--data", folder / "set", "--weights", "none", "--out", folder / "run", "--recipe", folder / "recipe.toml")
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return Result(pictures, peak_mib, time.monotonic() - began_s)


def _training(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "training.cli", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=WAIT_S)


def main() -> int:
    """Print the figures. Exit status 1 when the budget is exceeded."""
    parser = argparse.ArgumentParser(prog="benchmarks.fit_memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000, metavar="N", help="how many (default: 100000)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where to put them meanwhile (default: the system's temporary folder)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    if arguments.pictures < 10 * LABELS:
        parser.error(f"--pictures: expected at least {10 * LABELS}")
    results = []
    for pictures in (arguments.pictures // 10, arguments.pictures):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            results.append(measure(Path(folder), pictures))
        line = f"{results[-1].pictures} pictures: peak {results[-1].peak_mib:.0f} MiB, {results[-1].took_s:.0f} s"
        print(msgspec.json.encode(results[-1]).decode() if arguments.json else line, flush=True)
    return 0 if results[-1].peak_mib <= BUDGET_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
