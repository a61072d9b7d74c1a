"""What is to outlive a power cut."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until what was written to a file, or made and renamed in a folder, is on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
