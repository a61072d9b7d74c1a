"""A rule pack: the bin of each label, the residual bin for unsure items, hazards, and what each mistake costs.

Packs are TOML files, versioned apart from the model because local rules differ; `config/rules/trashnet.toml` explains every key.
"""

import hashlib
import math
import operator
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from device.common.errors import SortbinError, describe_toml_error
from device.common.shipped_files import find


class RulesError(SortbinError, ValueError):
    """A rule pack that cannot be used. The message names the file, the key and what was expected."""


Several = Literal["residual", "least_cost"]


class HazardRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an item counts as a hazard, and which bin takes it."""

    above: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.1
    """probability of all hazards together above which an item counts as one"""
    into: str = ""
    """the bin that takes it; empty: no gate opens until a hand has taken it out"""


@dataclass(frozen=True, slots=True)
class RulePack:
    """A pack as it applies to the labels of one bundle.

    sha256: digest of its file. bins: name to title, in the order of the file. hazards: the labels that must never pass unnoticed. hazard: when an
    item counts as one, and which bin takes it. several: where things go that came together and belong in different bins.
    """

    name: str
    version: str
    sha256: str
    bins: Mapping[str, str]
    residual: str
    hazards: frozenset[str]
    hazard: HazardRule
    several: Several
    _bin_of: Mapping[str, str]
    _costs: Mapping[str, tuple[float, ...]]
    """for each bin that an item goes into, the cost by the bin it belongs in, in the order of `bins`"""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in use."""
        return tuple(self._bin_of)

    def bin_of(self, label: str) -> str:
        """The bin that a label of the bundle belongs in."""
        return self._bin_of[label]

    def hazards_without_label(self, labels: tuple[str, ...]) -> list[str]:
        """Hazards that are none of these labels, and so pass unnoticed until the bin is taught them."""
        return sorted(self.hazards - set(labels))

    def cost(self, belongs_in: str, into: str) -> float:
        """What it costs to put an item into a bin; 0 where it belongs there."""
        return self._costs[into][tuple(self.bins).index(belongs_in)]

    def expected_costs(self, belief: Sequence[float]) -> dict[str, float]:
        """The expected cost of each bin. belief: the probability that the item belongs in each, in the order of `bins`."""
        return {into: sum(map(operator.mul, belief, costs)) for into, costs in self._costs.items()}


def read_rules(file: Path, labels: tuple[str, ...], also: tuple[str, ...] = ()) -> RulePack:
    """Read a rule pack for these labels.

    Each of them must belong in exactly one bin. A label that the pack names in full must be one of `labels` or `also`; a pattern may match none.
    also: labels of the bundle that are not in use, because the bin was taught others. Labels are compared in Unicode's composed form (NFC), whatever
    system they were typed on. Raises RulesError.
    """
    pack_file, sha256 = _decode(file)
    _check(file, pack_file)
    nameable = {_nfc(label): label for label in pack_file.taught + also + labels}
    bin_of = _assign(file, pack_file, nameable)
    without_bin = [label for label in labels if label not in bin_of]
    if without_bin:
        raise RulesError(f"{file}: bins: no bin for the label {without_bin[0]}; add it to one bin's labels, or choose another pack")
    titles = {name: entry.title or name for name, entry in pack_file.bins.items()}
    return _pack(file, pack_file, titles, bin_of, _hazards(file, pack_file, nameable), sha256)


def default_pack(labels: tuple[str, ...]) -> RulePack:
    """Sortbin's own pack, for commands that judge pictures and move no gate. A label without a bin gets one of its own name; the pack's own labels
    need not be among `labels`.
    """
    file = default_rules()
    pack_file, sha256 = _decode(file)
    _check(file, pack_file)
    named = tuple(label for entry in pack_file.bins.values() for label in entry.labels)
    nameable = {_nfc(label): label for label in named + labels}
    bin_of = _assign(file, pack_file, nameable)
    own = {label: label for label in labels if label not in bin_of}
    titles = {name: entry.title or name for name, entry in pack_file.bins.items()} | own
    return _pack(file, pack_file, titles, bin_of | own, _hazards(file, pack_file, nameable), sha256)


def find_rules(pack: str) -> Path:
    """The file of a pack. pack: the name of one that Sortbin comes with, such as `four-bins`, or a path. Raises RulesError."""
    return find("rules", pack, RulesError)


def default_rules() -> Path:
    """The file of the pack that goes with the default bundle."""
    return find_rules("trashnet")


class _Bin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    labels: tuple[str, ...] = ()
    title: str = ""


class _Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    wrong: float = 1.0
    residual: float = 0.4
    belongs_in: dict[str, dict[str, float]] = {}


class _PackFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pack as its file has it."""

    name: str
    version: str
    residual: str
    bins: dict[str, _Bin]
    taught: tuple[str, ...] = ()
    """labels that the bin is taught on site; the pack may name them before that"""
    hazards: tuple[str, ...] = ()
    hazard: HazardRule | None = None
    several: Several = "residual"
    """the bin for several things that came together: the residual bin, or the one of least expected cost of all of them"""
    cost: _Cost = _Cost()


def _decode(file: Path) -> tuple[_PackFile, str]:
    """The pack, and the SHA-256 of its file."""
    text = ""
    try:
        written = file.read_bytes()
        text = written.decode("utf-8-sig")
        return msgspec.toml.decode(text, type=_PackFile), hashlib.sha256(written).hexdigest()
    except OSError as error:
        raise RulesError(f"{file}: {error.strerror}; expected a rule pack") from error
    except msgspec.MsgspecError as error:
        raise RulesError(f"{file}: {describe_toml_error(error, _PackFile, text)}") from error
    except UnicodeDecodeError as error:
        raise RulesError(f"{file}: expected text in UTF-8: {error.reason} at byte {error.start}") from error


def _check(file: Path, pack_file: _PackFile) -> None:
    for name in pack_file.bins:
        if not re.fullmatch(r"[a-z0-9_-]+", name):
            raise RulesError(f"{file}: bins.{name}: expected a name of a-z, 0-9, - and _, since it is part of an MQTT topic; title may be anything")
    if pack_file.residual not in pack_file.bins:
        raise RulesError(f"{file}: residual: expected one of the bins ({', '.join(pack_file.bins)}), got {pack_file.residual}")
    if pack_file.hazard is not None and not pack_file.hazards:
        raise RulesError(f"{file}: hazard: of which labels? Expected a list of labels, hazards, beside this table; or leave the table out")
    if pack_file.hazard is not None and pack_file.hazard.into and pack_file.hazard.into not in pack_file.bins:
        raise RulesError(f"{file}: hazard.into: expected one of the bins ({', '.join(pack_file.bins)}), got {pack_file.hazard.into}")


def _pack(file: Path, pack_file: _PackFile, titles: dict[str, str], bin_of: dict[str, str], hazards: frozenset[str], sha256: str) -> RulePack:
    by_pair = _costs(file, pack_file, tuple(titles))
    costs = {into: tuple(by_pair[belongs, into] for belongs in titles) for into in titles}
    hazard = pack_file.hazard or HazardRule()
    return RulePack(pack_file.name, pack_file.version, sha256, titles, pack_file.residual, hazards, hazard, pack_file.several, bin_of, costs)


def _hazards(file: Path, pack_file: _PackFile, nameable: dict[str, str]) -> frozenset[str]:
    return frozenset(label for entry in pack_file.hazards for label in _labels_that_match(file, "hazards", entry, nameable))


def _assign(file: Path, pack_file: _PackFile, nameable: dict[str, str]) -> dict[str, str]:
    """The bin of each label that has one. A label written in full goes before a pattern, so a pack can make an exception of one label."""
    in_full: dict[str, str] = {}
    by_pattern: dict[str, str] = {}
    for name, entry in pack_file.bins.items():
        for wanted in entry.labels:
            assigned = by_pattern if "*" in wanted else in_full
            for label in _labels_that_match(file, f"bins.{name}.labels", wanted, nameable):
                if assigned.setdefault(label, name) != name:
                    raise RulesError(f"{file}: bins.{name}.labels: {label} is in bins.{assigned[label]} too; expected one bin for each label")
    return by_pattern | in_full


def _labels_that_match(file: Path, key: str, wanted: str, nameable: dict[str, str]) -> list[str]:
    prefix, star, rest = _nfc(wanted).partition("*")
    if star and (rest or not prefix):
        raise RulesError(f"{file}: {key}: expected a label, or the beginning of labels and one * at the end, got {wanted}")
    if star:
        return [label for composed, label in nameable.items() if composed.startswith(prefix)]
    if prefix not in nameable:
        raise RulesError(f"{file}: {key}: unknown label {wanted}; expected one of {', '.join(nameable.values())}")
    return [nameable[prefix]]


def _costs(file: Path, pack_file: _PackFile, bins: tuple[str, ...]) -> dict[tuple[str, str], float]:
    cost = pack_file.cost
    wrong, lost = _positive(file, "cost.wrong", cost.wrong), _positive(file, "cost.residual", cost.residual)
    usual = {into: lost if into == pack_file.residual else wrong for into in bins}
    costs = {(belongs, into): 0.0 if into == belongs else usual[into] for belongs in bins for into in bins}
    for belongs, row in cost.belongs_in.items():
        for into, value in row.items():
            key = f"cost.belongs_in.{belongs}.{into}"
            if belongs not in bins or into not in bins or belongs == into:
                raise RulesError(f"{file}: {key}: expected two different bins of {', '.join(bins)}")
            costs[belongs, into] = _positive(file, key, value)
    return costs


def _positive(file: Path, key: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise RulesError(f"{file}: {key}: expected more than 0, got {value:g}")
    return value


def _nfc(label: str) -> str:
    return unicodedata.normalize("NFC", label)
