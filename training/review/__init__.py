"""A person's word on the frames a bin was unsure of: shown in the browser, decided by a key, kept as a folder of pictures per label."""

from training.review.review import Review, ReviewError
from training.review.server import ReviewServer

__all__ = ["Review", "ReviewError", "ReviewServer"]
