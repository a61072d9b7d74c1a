"""What an item costs the ledger: time of its two commits, and bytes written to the disk.

`python -m benchmarks.ledger [--items N] [--folder DIR]` stores items one after the other, as the sorter does: the intent, then the event, each on
disk before the next. Bytes are those of all write calls of the process (`wchar` of proc_pid_io(5)), checkpoints included. Beside another version:
`PYTHONPATH=ITS_FOLDER python benchmarks/ledger.py`.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import msgspec

from device.common.clock import Clock
from device.events import ItemRejected, ItemSorted
from device.ledger.ledger import Ledger

LABELS = ("cardboard", "glass", "metal", "paper", "plastic", "trash")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=2_000)
    parser.add_argument("--folder", type=Path, help="where to write, such as on a memory card; default: where temporary files go")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        ledger = Ledger(Path(folder), "bench", Clock())
        store(ledger, 200)
        before, cpu_s = written(), time.process_time()
        took_ms = store(ledger, arguments.items)
        cpu_s, bytes_ = time.process_time() - cpu_s, written() - before
        ledger.close(10.0)
    each_ms, cpu_us, each_kib = statistics.median(took_ms), 1e6 * cpu_s / arguments.items, bytes_ / arguments.items / 1024
    print(f"{arguments.items} items: {each_ms:.2f} ms each (median, two commits), {cpu_us:.0f} us of processor time, {each_kib:.1f} KiB written")


def store(ledger: Ledger, items: int) -> list[float]:
    """Milliseconds of each item. Every tenth is rejected."""
    took_ms = []
    for number in range(items):
        began_s = time.perf_counter()
        label = LABELS[number % len(LABELS)]
        ledger.intend(str(number), label, label).result()
        event = item(str(number), label)
        ledger.record(event if number % 10 else ItemRejected(**msgspec.structs.asdict(event), reason="unsure")).result()
        took_ms.append(1000 * (time.perf_counter() - began_s))
    return took_ms


def item(name: str, label: str) -> ItemSorted:
    probabilities = dict.fromkeys(LABELS, 0.166667)
    return ItemSorted(
        item=name, bin=label, label=label, p=0.98, probabilities=probabilities, frames=3, decided_s=1.1, moved_s=0.9, bundle="trashnet", p_right=0.98
    )


def written() -> int:
    """Bytes that this process has written."""
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines())["wchar"])


if __name__ == "__main__":
    main()
