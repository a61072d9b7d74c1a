"""The result of a verification, as text and as JSON."""

import msgspec

from converter.common.proportion import Proportion

MARKS = {True: "ok   ", False: "WRONG", None: "-    "}


class Check(msgspec.Struct, frozen=True):
    """One check. good: None if it could not be made; `text`, one line, then says why."""

    name: str
    good: bool | None
    text: str

    def __str__(self) -> str:
        return f"{MARKS[self.good]} {self.name:<12} {self.text}"


class RuntimeResult(msgspec.Struct, frozen=True):
    """The answers of one runtime. name: package, version and kernels, without the version if it did not start.

    good: None if it is not installed. off_steps: the largest difference from the golden output, in steps of the quantized logits; allowed_steps: the
    tolerance. On photos, if there are any: accuracy; agreement, the share of photos with the same label as on the runtime that ships; differs_steps,
    differs: the largest difference of its logits from that runtime's, in steps and in logits.
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
    """Accuracy on photos. ships: the runtime that a device uses on this computer.

    claimed: the accuracy in the bundle. int8: the measured one. isolated: measured on isolated items, if the bundle claims an accuracy for them.
    float32, agreement: of the float network, if a run was named.
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
    """The result of all checks. good: whether none failed and at least one runtime gave the golden output."""

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
