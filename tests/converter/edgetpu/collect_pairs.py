"""Collects `public_pairs.jsonl`: graphs of models that Google published, and which operations Coral's compiler mapped.

    python tests/converter/edgetpu/collect_pairs.py google-coral/test_data=FOLDER google-coral/edgetpu=FOLDER ... > public_pairs.jsonl

Each FOLDER is a checkout; every `X.tflite` in it that has an `X_edgetpu.tflite` beside it is taken once. One line a pair: where it is from,
the sha256 of both files, the operations that the compiled file still holds (by their place in the original), and the original's graph
without weights. Operations are found again by the names of their results, which the compiler keeps.
"""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from converter.edgetpu.graph import CUSTOM_OP, Graph, build_graph
from converter.tflite.flatbuffer import ModelFile, read_model


class Pair(msgspec.Struct, frozen=True):
    """A published model and the operations that the compiler left to the CPU."""

    repository: str
    file: str
    sha256: str
    compiled_sha256: str
    on_cpu: tuple[int, ...]
    graph: Graph


def pairs(repository: str, folder: Path) -> Iterator[Pair]:
    """The pairs below a folder, sorted by name."""
    for compiled in sorted(folder.rglob("*_edgetpu.tflite")):
        original = compiled.with_name(compiled.name.replace("_edgetpu.tflite", ".tflite"))
        if original.is_file():
            model = read_model(original)
            yield Pair(
                repository=repository,
                file=original.relative_to(folder).as_posix(),
                sha256=hashlib.sha256(original.read_bytes()).hexdigest(),
                compiled_sha256=hashlib.sha256(compiled.read_bytes()).hexdigest(),
                on_cpu=left_on_cpu(model, read_model(compiled)),
                graph=build_graph(model),
            )


def left_on_cpu(original: ModelFile, compiled: ModelFile) -> tuple[int, ...]:
    """Indices, in the original, of the operations that are still in the compiled model."""
    made_by = {original.main.tensors[index].name: place for place, operator in enumerate(original.main.operators) for index in operator.outputs}
    left = (operator for operator in compiled.main.operators if operator.name != CUSTOM_OP)
    return tuple(sorted(made_by[compiled.main.tensors[operator.outputs[0]].name] for operator in left))


if __name__ == "__main__":
    seen = set()
    for argument in sys.argv[1:]:
        name, _, place = argument.partition("=")
        for pair in pairs(name, Path(place)):
            if (pair.sha256, pair.compiled_sha256) not in seen:
                seen.add((pair.sha256, pair.compiled_sha256))
                print(msgspec.json.encode(pair).decode())
