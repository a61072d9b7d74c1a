"""CIFAR-100 as a source: 50,000 pictures for training and 10,000 for the test, 32 x 32, in 100 classes, downloaded by Keras.

Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from converter.common.silence import silenced
from training.prepare.name_filter import NameFilter
from training.prepare.options import PrepareError
from training.prepare.source import SourcePicture

NAME = "cifar100"

FINE_LABELS = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle caterpillar cattle chair
chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail
snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""
"""in the order of their numbers, which is all that Keras knows of them"""

LABELS = tuple(FINE_LABELS.split())


class Cifar100:
    """Each picture as a PNG, `train/apple/00031.png`: the layout of a folder for each split."""

    folder: Path | None = None
    unwrap = False
    at_once = 1

    def __init__(self) -> None:
        self.names = NameFilter()

    def pictures(self) -> Iterator[SourcePicture]:
        """Every picture; they never change. Raises PrepareError when they cannot be downloaded."""
        for split, (pictures, numbers) in zip(("train", "test"), _load(), strict=True):
            for index, (pixels, number) in enumerate(zip(pictures, np.ravel(numbers).tolist(), strict=True)):
                path = f"{split}/{LABELS[number]}/{index:05}.png"
                if self.names.takes(path):
                    yield SourcePicture(path, NAME, _encoder(pixels))


def _load() -> Any:
    try:
        from keras.datasets import cifar100

        with silenced():  # the bar of its download would stand in our line
            return cifar100.load_data(label_mode="fine")
    except ImportError as error:
        raise PrepareError(f"{NAME}: needs Keras: pip install 'sortbin[training]'") from error
    except Exception as error:
        # Keras raises a bare Exception when a download fails.
        raise PrepareError(f"{NAME}: Keras cannot download it: {str(error).strip().partition(chr(10))[0]}") from error


def _encoder(pixels: Any) -> Callable[[], bytes]:
    def read() -> bytes:
        return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()

    return read
