"""Predicts without the compiler which operations the Edge TPU runs, and why others stay on the CPU."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from converter.edgetpu import compiler_status as status
from converter.edgetpu.graph import CUSTOM_OP, Graph, Operation
from converter.edgetpu.rules import refusal
from device.common.errors import SortbinError

ON_CHIP_BYTES = 8 * 1024 * 1024
"""memory on the chip for parameters and the program: Coral's compiler page says roughly 8 MB; published logs of small models show 7.98 to
8.02 MiB for parameters"""


class AlreadyCompiledError(SortbinError, ValueError):
    """A model that is compiled for the Edge TPU already."""


@dataclass(frozen=True)
class Fate:
    """Where one operation will run. number: its index in the graph. status: in the compiler's words. reason: why not on the Edge TPU, else empty."""

    number: int
    name: str
    status: str
    reason: str

    @property
    def mapped(self) -> bool:
        """Whether it runs on the Edge TPU."""
        return self.status == status.MAPPED


@dataclass(frozen=True)
class Prediction:
    """The predicted mapping. fates: one per operation, in order, without the folded ones. parameter_bytes: of the constants that the mapped
    operations use. cautions: problems that may occur although an operation maps.
    """

    fates: tuple[Fate, ...]
    parameter_bytes: int
    cautions: tuple[str, ...]

    @property
    def on_cpu(self) -> tuple[Fate, ...]:
        """The operations that stay on the CPU."""
        return tuple(fate for fate in self.fates if not fate.mapped)

    @property
    def mapped(self) -> int:
        """The number of operations that run on the Edge TPU."""
        return len(self.fates) - len(self.on_cpu)

    @property
    def fits(self) -> bool:
        """Whether all parameters fit on the chip. Compiled parameters are somewhat larger than the ones counted here."""
        return self.parameter_bytes <= ON_CHIP_BYTES

    def counts(self) -> dict[tuple[str, str], int]:
        """The number of operations by name and status, as in the compiler's table."""
        return dict(Counter((fate.name, fate.status) for fate in self.fates))


def predict(graph: Graph) -> Prediction:
    """Predict the mapping. Raises AlreadyCompiledError for a compiled model.

    The compiler makes one piece for the Edge TPU. After it, an operation stays on the CPU if its input comes from a CPU operation that itself comes
    after the Edge TPU. CPU operations before the piece have no effect.
    """
    if any(operation.name == CUSTOM_OP for operation in graph.operations):
        raise AlreadyCompiledError(f"compiled for the Edge TPU already: it holds {CUSTOM_OP}; give the model it was compiled from")
    after_tpu: set[int] = set()
    cut_off: set[int] = set()
    fates = []
    for number, operation in enumerate(graph.operations):
        if operation.folded:
            continue
        fate = _predict_fate(graph, number, operation, cut_off)
        if fate.mapped:
            after_tpu.update(operation.outputs)
        elif after_tpu.intersection(operation.inputs):
            after_tpu.update(operation.outputs)
            cut_off.update(operation.outputs)
        fates.append(fate)
    return Prediction(tuple(fates), _parameter_bytes(graph, fates), tuple(_cautions(graph, fates)))


def _predict_fate(graph: Graph, number: int, operation: Operation, cut_off: set[int]) -> Fate:
    if graph.subgraphs > 1:
        return Fate(number, operation.name, status.SUBGRAPH, f"the file has {graph.subgraphs} graphs; the compiler takes one")
    refused = refusal(graph, operation)
    if refused is not None:
        return Fate(number, operation.name, refused.status, refused.reason)
    if cut_off.intersection(operation.inputs):
        return Fate(number, operation.name, status.SUBGRAPH, "comes after an operation on the CPU that itself comes after the Edge TPU")
    return Fate(number, operation.name, status.MAPPED, "")


def _parameter_bytes(graph: Graph, fates: list[Fate]) -> int:
    used = {index for fate in fates if fate.mapped for index in graph.operations[fate.number].inputs if index >= 0}
    return sum(graph.tensors[index].bytes for index in used if graph.tensors[index].constant)


def _cautions(graph: Graph, fates: list[Fate]) -> Iterator[str]:
    if graph.open_batch:
        folded = sum(operation.folded for operation in graph.operations)
        gone = f", without {folded} operations that compute sizes; convert it with a batch of 1 before you compile it" if folded else ""
        yield f"its batch size is open; predicted for a batch of 1{gone}"
    dense = (graph.operations[fate.number] for fate in fates if fate.mapped and fate.name == "FULLY_CONNECTED")
    if any(graph.tensors[operation.inputs[1]].scales > 1 for operation in dense):
        yield (
            "FULLY_CONNECTED has one scale for each output: newer than the compiler, which may take the first for all and compute garbage; "
            "compare the compiled model's answers, or use a 1x1 convolution instead"
        )
