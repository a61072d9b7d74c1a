"""Measures one file on one runtime, in a process that `device.common.run_in_subprocess.ask` starts: start, latency, memory, logits."""

import time
from pathlib import Path

import msgspec
import numpy as np

from converter.benchmark.engines import import_runtime, load_engine, to_rows
from converter.benchmark.machine import MachineState, machine_state
from converter.benchmark.single_stream import percentile, single_stream
from converter.data.pixel_cache import map_pixels
from device.common.run_in_subprocess import peak_memory_mib, reply
from device.vision.inference.preprocess import Pixels

SAMPLE_PICTURES = 64
"""number of pictures that queries are drawn from, in memory as in MLPerf's sample library"""


class MeasurementRequest(msgspec.Struct, frozen=True):
    """pictures: a file of `pixel_cache.write_pixels`. logits: the `.npy` file to write their logits to, or None to measure time only."""

    runtime: str
    file: str
    batch: int
    threads: int
    label_count: int
    queries: int
    seconds: float
    pictures: str
    logits: str | None


class Measurement(msgspec.Struct, frozen=True):
    """runtime: with its version. Cold start: import_ms for the library, load_ms for the file, first_ms to the first answer.

    p50_ms, p90_ms, p99_ms: percentiles of `queries` queries in `seconds`; a query takes one batch from uint8 pixels to float logits.
    prepare_ms, run_ms, finish_ms: medians of its three steps. images_per_s: over the whole time. cpu_share: processor time per second and thread;
    well below 1 other processes were in the way, or threads were idle. peak_mib: peak resident memory, before accuracy is measured.
    """

    runtime: str
    import_ms: float
    load_ms: float
    first_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    prepare_ms: float
    run_ms: float
    finish_ms: float
    images_per_s: float
    queries: int
    seconds: float
    cpu_share: float
    peak_mib: float | None
    before: MachineState
    after: MachineState


def measure(request: MeasurementRequest) -> Measurement:
    """Measure the file. Raises EngineError, and NetworkError for a damaged Keras file."""
    every = map_pixels(Path(request.pictures))
    sample = np.array(every[:SAMPLE_PICTURES])
    drawn = np.random.default_rng(0)
    batch = request.batch
    before = machine_state()

    marks = [time.perf_counter()]
    found = import_runtime(request.runtime)
    marks.append(time.perf_counter())
    engine = load_engine(request.runtime, found, Path(request.file), batch=batch, threads=request.threads, label_count=request.label_count)
    marks.append(time.perf_counter())
    engine.finish(engine.run(engine.prepare(_fill_batch(sample[:batch], batch))))
    marks.append(time.perf_counter())

    parts: list[tuple[float, float, float, float]] = []

    def query(_number: int) -> None:
        pictures = sample[drawn.integers(0, len(sample), batch)]
        began = time.perf_counter()
        ready = engine.prepare(pictures)
        prepared = time.perf_counter()
        raw = engine.run(ready)
        ran = time.perf_counter()
        engine.finish(raw)
        parts.append((began, prepared, ran, time.perf_counter()))

    cpu_s, began_s = time.process_time(), time.perf_counter()
    count = len(single_stream(query, queries=request.queries, seconds=request.seconds))
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - began_s
    steps_ms = 1000 * np.diff(np.array(parts[-count:]), axis=1)
    took_ms = steps_ms.sum(axis=1).tolist()
    peak_mib, after = peak_memory_mib(), machine_state()

    if request.logits is not None:
        starts = range(0, len(every), batch)
        answers = [to_rows(engine.finish(engine.run(engine.prepare(_fill_batch(every[at : at + batch], batch)))), batch) for at in starts]
        np.save(request.logits, np.concatenate(answers)[: len(every)])
    import_ms, load_ms, first_ms = (1000 * np.diff(marks)).tolist()
    prepare_ms, run_ms, finish_ms = np.median(steps_ms, axis=0).tolist()
    return Measurement(
        runtime=engine.name,
        import_ms=import_ms,
        load_ms=load_ms,
        first_ms=first_ms,
        p50_ms=percentile(took_ms, 0.5),
        p90_ms=percentile(took_ms, 0.9),
        p99_ms=percentile(took_ms, 0.99),
        prepare_ms=prepare_ms,
        run_ms=run_ms,
        finish_ms=finish_ms,
        images_per_s=1000 * batch * count / sum(took_ms),
        queries=count,
        seconds=sum(took_ms) / 1000,
        cpu_share=cpu_s / wall_s / request.threads,
        peak_mib=peak_mib,
        before=before,
        after=after,
    )


def _fill_batch(pictures: Pixels, batch: int) -> Pixels:
    """A whole batch: the last picture is repeated if there are too few."""
    return np.concatenate([pictures, *([pictures[-1:]] * (batch - len(pictures)))])


if __name__ == "__main__":
    reply(MeasurementRequest, measure)
