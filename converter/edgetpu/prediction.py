"""What the Edge TPU will run of a model, foretold without the compiler, and what will be left to the CPU and why."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from converter.edgetpu import status
from converter.edgetpu.graph import CUSTOM_OP, Graph, Operation
from converter.edgetpu.rules import refusal
from device.common.errors import SortbinError

ON_CHIP_BYTES = 8 * 1024 * 1024
"""of memory on the chip for parameters, less what the program itself takes: Coral's compiler page says roughly 8 MB, and logs of small models
that were published show 7.98 to 8.02 MiB"""


class AlreadyCompiledError(SortbinError, ValueError):
    """A model that the Edge TPU's compiler has made. The message says so."""


@dataclass(frozen=True)
class Fate:
    """Where an operation will run. number: its place in the graph; reason: why not on the Edge TPU, else empty."""

    number: int
    name: str
    status: str
    reason: str

    @property
    def mapped(self) -> bool:
        """Whether the Edge TPU will run it."""
        return self.status == status.MAPPED


@dataclass(frozen=True)
class Prediction:
    """fates: one for each operation, in order, but for those that are gone once the batch is 1.
    parameter_bytes: of the constants that the mapped operations use. cautions: what may go
    wrong although it maps.
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
        """How many operations the Edge TPU will run."""
        return len(self.fates) - len(self.on_cpu)

    @property
    def fits(self) -> bool:
        """Whether all parameters stay on the chip, as far as their plain size tells; the compiled ones take somewhat more."""
        return self.parameter_bytes <= ON_CHIP_BYTES

    def counts(self) -> dict[tuple[str, str], int]:
        """How many operations of each name and status, as the compiler's own table counts them."""
        return dict(Counter((fate.name, fate.status) for fate in self.fates))


def predict(graph: Graph) -> Prediction:
    """Foretell the mapping. The compiler makes one piece for the Edge TPU: whatever needs the result of an operation on the CPU that
    itself needs a result of the Edge TPU stays on the CPU. Operations on the CPU before all that do not matter.

    Raises AlreadyCompiledError for a compiled model.
    """
    if any(operation.name == CUSTOM_OP for operation in graph.operations):
        raise AlreadyCompiledError(f"compiled for the Edge TPU already: it holds {CUSTOM_OP}; give the model it was compiled from")
    after_tpu: set[int] = set()
    cut_off: set[int] = set()
    fates = []
    for number, operation in enumerate(graph.operations):
        if operation.folded:
            continue
        fate = _fate(graph, number, operation, cut_off)
        if fate.mapped:
            after_tpu.update(operation.outputs)
        elif after_tpu.intersection(operation.inputs):
            after_tpu.update(operation.outputs)
            cut_off.update(operation.outputs)
        fates.append(fate)
    return Prediction(tuple(fates), _parameter_bytes(graph, fates), tuple(_cautions(graph, fates)))


def _fate(graph: Graph, number: int, operation: Operation, cut_off: set[int]) -> Fate:
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
        yield f"its batch is open; foretold as if it were 1{gone}"
    dense = (graph.operations[fate.number] for fate in fates if fate.mapped and fate.name == "FULLY_CONNECTED")
    if any(graph.tensors[operation.inputs[1]].scales > 1 for operation in dense):
        yield (
            "FULLY_CONNECTED has one scale for each output: newer than the compiler, which may take the first for all and compute garbage; "
            "compare the compiled model's answers, or use a 1x1 convolution instead"
        )
