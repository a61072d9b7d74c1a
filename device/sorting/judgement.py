"""One item as it was judged, and the records made of it: its event, and the note beside a stored frame."""

from dataclasses import dataclass
from typing import Literal

import msgspec

from device.common.arrays import Float32Array, Float64Array
from device.events import ItemInterrupted, ItemRejected, ItemSorted
from device.policy.decision import Choice
from device.samples.store import SampleNote
from device.vision.inference.preprocess import Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a burst of frames says of one item, and the bin that was chosen for it. Times are monotonic seconds.

    posterior: fused over the frames and calibrated, one probability a label, before the label prior of this site. probabilities: after it. unknown:
    see CropPrediction. not_isolated: why the last frame was judged as a whole; empty where the item was isolated. pieces: see `events.Item`.
    embedding: of the first frame. pixels, mask: the last frame, H x W x 3 uint8 RGB, and the item in it, H x W uint8, None where it was not isolated.
    judged_pixels: the last frame at the exposure that the item was judged at; the same as pixels unless it has one of its own.
    thumbnail: the last frame as `OccupancyDetector.thumbnail` has it, to see later whether the item still lies there.
    """

    item: str
    arrived_s: float
    decided_s: float
    labels: tuple[str, ...]
    bundle: str
    posterior: Float64Array
    probabilities: Float64Array
    unknown: float | None
    frames: int
    choice: Choice
    not_isolated: str
    pieces: int
    embedding: Float32Array
    pixels: Pixels
    judged_pixels: Pixels
    mask: Pixels | None
    thumbnail: Float32Array

    def outcome(self, emptied_s: float, confirmed: bool | None = None) -> ItemSorted | ItemRejected:
        """The event of an item that left through its gate. emptied_s: when the tray was seen empty. confirmed: see `events.Item`."""
        sorted_ = ItemSorted(
            item=self.item,
            bin=self.choice.bin,
            label=self.choice.label,
            p=round(self.choice.p, 6),
            probabilities=self._rounded_probabilities(),
            frames=self.frames,
            decided_s=round(self.decided_s - self.arrived_s, 3),
            moved_s=round(emptied_s - self.decided_s, 3),
            bundle=self.bundle,
            isolated=not self.not_isolated,
            not_isolated=self.not_isolated,
            pieces=self.pieces,
            unknown=None if self.unknown is None else round(self.unknown, 6),
            p_right=round(self.choice.p_right, 6),
            confirmed=confirmed,
        )
        return sorted_ if self.choice.reason == "confident" else ItemRejected(**msgspec.structs.asdict(sorted_), reason=self.choice.reason)

    def interrupted(self, reason: Literal["stopped", "removed", "fault"]) -> ItemInterrupted:
        """The event of an item of which it is not known where it went."""
        return ItemInterrupted(item=self.item, bin=self.choice.bin, label=self.choice.label, reason=reason)

    def note(self) -> SampleNote:
        """The note beside its frame, should that be stored for review."""
        return SampleNote(
            item=self.item,
            label=self.choice.label,
            p=round(self.choice.p, 6),
            probabilities=self._rounded_probabilities(),
            bin=self.choice.bin,
            reason=self.choice.reason,
            bundle=self.bundle,
            time="",
        )

    def _rounded_probabilities(self) -> dict[str, float]:
        return dict(zip(self.labels, (round(float(p), 6) for p in self.probabilities), strict=True))
