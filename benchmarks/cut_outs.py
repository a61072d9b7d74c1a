"""Lay cut-outs of real photos into views of places, to measure what a bundle and a teaching are worth where items are photos and places are not.

    python -m benchmarks.cut_outs DATA PLACES OUT

DATA: photos on light card with their official lists; its validation photos are laid. PLACES: what `training render bench` wrote, with the places of
SCENES. OUT: a new folder with the same layout, for `benchmarks.places` and `benchmarks.outlines`. The first empty view of a place is what items are
laid into, the others are kept as its empty views. The same arguments give the same pictures.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np

from converter.common.atomic_directory import atomic_directory
from converter.data.isolated_view import find_mask_on_card
from converter.data.photos import read_part, read_pixels
from device.common.errors import SortbinError
from device.vision.inference.preprocess import Pixels

EDGE_PX = 4
"""least distance between an item and the view's border, both sides together"""
SHADOW, SHADOW_PX = 0.35, 6
NOISE = 2.5
"""standard deviation of pixel noise, in counts of 255"""


@dataclass(frozen=True, slots=True)
class PlaceLight:
    """A place and how items look there.

    place: its name in PLACES. gain, tint: of the items' light, all of it and by channel. sides: least and largest longer side of an item, as
    shares of the view's shorter side.
    """

    place: str
    gain: float
    tint: tuple[float, float, float]
    sides: tuple[float, float]


SCENES = {
    "dark": PlaceLight("backlit-chamber", 0.35, (0.9, 1.0, 1.1), (0.42, 0.72)),
    "rails": PlaceLight("rails", 0.75, (1.0, 1.0, 1.0), (0.24, 0.48)),
    "warm": PlaceLight("kitchen-table", 0.9, (1.15, 1.0, 0.75), (0.42, 0.84)),
}


def write_cut_outs(data: Path, places: Path, out: Path) -> int:
    """Write all scenes and return the number of pictures; photos in which no item is told from the card are left out.

    Raises PhotoError, OutputError.
    """
    items = list(cut_out(data))
    rows = []
    with atomic_directory(out) as folder:
        for number, (name, scene) in enumerate(SCENES.items()):
            view, *empty = sorted((places / scene.place / "empty").iterdir())
            (folder / name / "empty").mkdir(parents=True)
            for file in empty:
                shutil.copyfile(file, folder / name / "empty" / file.name)
            ground = read_pixels(view)
            for index, label, pixels, mask in items:
                rng = np.random.default_rng([number, index])
                frame, shown = laid(pixels, mask, ground, scene, rng)
                image, shape = (f"{name}/items/{label}/{index:04}.jpg", f"{name}/masks/{index:04}.png")
                for file in (image, shape):
                    (folder / file).parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / image), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(65, 92))])
                cv2.imwrite(str(folder / shape), shown)
                rows.append(msgspec.json.encode({"image": image, "mask": shape, "label": label, "place": name}))
        (folder / "index.jsonl").write_bytes(b"\n".join(rows) + b"\n")
    return len(rows)


def cut_out(data: Path) -> Iterator[tuple[int, str, Pixels, Pixels]]:
    """Validation photos with an item that is told from its card: number, label, H x W x 3 uint8 RGB, mask H x W uint8. Raises PhotoError."""
    for index, photo in enumerate(read_part(data, "val")):
        pixels = read_pixels(photo.path)
        mask = find_mask_on_card(pixels)
        if mask is not None:
            yield index, photo.label, pixels, mask


def laid(photo: Pixels, mask: Pixels, ground: Pixels, scene: PlaceLight, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """The item of a photo (H x W x 3 uint8 RGB, mask H x W uint8) somewhere in a view (h x w x 3 uint8 RGB), and its mask there, h x w uint8."""
    left, top, width, height = cv2.boundingRect(mask)
    quarters = int(rng.integers(4))
    item, alpha = (np.ascontiguousarray(np.rot90(part[top : top + height, left : left + width], quarters)) for part in (photo, mask))
    room = np.array(ground.shape[:2]) - EDGE_PX
    scale = rng.uniform(*scene.sides) * min(ground.shape[:2]) / max(item.shape[:2])
    down, across = np.clip(np.array(item.shape[:2]) * scale, 8, room).astype(int).tolist()
    y, x = (rng.uniform(0.1, 0.9, 2) * (np.array(ground.shape[:2]) - (down, across))).astype(int).tolist()
    shown = np.zeros(ground.shape[:2], np.float32)
    soft = cv2.GaussianBlur(cv2.resize(alpha, (across, down)), (3, 3), 0).astype(np.float32) / 255
    shown[y : y + down, x : x + across] = soft
    shadow = cv2.GaussianBlur(np.roll(shown, SHADOW_PX, axis=0), (0, 0), 8)
    view = ground.astype(np.float32) * (1 - SHADOW * shadow)[..., np.newaxis]
    lit = cv2.resize(item, (across, down), interpolation=cv2.INTER_AREA) * np.float32(scene.gain * rng.uniform(0.85, 1.15)) * np.float32(scene.tint)
    here = view[y : y + down, x : x + across]
    here += soft[..., np.newaxis] * (lit - here)
    view = view * rng.uniform(0.93, 1.07) + rng.normal(0, NOISE, view.shape)
    return np.clip(view, 0, 255).astype(np.uint8), np.rint(shown * 255).astype(np.uint8)


def main() -> int:
    """Write them and say how many. Exit status 2 for what cannot be read or written."""
    parser = argparse.ArgumentParser(prog="benchmarks.cut_outs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="photos on light card, with lists")
    parser.add_argument("places", type=Path, metavar="PLACES", help="what `training render bench` wrote")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write, which does not exist")
    arguments = parser.parse_args()
    missing = [scene.place for scene in SCENES.values() if not (arguments.places / scene.place / "empty").is_dir()]
    if missing:
        print(f"benchmarks.cut_outs: {arguments.places}: expected the places {', '.join(missing)} with a folder of empty views each", file=sys.stderr)
        return 2
    try:
        count = write_cut_outs(arguments.data, arguments.places, arguments.out)
    except SortbinError as error:
        print(f"benchmarks.cut_outs: {error}", file=sys.stderr)
        return 2
    print(f"{count} pictures in {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
