"""What a bin that knows its empty view would show of photos: their items by themselves."""

from converter.isolated import item_mask
from converter.photos import Photo, read_pixels
from device.vision.ground import Ground
from device.vision.isolate import paint
from device.vision.preprocess import Pixels


class Items:
    """Shows the item of a photo by itself, as `converter.isolated.isolated` does, and remembers whose could be told from its ground."""

    def __init__(self, ground: Ground) -> None:
        """ground: the model's."""
        self.told: set[Photo] = set()
        self._ground = ground

    def __call__(self, photo: Photo) -> Pixels:
        """H x W x 3 uint8 RGB; the whole photo where its item cannot be told. Raises PhotosError."""
        pixels = read_pixels(photo.path)
        mask = item_mask(photo, pixels)
        if mask is None:
            return pixels
        self.told.add(photo)
        return paint(pixels, mask, self._ground)
