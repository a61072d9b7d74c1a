"""Render cut-outs of waste items, transparent around them and through them, for the virtual bin to lay on its tray.

    python -m training.render.cutouts --out DIR --per-label 12

writes `DIR/<label>/<kind>-<number>.webp` and `DIR/items.json`. Pictures that exist are kept, so a stopped run goes on where it was,
and a deleted picture is rendered again; `--seed` starts another series. A picture of 300 px takes 5 to 12 seconds of one core.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from training.render import catalogue, matte, scene
from training.render.catalogue import ItemPicture
from training.render.items import bottles, boxes, cans, cups, foil, paper, wrappers

FAMILIES = (bottles, boxes, cans, cups, foil, paper, wrappers)
LIST = "items.json"


def cutout(picture: ItemPicture, size_px: int, samples: int, threads: int = 1) -> tuple[Image.Image, float]:
    """Model and render one item: a picture with alpha, cropped to it, and the item's longest side in cm."""
    rng = picture.generator()
    scene.empty_stage(threads)
    item = picture.kind.build(rng)
    scene.aim(item, rng, size_px)
    if item.see_through:
        dark, light = (scene.shoot_over(grey, samples, picture.seed) for grey in (matte.DARK_GROUND, matte.LIGHT_GROUND))
        taken = matte.clear(dark, light)
    else:
        taken = matte.opaque(scene.shoot(samples, picture.seed))
    pixels = np.round(matte.bled(matte.cropped(taken)) * 255).astype(np.uint8)
    return Image.fromarray(pixels, "RGBA"), item.longest_cm


def render(out: Path, series: list[ItemPicture], size_px: int, samples: int, threads: int = 1) -> None:
    """Render what is missing of a series and list it in items.json, which is written after every picture."""
    listed = _listed(out)
    for done, picture in enumerate(series, 1):
        if picture.file in listed:
            continue
        started_s = time.monotonic()
        image, longest_cm = cutout(picture, size_px, samples, threads)
        path = out / picture.file
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, "WEBP", quality=88, alpha_quality=90, method=6, exact=True)
        listed[picture.file] = {
            "file": picture.file,
            "label": picture.kind.label,
            "kind": picture.kind.name,
            "seed": picture.seed,
            "size_cm": round(longest_cm, 1),
        }
        _write_list(out, listed)
        took_s = time.monotonic() - started_s
        size_kib = path.stat().st_size / 1024
        print(f"{done}/{len(series)} {picture.file} {image.width}x{image.height} px, {size_kib:.0f} KiB, {took_s:.1f} s", flush=True)


def _listed(out: Path) -> dict[str, dict[str, object]]:
    """The entries of items.json whose pictures are there."""
    path = out / LIST
    if not path.is_file():
        return {}
    items = json.loads(path.read_text(encoding="utf-8"))
    return {item["file"]: item for item in items if (out / item["file"]).is_file()}


def _write_list(out: Path, listed: dict[str, dict[str, object]]) -> None:
    items = ",\n".join(f"  {json.dumps(listed[file])}" for file in sorted(listed))
    (out / LIST).write_text(f"[\n{items}\n]\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m training.render.cutouts", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the pictures and items.json go")
    parser.add_argument("--per-label", type=int, default=12, metavar="N", help="pictures per label (12)")
    parser.add_argument("--seed", type=int, default=1, help="the series (1)")
    parser.add_argument("--size", type=int, default=320, metavar="PX", help="longest side before cropping (320)")
    parser.add_argument("--samples", type=int, default=24, help="light paths per pixel, before denoising (24)")
    parser.add_argument("--threads", type=int, default=1, help="cores to use (1)")
    given = parser.parse_args(arguments)
    series = [picture for label in catalogue.labels() for picture in catalogue.pictures(label, given.per_label, given.seed)]
    render(given.out, series, given.size, given.samples, given.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
