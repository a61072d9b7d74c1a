"""Load a network on a TensorFlow Lite package, with CPU kernels or the Edge TPU.

ai-edge-litert is tried first, then tflite-runtime (32-bit ARM, older systems).
"""

import ctypes
import importlib
import importlib.util
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from device.common.errors import SortbinError
from device.common.memory import release_mapped_pages
from device.common.run_in_subprocess import ChildFault, ChildRefused
from device.vision.inference import edgetpu_probe
from device.vision.inference.bundle import EDGETPU_FILE, Bundle, BundleError
from device.vision.inference.silence import without_info

Package = Literal["ai-edge-litert", "tflite-runtime"]
Kernels = Literal["default", "builtin", "edgetpu"]

PACKAGES: tuple[Package, ...] = ("ai-edge-litert", "tflite-runtime")
EDGETPU_LIBRARY = "libedgetpu.so.1"


class RuntimeFault(SortbinError, RuntimeError):
    """No package can run a network, or one failed while running it. The message names the package and what to do."""


class Interpreter(Protocol):
    """The common interface of both packages' interpreters."""

    def allocate_tensors(self) -> None: ...
    def invoke(self) -> None: ...
    def tensor(self, index: int) -> Callable[[], npt.NDArray[Any]]: ...
    def get_input_details(self) -> list[dict[str, Any]]: ...
    def get_output_details(self) -> list[dict[str, Any]]: ...
    def get_signature_list(self) -> dict[str, Any]: ...
    def get_signature_runner(self, signature_key: str) -> Any: ...
    def _get_ops_details(self) -> list[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Runtime:
    """A loaded network with allocated tensors.

    name: package, version and kernels, such as `ai-edge-litert 2.3.0 xnnpack`, as found in the loaded network.
    exact: whether the golden output must be met bit for bit. It must for an integer model on the builtin kernels of ai-edge-litert and a processor of
    the architecture that computed it. tflite-runtime 2.14 rounds MEAN differently by one step, and kernels for ARM other operations.
    model: the loaded file. degraded: why there is no Edge TPU although one was asked for, else empty.
    """

    interpreter: Interpreter
    name: str
    exact: bool
    model: Path
    degraded: str = ""


def load_runtime(bundle: Bundle, *, package: Package | None = None, kernels: Kernels = "default", threads: int = 1, degraded: str = "") -> Runtime:
    """Load the bundle's network.

    package: None for the first that can be imported. threads: for CPU kernels. degraded: why an Edge TPU was given up before.
    kernels: `default` are the fastest on this CPU (XNNPACK in ai-edge-litert). `builtin` give equal bits on all processors of an architecture.
    `edgetpu` runs the compiled model on a Coral accelerator, after a probe in a subprocess; where that fails, `default` is used, with the reason in
    `Runtime.degraded`.

    Raises RuntimeFault when no package can be loaded, BundleError when the package refuses the model.
    """
    found = _import(package)
    if kernels == "edgetpu":
        try:
            return _probed_edgetpu(bundle, found)
        except EdgeTpuUnavailable as error:
            return _on_cpu(bundle, found, "default", threads, degraded=str(error))
    return _on_cpu(bundle, found, kernels, threads, degraded)


def on_edgetpu(bundle: Bundle, package: Package, library: str) -> Runtime:
    """Load the compiled model onto the Edge TPU in this process. library: file of the driver. Raises EdgeTpuUnavailable and RuntimeFault.

    A driver that does not match the package may crash or hang the process, so `load_runtime` probes it in a subprocess first.
    """
    return _on_edgetpu(bundle, _import(package), library)


def open_model(model: Path, threads: int = 1) -> Interpreter:
    """Load a network from any file on the first package that can be imported, with allocated tensors.

    Raises RuntimeFault when no package can be loaded, BundleError when the package refuses the model.
    """
    return _open(_import(None), model, num_threads=threads)


def architecture() -> str:
    """The architecture of this processor, under one name on all systems."""
    machine = platform.machine()
    return {"AMD64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def first_line(error: Exception) -> str:
    """The first line of a package's error; some errors have no text."""
    return str(error).strip().partition("\n")[0] or "it does not say why"


@dataclass(frozen=True, slots=True)
class _Imported:
    package: Package
    version: str
    api: Any


class EdgeTpuUnavailable(SortbinError):
    """The Edge TPU cannot be used. The message says why."""


def _import(package: Package | None) -> _Imported:
    tried, reasons = PACKAGES if package is None else (package,), []
    for candidate in tried:
        module = _module(candidate)
        try:
            return _Imported(candidate, importlib.import_module(module).__version__, importlib.import_module(f"{module}.interpreter"))
        except Exception as error:  # a package built for another system or NumPy can raise anything
            reasons.append(f"{candidate}: {first_line(error)}")
    if others := [other for other in PACKAGES if other not in tried and importlib.util.find_spec(_module(other)) is not None]:
        raise RuntimeFault(f"{reasons[0]}; {others[0]} is installed: leave model.runtime empty and it is used")
    raise RuntimeFault(f"nothing to run a network with ({'; '.join(reasons)}): install ai-edge-litert, or tflite-runtime on 32-bit ARM")


def _module(package: Package) -> str:
    return package.replace("-", "_")


def _on_cpu(bundle: Bundle, found: _Imported, kernels: Kernels, threads: int, degraded: str = "") -> Runtime:
    resolvers = found.api.OpResolverType
    resolver = resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES if kernels == "builtin" else resolvers.AUTO
    model = bundle.model
    interpreter = _open(found, model, num_threads=threads, experimental_op_resolver_type=resolver)
    delegated = is_delegated(interpreter)
    if delegated:
        release_mapped_pages(model)  # XNNPACK has copied all weights
    whole = bundle.info.precision is msgspec.UNSET
    exact = not delegated and found.package == "ai-edge-litert" and whole and bundle.info.known_answer.on_architecture == architecture()
    return Runtime(interpreter, f"{found.package} {found.version} {'xnnpack' if delegated else 'builtin'}", exact, model, degraded)


def _probed_edgetpu(bundle: Bundle, found: _Imported) -> Runtime:
    if EDGETPU_FILE not in bundle.info.files:
        raise EdgeTpuUnavailable(f"{bundle.folder}: no {EDGETPU_FILE} in this bundle; compile one with `converter edgetpu`")
    try:
        edgetpu_probe.probe(edgetpu_probe.ProbeRequest(str(bundle.folder.absolute()), found.package, EDGETPU_LIBRARY))
    except ChildRefused as refusal:
        raise EdgeTpuUnavailable(f"{EDGETPU_LIBRARY}, tried with {found.package} {found.version}: {refusal}") from refusal
    except ChildFault as fault:
        raise EdgeTpuUnavailable(
            f"{EDGETPU_LIBRARY}, tried with {found.package} {found.version}: {fault}; "
            "expected a libedgetpu built for this TensorFlow Lite: docs/edgetpu.md says which"
        ) from fault
    return _on_edgetpu(bundle, found, EDGETPU_LIBRARY)


def _on_edgetpu(bundle: Bundle, found: _Imported, library: str) -> Runtime:
    try:
        ctypes.CDLL(library)  # without the library, `load_delegate` leaves a half-built object behind
    except OSError as error:
        raise EdgeTpuUnavailable(f"it cannot be loaded ({error}); install the Edge TPU runtime") from error
    try:
        delegate = found.api.load_delegate(library)
    except ValueError as error:
        raise EdgeTpuUnavailable("it finds no Edge TPU; is one plugged in, and may this user open it?") from error
    model = bundle.folder / EDGETPU_FILE
    # Without XNNPACK, the only delegate is the Edge TPU.
    resolver = found.api.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = _open(found, model, experimental_delegates=[delegate], experimental_op_resolver_type=resolver)
    except BundleError as error:
        raise EdgeTpuUnavailable(str(error)) from error
    if not is_delegated(interpreter):
        raise EdgeTpuUnavailable(f"{model}: nothing in it is for an Edge TPU; compile the model again with `converter edgetpu`")
    return Runtime(interpreter, f"{found.package} {found.version} edgetpu", False, model)


def is_delegated(interpreter: Interpreter) -> bool:
    """Whether a part of the network runs on a delegate, such as XNNPACK. Both packages report it only through a private method."""
    return any(operation["op_name"] == "DELEGATE" for operation in interpreter._get_ops_details())


def _open(found: _Imported, model: Path, **options: Any) -> Interpreter:
    try:
        with without_info():
            interpreter: Interpreter = found.api.Interpreter(model_path=str(model), **options)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{model}: {found.package} {found.version} cannot run it: {first_line(error)}") from error
    except SystemError as error:
        # A package compiled against NumPy 1 raises it under NumPy 2.
        raise RuntimeFault(f"{found.package} {found.version} does not work with numpy {np.__version__}: pip install 'numpy<2'") from error
    return interpreter
