"""Isolated items of photos, as a bin with an empty reference shows them to its network."""

from converter.data.isolated_view import try_isolate
from converter.data.photos import Photo
from device.vision.inference.ground import Ground
from device.vision.inference.preprocess import Pixels


class IsolatedItems:
    """Shows the item of a photo by itself, as `converter.data.isolated_view.isolated` does, and records which photos could be isolated."""

    def __init__(self, ground: Ground) -> None:
        """ground: what the model is shown around an item."""
        self.isolated: set[Photo] = set()
        self._ground = ground

    def __call__(self, photo: Photo) -> Pixels:
        """H x W x 3 uint8 RGB; the whole photo where its item cannot be isolated. Raises PhotosError."""
        pixels, found = try_isolate(photo, self._ground)
        if found:
            self.isolated.add(photo)
        return pixels
