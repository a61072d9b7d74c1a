"""What it brings to expose for the item: how many are named right against the light, judged at the usual exposure alone and at one of their own too.

    python -m benchmarks.own_exposure [--bundle DIR] [--back-lit 1 10 30 100] [--poses N] [--seed N] [--json]

Every item of the virtual bin lies on its tray, before a ground that gives --back-lit times as much light as falls on the item's front (1: the lamp is
above, and lights both). The sensor clips and has noise, the lens has glare. Items are isolated, metered and judged as the sorter does it, by four
looks at the usual exposure, or by two at the item's own where it is asked for.
"""

import argparse
import sys

import msgspec
import numpy as np

from device.common.errors import SortbinError
from device.simulation.bin import EXPOSURE_RANGE
from device.simulation.items import VirtualItem, shipped_items
from device.simulation.tray_renderer import Pose, TrayRenderer
from device.sorting.item_exposure import FRAMES, MOST_ASKED
from device.vision.inference.bundle import Bundle, default_bundle, find_bundle, read_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.fusion import fuse
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import BackgroundModel
from device.vision.isolation.exposure import exposure_change
from device.vision.isolation.isolate import Isolated, isolate
from device.vision.isolation.tta import ITEM_CROPS, crops_of, look_weights, take_look, view_share

EMPTY_VIEWS, LOOKS = 3, 4


class LightResult(msgspec.Struct, frozen=True):
    """Of n items in one light: found by isolation, asked for at another exposure, and named right without and with that. usual_nll, own_nll: mean
    negative log likelihood of the right label, without and with.
    """

    back_lit: float
    n: int
    found: int
    asked: int
    usual: int
    own: int
    usual_nll: float
    own_nll: float


def measure(bundle: Bundle, back_lit: float, poses: int, seed: int) -> LightResult:
    """Judge every item in `poses` poses. Raises RuntimeFault when nothing can run the network."""
    classifier, rng = Classifier(bundle), np.random.default_rng(seed)
    tray = TrayRenderer(rng, back_lit)
    empty = BackgroundModel(tray.picture(None, 0.0, 1.0) for _ in range(EMPTY_VIEWS))
    rows = [
        _judge(classifier, tray, empty, item, Pose(*rng.uniform(0.43, 0.57, 2), rng.uniform(-35, 35)))
        for item in shipped_items()
        for _ in range(poses)
    ]
    found, asked, usual, own, usual_nll, own_nll = np.array(rows).T
    return LightResult(
        back_lit, len(rows), int(found.sum()), int(asked.sum()), int(usual.sum()), int(own.sum()), float(usual_nll.mean()), float(own_nll.mean())
    )


def _judge(classifier: Classifier, tray: TrayRenderer, empty: BackgroundModel, thing: VirtualItem, pose: Pose) -> tuple[float, ...]:
    tray.lay(thing)
    frame, ground = tray.picture(pose, 0.0, 1.0), classifier.bundle.info.ground
    item = isolate(frame, empty, ground)
    looks = [take_look(frame, item, ground, number, crops_of(item)) for number in range(LOOKS)]
    usual = [classifier.predict(look.picture)[0] for look in looks]
    without = with_own = fuse(usual, weights=look_weights([(look.of_item, look.weight) for look in looks], view_share(item)))
    exposure = _own_exposure(tray, item, pose, frame)
    if exposure != 1.0:
        exposed = [take_look(tray.picture(pose, 0.0, exposure), item, ground, 1 + number, ITEM_CROPS) for number in range(FRAMES)]
        with_own = fuse([classifier.predict(look.picture)[0] for look in exposed])
    right = classifier.labels.index(str(thing.label))
    named = (float(fused.argmax() == right) for fused in (without, with_own))
    return item.found, exposure != 1.0, *named, *(-float(np.log(max(fused[right], 1e-6))) for fused in (without, with_own))


def _own_exposure(tray: TrayRenderer, item: Isolated, pose: Pose, frame: Pixels) -> float:
    exposure = 1.0
    for _ in range(MOST_ASKED if item.found else 0):
        change = exposure_change(frame, item.mask)
        if change == 1.0:
            break
        exposure = float(np.clip(exposure * change, *EXPOSURE_RANGE))
        frame = tray.picture(pose, 0.0, exposure)
    return exposure


def main() -> int:
    """Print a line for each light. Exit status 2 when there is nothing to measure."""
    parser = argparse.ArgumentParser(prog="benchmarks.own_exposure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=find_bundle, default=default_bundle(), metavar="DIR", help="bundle to judge with (default: Sortbin's own)")
    parser.add_argument("--back-lit", type=float, nargs="+", default=[1, 10, 30, 100], metavar="X", help="light behind over light in front")
    parser.add_argument("--poses", type=int, default=1, metavar="N", help="poses of each item (default: 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of tray, poses and noise (default: 0)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    if arguments.poses < 1 or min(arguments.back_lit) < 1:
        parser.error("expected --poses and --back-lit of at least 1")
    if not arguments.json:
        print("| light behind / in front | n | found | asked | right, usual | right, own | nll | nll, own |")
        print("|---|---|---|---|---|---|---|---|")
    try:
        bundle = read_bundle(arguments.bundle)
        for back_lit in arguments.back_lit:
            light = measure(bundle, back_lit, arguments.poses, arguments.seed)
            line = (
                f"| {back_lit:g} | {light.n} | {light.found} | {light.asked} | {light.usual} ({light.usual / light.n:.3f}) | "
                f"{light.own} ({light.own / light.n:.3f}) | {light.usual_nll:.2f} | {light.own_nll:.2f} |"
            )
            print(msgspec.json.encode(light).decode() if arguments.json else line, flush=True)
    except SortbinError as error:
        print(f"benchmarks.own_exposure: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
