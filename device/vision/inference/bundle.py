"""The bundle, a folder with the model that the converter writes and the device reads, and its check.

The check finds damage, not forgery: whoever can rewrite a file can also rewrite its hash.
"""

import hashlib
import math
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from device.common.errors import SortbinError
from device.common.label_names import is_label
from device.vision.inference.ground import PLAIN, Ground

INFO_FILE = "bundle.json"
LABELS_FILE = "labels.txt"
MODEL_FILE = "model_int8.tflite"
Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]
Precision = Literal["int16x8", "float16", "dynamic", "float32"]
EDGETPU_FILE = "model_int8_edgetpu.tflite"


class BundleError(SortbinError, ValueError):
    """A bundle that is incomplete, damaged or of another format. The message names the file and what was expected."""


class InputSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The network's input: RGB uint8, 1 x size x size x 3. `scale` and `zero_point` are such that camera bytes go in unchanged."""

    size: int
    resize: str = "stretch"
    scale: float = 1 / 127.5
    zero_point: int = 127


class MeasuredAccuracy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Accuracy on n photos."""

    accuracy: float
    """share of photos whose likeliest label is right, 0 to 1"""
    n: int
    """number of photos"""
    nll: float
    """mean negative log-likelihood of the true label"""
    recall: dict[str, float | None]
    """accuracy on the photos of each label; None where there are none of it"""
    runtime: str
    """what executed the model"""


class IsolatedMetrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Metrics on the same photos with their items isolated, as a bin does: the item cut out, `ground` painted round it."""

    items: int
    """how many items could be isolated; the other photos were used whole"""
    float32: MeasuredAccuracy
    """of the float model"""
    int8: MeasuredAccuracy
    """of the INT8 model"""
    agreement: float
    """share of photos on which both name the same label, 0 to 1"""


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Float model and INT8 model on the same photos."""

    data: str
    """what they were measured on"""
    float32: MeasuredAccuracy
    """of the float model"""
    int8: MeasuredAccuracy
    """of the INT8 model"""
    agreement: float
    """share of photos on which both name the same label, 0 to 1"""
    isolated: IsolatedMetrics | msgspec.UnsetType = msgspec.UNSET
    """missing in `bundle.json` where no item could be isolated, and in bundles of older converters"""


class GoldenOutput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A seeded input and the raw quantized outputs it must give.

    The input is `numpy.random.default_rng(seed).integers(0, 256, (1, size, size, 3), dtype=uint8)`. logits holds the int8 values of
    ai-edge-litert's builtin kernels, exact there on a processor of the same architecture; on others, on XNNPACK, the Edge TPU and in tflite-runtime
    each may differ by `tolerance` steps.
    """

    seed: int
    logits: tuple[int, ...]
    tolerance: int
    architecture: str | msgspec.UnsetType = msgspec.UNSET
    """architecture of the processor that computed it, such as `aarch64`; missing in `bundle.json` for x86_64"""

    @property
    def on_architecture(self) -> str:
        """The architecture of the processor that computed it."""
        return "x86_64" if self.architecture is msgspec.UNSET else self.architecture


class CalibrationSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The photos that set the quantization ranges: their number, the seed they were drawn with, the sha256 over their bytes in order."""

    n: int
    seed: int
    sha256: str
    isolated: int | msgspec.UnsetType = msgspec.UNSET
    """how many of them had their item isolated, as a bin does; missing in `bundle.json` where none had"""


class OperationMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many operations of one name have one status. status: in the compiler's words, `Mapped to Edge TPU` for those that run there."""

    operation: str
    count: int
    status: str


class EdgeTpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What Coral's compiler reported about `model_int8_edgetpu.tflite`.

    compiler: its version. mapped, on_cpu: number of operations on the Edge TPU and on the CPU. on_chip_bytes, off_chip_bytes: parameters stored on
    the chip, and parameters fetched for every picture; None where the compiler did not report them.
    """

    compiler: str
    mapped: int
    on_cpu: int
    on_chip_bytes: int | None
    off_chip_bytes: int | None
    mapping: tuple[OperationMapping, ...]


class ForeignModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network that `training fit` did not make. model, labels_file: names of the files that it was converted from.

    pixels: the pixel range it was trained on, as for `converter quantize --pixels`. target: what it was converted for. output: the name of the output
    used, None for the only one. trained_on: unknown, so the photos of the metrics may be among the training photos.
    """

    model: str
    pixels: str
    labels_file: str
    target: str
    output: str | None = None
    trained_on: Literal["unknown"] = "unknown"


class BundleInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`bundle.json`, as `encode` writes it. files: the sha256 of each other file of the bundle.

    digest: the sha256 of the bytes of `bundle.json` with an empty digest, so not even a space can change unnoticed.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    input: InputSpec
    temperature: float
    """divides the logits before the softmax"""
    reject_below: float
    """least probability of the best bin; below it an item goes to the residual bin"""
    metrics: Metrics
    known_answer: GoldenOutput
    calibration: CalibrationSet
    data_fingerprint: str
    """sha256 over the names and bytes of the training and validation photos"""
    files: dict[str, str]
    precision: Precision | msgspec.UnsetType = msgspec.UNSET
    """the model's precision; missing in `bundle.json` for INT8. `metrics.int8` and the golden output are always this model's"""
    edgetpu: EdgeTpu | msgspec.UnsetType = msgspec.UNSET
    """missing in `bundle.json` where no model was compiled"""
    unknown_above: Annotated[float, msgspec.Meta(ge=0, le=1)] | msgspec.UnsetType = msgspec.UNSET
    """novelty score, 0..1, above which an item counts as unknown; missing in `bundle.json` without `known.npz`"""
    named_ground: tuple[Byte, Byte, Byte] | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="ground")
    """RGB, 0..255, key `ground`; missing in `bundle.json` where it is the colour of PLAIN"""
    painted: Annotated[float, msgspec.Meta(ge=0, le=1)] | msgspec.UnsetType = msgspec.UNSET
    """how far the surroundings of an isolated item are painted over, 0..1; missing where they are painted over completely"""
    foreign: ForeignModel | msgspec.UnsetType = msgspec.UNSET
    """missing in `bundle.json` where `training fit` made the network"""
    replaces: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | msgspec.UnsetType = msgspec.UNSET
    """digests of earlier bundles that differ only in words, such as those of the model card, oldest first; missing where there are none"""
    digest: str = ""

    @property
    def learning_digest(self) -> str:
        """The digest under which a bin stores what it learns with this bundle: that of the oldest bundle this one replaces, else its own."""
        return self.digest if self.replaces is msgspec.UNSET else self.replaces[0]

    @property
    def ground(self) -> Ground:
        """What the network expects round an isolated item."""
        colour = PLAIN.colour if self.named_ground is msgspec.UNSET else self.named_ground
        return Ground(colour, PLAIN.painted if self.painted is msgspec.UNSET else self.painted)


class Bundle(msgspec.Struct, frozen=True):
    """A bundle whose files are all present and have the right hash."""

    folder: Path
    info: BundleInfo

    @property
    def model(self) -> Path:
        """The model file for the CPU."""
        return self.folder / model_file(self.info)


def model_file(info: BundleInfo) -> str:
    """The name of a bundle's model file: MODEL_FILE, or a name with another precision."""
    return MODEL_FILE if info.precision is msgspec.UNSET else f"model_{info.precision}.tflite"


def default_bundle() -> Path:
    """The folder of the bundle that is used where none is named."""
    return Path(__file__).parents[2] / "models" / "trashnet"


def find_bundle(named: str) -> Path:
    """The folder of a bundle, given as the name of a shipped one, such as `trashnet`, or as a path, such as `./trashnet`."""
    return shipped_bundles().get(named, Path(named))


def shipped_bundles() -> dict[str, Path]:
    """The folders of the shipped bundles, by name."""
    return {file.parent.name: file.parent for file in sorted(default_bundle().parent.glob(f"*/{INFO_FILE}"))}


def read_bundle(folder: Path) -> Bundle:
    """Read `bundle.json` and check every file of the bundle: a single changed byte is refused.

    Files that `bundle.json` does not list are ignored. Raises BundleError.
    """
    info = _read_info(folder / INFO_FILE)
    for name, expected in info.files.items():
        try:
            found = hash_file(folder / name)
        except OSError as error:
            raise BundleError(f"{folder / name}: {error.strerror}, and {INFO_FILE} lists it; copy the whole bundle again") from error
        if found != expected:
            raise BundleError(f"{folder / name}: sha256 is {found[:12]}..., {INFO_FILE} says {expected[:12]}...; copy the bundle again")
    if (folder / LABELS_FILE).read_bytes() != labels_text(info.labels).encode():
        raise BundleError(f"{folder / LABELS_FILE}: not the labels that {INFO_FILE} lists, one a line in the same order")
    return Bundle(folder, info)


def write_bundle(folder: Path, info: BundleInfo) -> Bundle:
    """Finish a bundle: write `labels.txt`, hash every file in `folder`, and write `bundle.json` with its digest.

    `files` and `digest` of `info` are filled in. Raises OSError, and BundleError where `read_bundle` would refuse the result.
    """
    (folder / LABELS_FILE).write_bytes(labels_text(info.labels).encode())
    files = {file.name: hash_file(file) for file in sorted(folder.iterdir()) if file.name != INFO_FILE}
    (folder / INFO_FILE).write_bytes(encode(seal(msgspec.structs.replace(info, files=files))))
    return read_bundle(folder)


def seal(info: BundleInfo) -> BundleInfo:
    """`info` with its digest filled in."""
    return msgspec.structs.replace(info, digest=digest(info))


def digest(info: BundleInfo) -> str:
    """Compute the digest of `info`: 64 hexadecimal digits."""
    return hashlib.sha256(encode(msgspec.structs.replace(info, digest=""))).hexdigest()


def encode(info: BundleInfo) -> bytes:
    """The bytes of `bundle.json`: UTF-8, indented."""
    return msgspec.json.format(msgspec.json.encode(info), indent=2) + b"\n"


def labels_text(labels: tuple[str, ...]) -> str:
    """The text of `labels.txt`: one label a line."""
    return "".join(f"{label}\n" for label in labels)


def hash_file(file: Path) -> str:
    """The sha256 of a file's bytes, 64 hexadecimal digits. Raises OSError."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _read_info(file: Path) -> BundleInfo:
    try:
        data = file.read_bytes()
    except OSError as error:
        ours = ", ".join(shipped_bundles())
        expected = f"expected the folder of a bundle, as `converter quantize` writes it, or the name of one that Sortbin comes with ({ours})"
        raise BundleError(f"{file}: {error.strerror}; {expected}") from error
    try:
        info = msgspec.json.decode(data, type=BundleInfo)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleError(f"{file}: {error}") from error
    # The hash is over the bytes of the file, not over the decoded values: JSON has many spellings of one value.
    if hashlib.sha256(data.replace(info.digest.encode(), b"")).hexdigest() != info.digest:
        raise BundleError(f"{file}: digest does not match the rest of the file; copy the bundle again")
    _require_valid(file, info)
    return info


def _require_valid(file: Path, info: BundleInfo) -> None:
    if not info.labels or len(set(info.labels)) != len(info.labels) or not all(is_label(label) for label in info.labels):
        raise BundleError(f"{file}: labels: expected at least one, none twice, none empty, each on one line")
    if info.input.size < 1:
        raise BundleError(f"{file}: input.size: expected at least 1 pixel, got {info.input.size}")
    if info.input.resize != "stretch":
        raise BundleError(f"{file}: input.resize: expected stretch, got {info.input.resize}; this device knows no other")
    if not (math.isfinite(info.temperature) and info.temperature > 0):
        raise BundleError(f"{file}: temperature: expected more than 0, got {info.temperature}")
    if not 0 <= info.reject_below <= 1:
        raise BundleError(f"{file}: reject_below: expected 0 to 1, got {info.reject_below}")
    answer, wanted = info.known_answer, len(info.labels)
    if len(answer.logits) != wanted or answer.tolerance < 0 or answer.seed < 0:
        raise BundleError(f"{file}: known_answer: expected {wanted} logits, one a label, and no negative seed or tolerance")
    for name in (LABELS_FILE, model_file(info)):
        if name not in info.files:
            raise BundleError(f"{file}: files: expected {name} among them")
    if info.edgetpu is not msgspec.UNSET and EDGETPU_FILE not in info.files:
        raise BundleError(f"{file}: edgetpu: describes {EDGETPU_FILE}, and files does not list it")
    for name in info.files:
        if Path(name).name != name or name == INFO_FILE:
            raise BundleError(f"{file}: files: {name} is not the plain name of another file in the same folder")
