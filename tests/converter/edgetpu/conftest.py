"""A stand-in for Coral's compiler that prints and writes what a test asks for."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converter.edgetpu.graph import CUSTOM_OP
from converter.tflite.metadata import pack_model
from device.vision.inference.bundle import MODEL_FILE, Bundle, default_bundle, read_bundle

PRINTED = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 912 ms.

Input model: model_int8.tflite
Input size: 2.59MiB
Output model: model_int8_edgetpu.tflite
Output size: 3.01MiB
On-chip memory used for caching model parameters: 2.40MiB
On-chip memory remaining for caching model parameters: 4.46MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 76
Operation log: model_int8_edgetpu.log

{table}
Compilation child process completed within timeout period.
Compilation succeeded! 
"""
ALL_MAPPED = {
    ("CONV_2D", "Mapped to Edge TPU"): 41,
    ("DEPTHWISE_CONV_2D", "Mapped to Edge TPU"): 19,
    ("ADD", "Mapped to Edge TPU"): 11,
    ("RESHAPE", "Mapped to Edge TPU"): 2,
    ("CONCATENATION", "Mapped to Edge TPU"): 1,
    ("MEAN", "Mapped to Edge TPU"): 1,
    ("QUANTIZE", "Mapped to Edge TPU"): 1,
}


@pytest.fixture
def own_bundle(tmp_path: Path) -> Bundle:
    """A copy of the bundle that Sortbin comes with."""
    return read_bundle(Path(shutil.copytree(default_bundle(), tmp_path / "home" / "bundle")))


@pytest.fixture(scope="session")
def compiled() -> bytes:
    """The default bundle's model as the compiler writes it: one custom operation, the same inputs and outputs, no signature or metadata."""
    return compiled_from((default_bundle() / MODEL_FILE).read_bytes())


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[..., Path]:
    """`stand_in(printed=..., log=..., leaves=..., status=0, hangs=False)` makes a program to use as the compiler."""

    def make(printed: str = "", log: str | None = None, leaves: bytes | None = None, status: int = 0, hangs: bool = False) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "printed").write_text(printed)
        for name, content in (("log", log and log.encode()), ("leaves", leaves)):
            if content is not None:
                (folder / name).write_bytes(content)
        program = folder / "edgetpu_compiler"
        program.write_text(
            f"#!{sys.executable}\n"
            "import pathlib, signal, sys\n"
            f"kept = pathlib.Path({str(folder)!r})\n"
            "(kept / 'asked').write_text('\\n'.join(sys.argv[1:]))\n"
            "model = pathlib.Path(sys.argv[-1])\n"
            "assert model.read_bytes()[4:8] == b'TFL3'\n"
            "print((kept / 'printed').read_text(), flush=True)\n"
            f"if {hangs}: signal.pause()\n"
            "for name, end in (('log', '.log'), ('leaves', '.tflite')):\n"
            "    if (kept / name).exists():\n"
            "        pathlib.Path(model.stem + '_edgetpu' + end).write_bytes((kept / name).read_bytes())\n"
            f"sys.exit({status})\n"
        )
        program.chmod(0o755)
        return program

    return make


def table(rows: dict[tuple[str, str], int]) -> str:
    """A table as the compiler prints it."""
    return "\n".join(
        ["Operator                       Count      Status", "", *(f"{name:30} {count:<10} {status}" for (name, status), count in rows.items())]
    )


def compiled_from(model: bytes) -> bytes:
    """The model with all its operations replaced by one custom operation."""
    parsed = schema.ModelT.InitFromPackedBuf(model, 0)
    graph = parsed.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = CUSTOM_OP, 1
    whole = schema.OperatorT()
    whole.opcodeIndex, whole.inputs, whole.outputs = 0, graph.inputs, graph.outputs
    whole.customOptions = np.arange(200, dtype=np.uint8)
    parsed.operatorCodes, graph.operators, parsed.signatureDefs, parsed.metadata = [code], [whole], [], []
    kept = [*graph.inputs, *graph.outputs]
    graph.tensors = [graph.tensors[index] for index in kept]
    graph.inputs, graph.outputs = list(range(len(graph.inputs))), list(range(len(graph.inputs), len(kept)))
    whole.inputs, whole.outputs = graph.inputs, graph.outputs
    for tensor in graph.tensors:
        tensor.buffer = 0
    parsed.buffers = parsed.buffers[:1]
    parsed.description = "Exported from Subgraph."
    return pack_model(parsed)
