"""Twelve unlike places, and kinds of item that training never shows: what the seeing of a bin is measured on. Needs no Blender.

None of the places is drawn by `anywhere`, which makes the training material, and none was set up after a look at how a network does on it.
"""

from collections.abc import Sequence

from device.common.errors import SortbinError
from training.render.appearance.finishes import Finish
from training.render.places import SIDES, Camera, Fitting, Floor, Lamp, Panel, Place
from training.render.sensor import Sensor

SEED = 5_000_011


class PlaceError(SortbinError, ValueError):
    """A place that the bench does not have."""


HELD_OUT: dict[str, tuple[str, ...]] = {
    "cardboard": ("core", "flat-carton"),
    "glass": ("tumbler", "wine-bottle"),
    "metal": ("foil-tray", "food-tin"),
    "paper": ("bag", "envelope"),
    "plastic": ("care-bottle", "deli-tub"),
    "trash": ("mask", "sachet"),
}
"""label -> kinds that only the bench shows"""

WARM, NEUTRAL, COLD = (1.0, 0.78, 0.52), (1.0, 0.96, 0.9), (0.86, 0.95, 1.0)
BLACK = Finish("plain", (20, 20, 22), roughness=0.45, relief=0.1, wear=0.3, seed=1)
ALUMINIUM = Finish("brushed", (176, 178, 180), roughness=0.32, metallic=1.0, relief=0.08, wear=0.4, seed=2)


def _backlit_chamber() -> Place:
    return Place(
        "backlit-chamber",
        (3.4, 3.2, 3.6),
        dict.fromkeys(SIDES, BLACK),
        Floor("plain", Finish("plain", (26, 26, 28), roughness=0.35, relief=0.15, wear=0.5, seed=11)),
        Camera((0.0, -1.5, 0.95), (0.0, 0.4, 0.58), 74.0),
        Sensor(brightness=0.12, white=(0.95, 1.0, 1.12), vignetting=0.3, flare=0.08, blur_px=0.9, noise=1.2e-3, sharpening=0.5, quality=72),
        lamps=(Lamp("area", (0.6, -1.0, 3.3), COLD, 6.0, 0.5, (0.0, 0.3, 0.4)),),
        panels=(Panel("back", (0.0, -0.35), (0.85, 0.62), COLD, 5.0),),
        reach=0.8,
        jitter=0.05,
        seed=101,
    )


def _backlit_open() -> Place:
    closed = _backlit_chamber()
    return Place(
        "backlit-open",
        closed.size,
        {side: finish for side, finish in closed.walls.items() if side != "lid"},
        closed.floor,
        closed.camera,
        Sensor(brightness=0.16, white=(0.98, 1.0, 1.05), vignetting=0.25, flare=0.05, blur_px=0.9, noise=8e-4, sharpening=0.5, quality=72),
        lamps=(Lamp("area", (1.5, -2.0, 9.0), NEUTRAL, 900.0, 3.0, (0.0, 0.0, 0.4)),),
        panels=(Panel("back", (0.0, -0.35), (0.85, 0.62), COLD, 1.6),),
        ambient=(0.5, 0.48, 0.45),
        reach=0.8,
        jitter=0.06,
        seed=102,
    )


def _rails() -> Place:
    return Place(
        "rails",
        (6.0, 5.0, 7.5),
        {"left": ALUMINIUM, "right": ALUMINIUM, "back": Finish("plain", (70, 74, 78), roughness=0.5, wear=0.5, seed=12)},
        Floor("rails", ALUMINIUM, Finish("plain", (48, 50, 54), roughness=0.6, wear=0.7, seed=13), pitch=0.5, radius=0.1, drop=1.4),
        Camera((0.5, -1.9, 5.6), (0.0, 0.0, 0.0), 52.0),
        Sensor(brightness=0.22, vignetting=0.15, blur_px=0.7, noise=5e-4, quality=80),
        lamps=(Lamp("area", (-1.6, 0.5, 7.0), COLD, 90.0, 1.2, (0.0, 0.0, 0.0)), Lamp("bulb", (2.2, -1.5, 6.0), NEUTRAL, 30.0, 0.2)),
        ambient=(0.04, 0.04, 0.045),
        fittings=(
            Fitting((-1.3, 0.0, -0.4), (0.35, 5.0, 0.5), 0.0, ALUMINIUM),
            Fitting((1.5, 0.9, -0.1), (0.5, 0.4, 0.7), 20.0, Finish("plain", (190, 120, 20), roughness=0.4, seed=14)),
        ),
        reach=1.3,
        jitter=0.05,
        seed=103,
    )


def _belt() -> Place:
    steel = Finish("brushed", (150, 152, 154), roughness=0.4, metallic=1.0, wear=0.6, seed=15)
    return Place(
        "belt",
        (4.2, 9.0, 1.0),
        {"left": steel, "right": steel},
        Floor("belt", Finish("plain", (30, 32, 33), roughness=0.7, relief=0.35, wear=0.7, seed=16), pitch=0.9, radius=0.1),
        Camera((0.0, -3.6, 3.9), (0.0, 0.2, 0.1), 50.0),
        Sensor(brightness=0.2, white=(1.05, 1.0, 0.92), vignetting=0.1, blur_px=1.1, noise=4e-4, quality=85),
        lamps=(Lamp("area", (-2.5, 1.0, 5.5), NEUTRAL, 160.0, 0.9, (0.0, 0.0, 0.0)), Lamp("area", (2.5, 2.5, 5.5), NEUTRAL, 110.0, 0.9, (0, 0.5, 0))),
        ambient=(0.12, 0.12, 0.12),
        reach=1.3,
        jitter=0.04,
        shake_deg=0.05,
        seed=104,
    )


def _grid() -> Place:
    zinc = Finish("brushed", (140, 142, 140), roughness=0.42, metallic=1.0, wear=0.5, seed=17)
    dark = Finish("plain", (40, 38, 34), roughness=0.8, relief=0.2, wear=0.9, seed=18)
    return Place(
        "grid",
        (3.8, 3.8, 4.0),
        {"left": dark, "right": dark, "back": dark, "front": dark},
        Floor("grid", zinc, dark, pitch=0.42, radius=0.035, drop=1.8),
        Camera((0.15, -0.3, 3.9), (0.0, 0.05, 0.0), 58.0, 14.0),
        Sensor(brightness=0.16, auto=0.4, vignetting=0.35, flare=0.03, blur_px=0.8, noise=9e-4, sharpening=0.6, quality=70),
        lamps=(Lamp("bulb", (0.45, -0.45, 3.9), COLD, 30.0, 0.05),),
        reach=1.2,
        jitter=0.04,
        seed=105,
    )


def _wooden_box() -> Place:
    wood = Finish("wood", (176, 128, 78), roughness=0.55, relief=0.1, wear=0.3, repeats=6, seed=19)
    return Place(
        "wooden-box",
        (3.6, 3.0, 2.6),
        {"left": wood, "right": wood, "back": wood, "front": wood},
        Floor("plain", Finish("wood", (150, 104, 62), roughness=0.6, relief=0.1, wear=0.5, repeats=8, seed=20)),
        Camera((-0.9, -1.3, 4.0), (0.05, 0.05, 0.2), 52.0, -6.0),
        Sensor(brightness=0.2, white=(1.0, 1.0, 1.1), vignetting=0.15, blur_px=0.6, noise=5e-4, quality=82),
        lamps=(Lamp("bulb", (1.4, 1.6, 6.0), WARM, 140.0, 0.35),),
        ambient=(0.05, 0.045, 0.04),
        reach=1.0,
        jitter=0.06,
        seed=106,
    )


def _white_tray() -> Place:
    white = Finish("plain", (232, 232, 228), roughness=0.35, coat=0.2, wear=0.15, seed=21)
    return Place(
        "white-tray",
        (3.8, 3.2, 0.6),
        {"left": white, "right": white, "back": white, "front": white},
        Floor("plain", white),
        Camera((0.05, -0.2, 4.4), (0.0, 0.0, 0.0), 50.0, 3.0),
        Sensor(brightness=0.5, auto=0.3, vignetting=0.12, blur_px=0.6, noise=2e-4, quality=88),
        lamps=(Lamp("area", (-1.8, 1.2, 5.0), NEUTRAL, 100.0, 1.6, (0.0, 0.0, 0.0)), Lamp("area", (2.2, -1.0, 5.0), NEUTRAL, 70.0, 1.6, (0, 0, 0))),
        ambient=(0.15, 0.15, 0.155),
        reach=1.1,
        jitter=0.04,
        seed=107,
    )


def _steel_bowl() -> Place:
    steel = Finish("brushed", (200, 202, 204), roughness=0.22, metallic=1.0, relief=0.05, wear=0.4, seed=22)
    wall = Finish("plain", (120, 122, 126), roughness=0.5, seed=23)
    return Place(
        "steel-bowl",
        (7.0, 7.0, 5.5),
        {"left": wall, "right": wall, "back": wall},
        Floor("bowl", steel, wall, radius=3.0, drop=0.3),
        Camera((0.7, -2.6, 4.6), (0.0, 0.0, 0.3), 50.0),
        Sensor(brightness=0.24, shoulder=False, vignetting=0.1, flare=0.05, blur_px=0.6, noise=4e-4, sharpening=0.5, quality=80),
        lamps=(Lamp("bulb", (-1.5, -0.5, 5.0), COLD, 60.0, 0.08), Lamp("area", (2.0, 1.5, 5.0), NEUTRAL, 70.0, 0.7, (0.0, 0.0, 0.0))),
        ambient=(0.05, 0.05, 0.05),
        reach=1.2,
        jitter=0.04,
        seed=108,
    )


def _kitchen_table() -> Place:
    oak = Finish("wood", (196, 158, 112), roughness=0.38, coat=0.3, relief=0.05, wear=0.15, repeats=4, seed=24)
    return Place(
        "kitchen-table",
        (12.0, 9.0, 20.0),
        {"back": Finish("tiled", (214, 216, 210), (170, 168, 162), roughness=0.25, repeats=7, seed=25)},
        Floor("plain", oak),
        Camera((0.4, -3.3, 2.5), (0.0, 0.1, 0.25), 56.0, 2.0),
        Sensor(brightness=0.3, auto=0.6, white=(1.04, 1.0, 0.94), vignetting=0.06, blur_px=0.5, noise=2e-4, sharpening=0.6, quality=90),
        lamps=(Lamp("area", (-9.0, 1.5, 6.0), (0.82, 0.92, 1.0), 2600.0, 5.0, (0.0, 0.0, 0.3)),),
        ambient=(0.35, 0.34, 0.32),
        fittings=(
            Fitting((2.6, 3.6, 0.9), (0.9, 0.7, 1.8), 15.0, Finish("plain", (60, 92, 110), roughness=0.3, coat=0.4, seed=26)),
            Fitting((-2.4, 3.9, 0.5), (1.6, 0.6, 1.0), -8.0, Finish("plain", (206, 198, 184), roughness=0.5, seed=27)),
        ),
        reach=1.3,
        jitter=0.07,
        shake_deg=0.1,
        seed=109,
    )


def _concrete_night() -> Place:
    return Place(
        "concrete-night",
        (10.0, 10.0, 6.0),
        {},
        Floor("plain", Finish("concrete", (136, 132, 124), roughness=0.85, relief=0.3, wear=0.8, seed=28)),
        Camera((0.9, -2.4, 4.2), (0.0, 0.1, 0.0), 54.0, -9.0),
        Sensor(brightness=0.08, white=(1.1, 1.0, 0.86), vignetting=0.25, flare=0.02, blur_px=1.2, noise=4e-3, sharpening=0.2, quality=62),
        lamps=(Lamp("spot", (2.6, 1.4, 6.0), WARM, 300.0, 0.12, (0.1, 0.0, 0.0)),),
        ambient=(0.004, 0.005, 0.008),
        reach=1.2,
        jitter=0.08,
        seed=110,
    )


def _green_chute() -> Place:
    green = Finish("plain", (38, 128, 62), roughness=0.35, coat=0.3, wear=0.6, seed=29)
    return Place(
        "green-chute",
        (4.0, 5.0, 4.4),
        {"left": green, "right": green, "back": Finish("perforated", (44, 120, 66), (12, 20, 14), roughness=0.4, repeats=14, seed=30), "lid": green},
        Floor("vee", green, slope_deg=24.0),
        Camera((0.0, -2.6, 3.2), (0.0, 0.2, 0.4), 54.0),
        Sensor(brightness=0.18, white=(1.05, 0.96, 1.05), vignetting=0.2, blur_px=0.8, noise=7e-4, quality=76),
        lamps=(Lamp("area", (0.0, -1.2, 4.2), COLD, 40.0, 0.8, (0.0, 0.2, 0.3)),),
        ambient=(0.02, 0.02, 0.02),
        reach=1.1,
        jitter=0.05,
        seed=111,
    )


def _checked_cloth() -> Place:
    return Place(
        "checked-cloth",
        (9.0, 9.0, 6.0),
        {},
        Floor("plain", Finish("cloth", (226, 222, 214), (178, 36, 40), roughness=0.9, relief=0.2, wear=0.1, repeats=9, seed=31)),
        Camera((-1.7, -2.2, 3.4), (0.0, 0.0, 0.2), 50.0, 7.0),
        Sensor(brightness=0.32, auto=0.5, vignetting=0.1, blur_px=0.6, noise=3e-4, quality=84),
        lamps=(Lamp("area", (5.0, 4.0, 9.0), NEUTRAL, 1500.0, 2.5, (0.0, 0.0, 0.0)),),
        ambient=(0.4, 0.43, 0.5),
        reach=1.2,
        jitter=0.08,
        seed=112,
    )


def places() -> list[Place]:
    """All of them, always the same."""
    return [
        _backlit_chamber(),
        _backlit_open(),
        _rails(),
        _belt(),
        _grid(),
        _wooden_box(),
        _white_tray(),
        _steel_bowl(),
        _kitchen_table(),
        _concrete_night(),
        _green_chute(),
        _checked_cloth(),
    ]


def names_of(asked: Sequence[str]) -> set[str]:
    """The places with these names; all of them where none is asked for. Raises PlaceError for one that there is not."""
    known = [place.name for place in places()]
    for name in asked:
        if name not in known:
            raise PlaceError(f"--place {name}: expected one of {', '.join(known)}")
    return set(asked or known)
