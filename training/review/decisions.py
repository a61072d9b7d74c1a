"""Which decision stands for each picture, from the rows of the journal."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated

import msgspec

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Labelled(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="labelled"):
    """A person gave a picture its label. picture is the sha256 of its bytes, name its path below the folder it was found in."""

    at: str
    picture: Sha256
    name: str
    guess: str | None
    label: str


class Discarded(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="discarded"):
    """A person put a picture aside: no item, a hand, something private."""

    at: str
    picture: Sha256
    name: str
    guess: str | None


class Undone(msgspec.Struct, frozen=True, kw_only=True, tag_field="what", tag="undone"):
    """The newest decision that still stood was taken back."""

    at: str


Decision = Labelled | Discarded
Row = Labelled | Discarded | Undone


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Pictures by what stands for them. labelled are those that had no guess to confirm or correct."""

    confirmed: int = 0
    corrected: int = 0
    labelled: int = 0
    discarded: int = 0

    @property
    def decided(self) -> int:
        """All of them together."""
        return self.confirmed + self.corrected + self.labelled + self.discarded


class Decisions:
    """What the rows so far amount to. A later decision on a picture covers an earlier one, and undoing it uncovers that again."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._made: list[Decision] = []
        self._of: dict[str, list[Decision]] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Go on by one row. Raises ValueError for an undo where there is nothing to undo."""
        match row:
            case Undone():
                if not self._made:
                    raise ValueError("nothing to undo")
                last = self._made.pop()
                self._of[last.picture].pop()
            case _:
                self._made.append(row)
                self._of.setdefault(row.picture, []).append(row)

    def of(self, picture: str) -> Decision | None:
        """What stands for a picture."""
        return self._of[picture][-1] if self._of.get(picture) else None

    def newest(self) -> Decision | None:
        """What an undo would take back."""
        return self._made[-1] if self._made else None

    def below_newest(self) -> Decision | None:
        """What would stand for that picture afterwards."""
        covered = self._of[self._made[-1].picture][:-1]
        return covered[-1] if covered else None

    def standing(self) -> list[Decision]:
        """The decision on each picture that has one, in the order in which the pictures were first decided."""
        return [made[-1] for made in self._of.values() if made]

    def counts(self) -> Counts:
        """How many pictures were confirmed, corrected, labelled and discarded."""
        found = Counter(outcome(decision) for decision in self.standing())
        return Counts(**found)


def outcome(decision: Decision) -> str:
    """`confirmed`, `corrected`, `labelled` or `discarded`."""
    if isinstance(decision, Discarded):
        return "discarded"
    if decision.guess is None:
        return "labelled"
    return "confirmed" if decision.label == decision.guess else "corrected"
