"""What a bin that knows its empty view would show of photos: their items by themselves."""

from converter.data.isolated_view import try_isolate
from converter.data.photos import Photo
from device.vision.inference.ground import Ground
from device.vision.inference.preprocess import Pixels


class IsolatedItems:
    """Shows the item of a photo by itself, as `converter.data.isolated_view.isolated` does, and remembers whose could be told from its ground."""

    def __init__(self, ground: Ground) -> None:
        """ground: the model's."""
        self.told: set[Photo] = set()
        self._ground = ground

    def __call__(self, photo: Photo) -> Pixels:
        """H x W x 3 uint8 RGB; the whole photo where its item cannot be told. Raises PhotosError."""
        pixels, told = try_isolate(photo, self._ground)
        if told:
            self.told.add(photo)
        return pixels
