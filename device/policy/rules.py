"""A rule pack: which bin each label belongs in, which bin takes what is better not guessed, and what a mistake costs.

Packs are TOML files, versioned apart from the model because local rules differ; `config/rules/trashnet.toml` explains every key.
"""

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
    """When an item counts as a hazard, and what happens to it."""

    above: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.1
    """probability of all hazards together above which an item counts as one"""
    into: str = ""
    """the bin that takes it; empty: no gate opens until a hand has taken it out"""


@dataclass(frozen=True, slots=True)
class RulePack:
    """A pack as it applies to the labels of one bundle.

    bins maps each bin's name to its title, in the order of the file. hazards are the labels that must never pass unnoticed, hazard says when an
    item counts as one and what happens to it. several says where things go that came together and do not belong in one bin.
    """

    name: str
    version: str
    bins: Mapping[str, str]
    residual: str
    hazards: frozenset[str]
    hazard: HazardRule
    several: Several
    _bin_of: Mapping[str, str]
    _costs: Mapping[str, tuple[float, ...]]
    """of each bin, by where the item belongs, in the order of `bins`"""

    def bin_of(self, label: str) -> str:
        """The bin that a label of the bundle belongs in."""
        return self._bin_of[label]

    def hazards_without_label(self, labels: tuple[str, ...]) -> list[str]:
        """Hazards that are none of the labels that are told apart, and so pass unnoticed: those that the bin is still to be taught."""
        return sorted(self.hazards - set(labels))

    def cost(self, belongs_in: str, into: str) -> float:
        """What it costs to put into one bin what belongs in another. Nothing where they are the same."""
        return self._costs[into][tuple(self.bins).index(belongs_in)]

    def expected_costs(self, belief: Sequence[float]) -> dict[str, float]:
        """What to expect of each bin. belief: the probability that the item belongs in each, in the order of `bins`."""
        return {into: sum(map(operator.mul, belief, costs)) for into, costs in self._costs.items()}


def read_rules(file: Path, labels: tuple[str, ...], also: tuple[str, ...] = ()) -> RulePack:
    """Read a rule pack for what tells these labels apart.

    Every label must belong in exactly one bin; a label that the pack names in full must be one of them, or of `also`: labels of the bundle that
    do not count where others were taught (a pattern may match none).
    Labels are compared in Unicode's composed form, so it does not matter on which system they were typed. Raises RulesError.
    """
    written = _decode(file)
    _require_sense(file, written)
    known = {_composed(label): label for label in written.taught + also + labels}
    bin_of = _assign(file, written, known)
    missing = [label for label in labels if label not in bin_of]
    if missing:
        raise RulesError(f"{file}: bins: no bin for the label {missing[0]}; add it to one bin's labels, or choose another pack")
    titles = {name: entry.title or name for name, entry in written.bins.items()}
    return _pack(file, written, titles, bin_of, _hazards(file, written, known))


def default_pack(labels: tuple[str, ...]) -> RulePack:
    """Sortbin's own pack for whoever named none, where pictures are judged and no gate is moved: a label that it has no bin for has one of its own
    name. Of its own labels any may be missing.
    """
    file = default_rules()
    written = _decode(file)
    _require_sense(file, written)
    named = tuple(label for entry in written.bins.values() for label in entry.labels)
    known = {_composed(label): label for label in named + labels}
    bin_of = _assign(file, written, known)
    own = {label: label for label in labels if label not in bin_of}
    titles = {name: entry.title or name for name, entry in written.bins.items()} | own
    return _pack(file, written, titles, bin_of | own, _hazards(file, written, known))


def find_rules(pack: str) -> Path:
    """The file of a pack: the bare name of one that Sortbin comes with, as `four-bins`, or a path. Raises RulesError."""
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


class _Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pack as it stands in its file."""

    name: str
    version: str
    residual: str
    bins: dict[str, _Bin]
    taught: tuple[str, ...] = ()
    """labels that the bin is taught, or will be: the pack may name them before"""
    hazards: tuple[str, ...] = ()
    hazard: HazardRule | None = None
    several: Several = "residual"
    """the bin for things of several kinds that came together: the residual one, or the one of least expected cost of all of them"""
    cost: _Cost = _Cost()


def _decode(file: Path) -> _Written:
    text = ""
    try:
        text = file.read_text(encoding="utf-8-sig")
        return msgspec.toml.decode(text, type=_Written)
    except OSError as error:
        raise RulesError(f"{file}: {error.strerror}; expected a rule pack") from error
    except msgspec.MsgspecError as error:
        raise RulesError(f"{file}: {describe_toml_error(error, _Written, text)}") from error
    except UnicodeDecodeError as error:
        raise RulesError(f"{file}: expected text in UTF-8: {error.reason} at byte {error.start}") from error


def _require_sense(file: Path, written: _Written) -> None:
    for name in written.bins:
        if not re.fullmatch(r"[a-z0-9_-]+", name):
            raise RulesError(f"{file}: bins.{name}: expected a name of a-z, 0-9, - and _, since it is part of an MQTT topic; title may be anything")
    if written.residual not in written.bins:
        raise RulesError(f"{file}: residual: expected one of the bins ({', '.join(written.bins)}), got {written.residual}")
    if written.hazard is not None and not written.hazards:
        raise RulesError(f"{file}: hazard: of which labels? Expected hazards beside it, a list of labels; or leave this table out")
    if written.hazard is not None and written.hazard.into and written.hazard.into not in written.bins:
        raise RulesError(f"{file}: hazard.into: expected one of the bins ({', '.join(written.bins)}), got {written.hazard.into}")


def _pack(file: Path, written: _Written, titles: dict[str, str], bin_of: dict[str, str], hazards: frozenset[str]) -> RulePack:
    by_pair = _costs(file, written, tuple(titles))
    costs = {into: tuple(by_pair[belongs, into] for belongs in titles) for into in titles}
    hazard = written.hazard or HazardRule()
    return RulePack(written.name, written.version, titles, written.residual, hazards, hazard, written.several, bin_of, costs)


def _hazards(file: Path, written: _Written, known: dict[str, str]) -> frozenset[str]:
    return frozenset(label for entry in written.hazards for label in _matching(file, "hazards", entry, known))


def _assign(file: Path, written: _Written, known: dict[str, str]) -> dict[str, str]:
    """Each label's bin, of those that have one. A label written in full goes before a pattern, so a pack can make an exception of one item."""
    in_full: dict[str, str] = {}
    by_pattern: dict[str, str] = {}
    for name, entry in written.bins.items():
        for wanted in entry.labels:
            assigned = by_pattern if "*" in wanted else in_full
            for label in _matching(file, f"bins.{name}.labels", wanted, known):
                if assigned.setdefault(label, name) != name:
                    raise RulesError(f"{file}: bins.{name}.labels: {label} is in bins.{assigned[label]} too; expected one bin for each label")
    return by_pattern | in_full


def _matching(file: Path, key: str, wanted: str, known: dict[str, str]) -> list[str]:
    prefix, star, rest = _composed(wanted).partition("*")
    if star and (rest or not prefix):
        raise RulesError(f"{file}: {key}: expected a label, or how labels begin with one * at the end, got {wanted}")
    if star:
        return [label for composed, label in known.items() if composed.startswith(prefix)]
    if prefix not in known:
        raise RulesError(f"{file}: {key}: unknown label {wanted}; expected one of {', '.join(known.values())}")
    return [known[prefix]]


def _costs(file: Path, written: _Written, bins: tuple[str, ...]) -> dict[tuple[str, str], float]:
    cost = written.cost
    wrong, lost = _positive(file, "cost.wrong", cost.wrong), _positive(file, "cost.residual", cost.residual)
    usual = {into: lost if into == written.residual else wrong for into in bins}
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


def _composed(label: str) -> str:
    return unicodedata.normalize("NFC", label)
