"""One item that was judged, and what is told of it: where it went, that it was interrupted, and the note beside a frame that is kept."""

from dataclasses import dataclass
from typing import Literal

import msgspec

from device.common.arrays import Float32Array, Float64Array
from device.events import ItemInterrupted, ItemRejected, ItemSorted
from device.policy.decision import Choice
from device.samples.store import SampleNote
from device.vision.inference.classifier import Logits
from device.vision.inference.preprocess import Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the camera's frames said of one item, and the bin that was chosen for it. Times are monotonic seconds.

    seen, probabilities: fused and calibrated, one a label: what the frames say alone, and the same at this place, where labels occur as its site has
    it. unknown: see Opinion. not_isolated: why the last frame was judged as a whole, empty where the item was isolated. pieces: see `events.Item`.
    embedding, mask: of the last frame; mask is None where the item was not isolated. thumbnail: that frame as `OccupancyDetector.thumbnail`
    has it, to see whether the item still lies there.
    """

    item: str
    arrived_s: float
    decided_s: float
    labels: tuple[str, ...]
    bundle: str
    seen: Float64Array
    probabilities: Float64Array
    unknown: float | None
    frames: int
    choice: Choice
    not_isolated: str
    pieces: int
    embedding: Logits
    mask: Pixels | None
    thumbnail: Float32Array

    def outcome(self, emptied_s: float) -> ItemSorted | ItemRejected:
        """The event of an item that left the tray, which was seen empty at `emptied_s`."""
        sorted_ = ItemSorted(
            item=self.item,
            bin=self.choice.bin,
            label=self.choice.label,
            p=round(self.choice.p, 6),
            probabilities=self._shares(),
            frames=self.frames,
            decided_s=round(self.decided_s - self.arrived_s, 3),
            moved_s=round(emptied_s - self.decided_s, 3),
            bundle=self.bundle,
            isolated=not self.not_isolated,
            not_isolated=self.not_isolated,
            pieces=self.pieces,
            unknown=None if self.unknown is None else round(self.unknown, 6),
        )
        return sorted_ if self.choice.reason == "confident" else ItemRejected(**msgspec.structs.asdict(sorted_), reason=self.choice.reason)

    def interrupted(self, reason: Literal["stopped", "removed", "fault"]) -> ItemInterrupted:
        """The event of an item of which nobody knows where it went."""
        return ItemInterrupted(item=self.item, bin=self.choice.bin, label=self.choice.label, reason=reason)

    def note(self) -> SampleNote:
        """What is written beside its frame if that is kept."""
        return SampleNote(
            item=self.item,
            label=self.choice.label,
            p=round(self.choice.p, 6),
            probabilities=self._shares(),
            bin=self.choice.bin,
            reason=self.choice.reason,
            bundle=self.bundle,
            time="",
        )

    def _shares(self) -> dict[str, float]:
        return dict(zip(self.labels, (round(float(p), 6) for p in self.probabilities), strict=True))
