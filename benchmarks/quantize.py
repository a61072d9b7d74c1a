"""What `converter quantize` adds to TensorFlow's own converter.

    python -m benchmarks.quantize RUN --data DIR [--rounds N] [--json]

The bare converter exports the same network and quantizes it with the same calibration photos, read, isolated and resized the same way; `quantize`
also chooses which of them to isolate, corrects biases, measures float and INT8 on the validation photos, whole and isolated, collects the embeddings
of all training photos and writes the bundle. They take turns in one process, TensorFlow being loaded; the figure to quote is the ratio of the
medians. Peak memory is that of the process, both together.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from converter.bundle.build import QuantizeRequest, quantize
from converter.common.progress import Progress
from converter.common.silence import silenced
from converter.data.photos import Photo
from converter.data.training_run import Run, read_run
from converter.quantization import calibration_photos as calibration
from converter.quantization import tf_converter as tflite
from converter.quantization.calibration_photos import CalibrationPhotos
from converter.quantization.candidates import CandidateSpec

BUDGET = 1.2
"""most that `quantize` may take, as a multiple of the bare converter"""

CALIBRATION, SEED = 200, 1


def bare(run: Run, alone: frozenset[Photo]) -> float:
    """Convert with TensorFlow alone. alone: calibration photos to isolate. Returns seconds."""
    began_s = time.monotonic()
    with silenced():
        network = tflite.KerasNetwork(run.model, len(run.labels))
        chosen = calibration.choose_photos(run.train, CALIBRATION, SEED)
        with network.exported() as saved:
            tflite.to_int8(saved, CalibrationPhotos(chosen, alone).inputs(network.size, full_range=True))
    return time.monotonic() - began_s


def ours(run: Run) -> float:
    """Make the bundle. Returns seconds."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        network = tflite.KerasNetwork(run.model, len(run.labels))
        wanted = CandidateSpec("int8", "tensorflow", "cpu")
        quantize(run, network, QuantizeRequest(Path(folder, "bundle"), wanted, "bench", "0", "bench", 100.0, CALIBRATION, SEED, ""), Progress())
    return time.monotonic() - began_s


def main() -> int:
    """Print the figures. Exit status 1 when `quantize` misses its budget."""
    parser = argparse.ArgumentParser(prog="benchmarks.quantize", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of each (default: 3)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    run = read_run(arguments.run, arguments.data)
    alone = calibration.photos_to_isolate(calibration.choose_photos(run.train, CALIBRATION, SEED))
    took_s: dict[str, list[float]] = {"bare": [], "quantize": []}
    for _ in range(arguments.rounds):
        took_s["bare"].append(bare(run, alone))
        took_s["quantize"].append(ours(run))
    medians = {name: statistics.median(times) for name, times in took_s.items()}
    ratio = medians["quantize"] / medians["bare"]
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    bare_s, quantize_s = medians["bare"], medians["quantize"]
    if arguments.json:
        print(json.dumps({"rounds": arguments.rounds, "bare_s": bare_s, "quantize_s": quantize_s, "ratio": ratio, "peak_mib": peak_mib}))
    else:
        print(f"bare converter {bare_s:.1f} s, quantize {quantize_s:.1f} s, ratio {ratio:.2f} (budget {BUDGET}); peak {peak_mib:.0f} MiB")
    return 0 if ratio <= BUDGET else 1


if __name__ == "__main__":
    sys.exit(main())
