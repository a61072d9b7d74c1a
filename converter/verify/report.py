"""What a verification found, for people and as JSON."""

import msgspec

from converter.common.proportion import Proportion

MARKS = {True: "ok   ", False: "WRONG", None: "-    "}


class Check(msgspec.Struct, frozen=True):
    """One thing looked at. good: None where it could not be looked at, for the reason that `text` gives. text: one line."""

    name: str
    good: bool | None
    text: str

    def __str__(self) -> str:
        return f"{MARKS[self.good]} {self.name:<12} {self.text}"


class RuntimeResult(msgspec.Struct, frozen=True):
    """A runtime and what it answered. name: package, version and kernels, or package and kernels where it never got to say its version.

    good: None where it is not installed. off_steps: the largest difference from the golden output in steps of the quantized logits, of
    which allowed_steps are. On photos, where there are some: accuracy; agreement, the share on which it names the same label as the
    runtime that ships; and the largest difference from that one's logits, in steps and as they are.
    """

    name: str
    good: bool | None
    text: str
    off_steps: int | None = None
    allowed_steps: int | None = None
    accuracy: Proportion | None = None
    agreement: float | None = None
    differs_steps: int | None = None
    differs: float | None = None

    def __str__(self) -> str:
        return str(Check("golden output", self.good, f"{self.name}: {self.text}"))


class PhotoResults(msgspec.Struct, frozen=True):
    """What was measured on photos. ships: the runtime that a bin takes on this computer.

    claimed: what the bundle says of INT8, and int8 what was measured; isolated: measured with the items by themselves, where the bundle says
    something of that. float32 and agreement: of the run's network, where one was named.
    """

    data: str
    n: int
    ships: str
    claimed: Proportion
    int8: Proportion
    float32: Proportion | None = None
    agreement: float | None = None
    isolated: Proportion | None = None


class Verification(msgspec.Struct, frozen=True):
    """Everything that was found. good: nothing is wrong."""

    bundle: str
    name: str
    digest: str
    good: bool
    checks: list[Check]
    runtimes: list[RuntimeResult]
    photos: PhotoResults | None = None

    def __str__(self) -> str:
        rows: list[Check | RuntimeResult] = [*self.checks, *self.runtimes]
        if not any(row.good for row in self.runtimes) and self.checks and self.checks[0].good:
            rows.append(Check("golden output", None, "no runtime gave it"))
        wrong = sum(row.good is False for row in rows)
        verdict = "good" if self.good else f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong"
        return "\n".join([*map(str, rows), f"{self.bundle}: {verdict}"])
