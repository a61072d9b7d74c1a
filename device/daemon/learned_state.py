"""Saves what the bin learns while it runs (empty tray, label mix, usual inputs) to files, and restores it at the next start."""

import logging
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from device.common.files import replacing_durably
from device.sorting.empty_reference import EmptyReference

log = logging.getLogger("sortbin")

VIEW_FILE, VIEWS_FILE = "empty-view.npy", "empty-views.npy"
SAVE_EVERY_S = 600.0


class LearnedState(Protocol):
    """Something learned that can be stored as one array."""

    @property
    def learned(self) -> bool:
        """Whether anything was learned yet."""

    def export(self) -> npt.NDArray[Any] | None:
        """The array to store; finite numbers."""

    def restore(self, stored: npt.NDArray[Any], /) -> None:
        """Take over what `export` gave. Raises ValueError for an array that does not fit."""


class LearnedStateFile:
    """One learned state and its `.npy` file. A file that cannot be read or written is logged, and the state is learned again."""

    def __init__(self, file: Path, state: LearnedState) -> None:
        self._file, self._state = file, state
        self._due_s: float | None = None
        self._writer: threading.Thread | None = None

    def restore(self) -> None:
        """Restore what an earlier run stored, where the file is there and sound."""
        try:
            stored = np.load(self._file)
            if not np.isfinite(stored).all():
                raise ValueError("expected finite numbers")
            self._state.restore(stored)
        except FileNotFoundError:
            return
        except Exception as error:  # a damaged header raises many types in NumPy's reader
            log.warning("%s: cannot be used, it will be learned again: %s", self._file, error)

    def update(self, now_s: float) -> None:
        """Save once the state is learned and then every SAVE_EVERY_S seconds, on a thread of its own. now_s: monotonic seconds."""
        if not self._state.learned or (self._due_s is not None and now_s < self._due_s):
            return
        self._due_s = now_s + SAVE_EVERY_S
        if self._writer is None or not self._writer.is_alive():
            self._writer = threading.Thread(target=self._write, args=(self._state.export(),), name="view", daemon=True)
            self._writer.start()

    def close(self) -> None:
        """Save a last time. Waits for the disk."""
        if self._state.learned:
            self._write(self._state.export())

    def _write(self, exported: npt.NDArray[Any] | None) -> None:
        try:
            with replacing_durably(self._file) as new, new.open("wb") as file:
                np.save(file, np.asarray(exported))
        except OSError as error:
            log.warning("%s: %s; it will be learned again at the next start", self._file, error.strerror)


def empty_reference_files(folder: Path, reference: EmptyReference) -> tuple[LearnedStateFile, LearnedStateFile]:
    """The two files of what the empty tray looks like.

    After a crash they are trusted: an item may lie on the tray, and must not be learned as part of it. After a clean stop the tray is learned again,
    since somebody may have cleaned it or moved the camera or the lamp. The files then only tell an empty tray from one with an item on it.
    """
    return LearnedStateFile(folder / VIEW_FILE, reference.detector), LearnedStateFile(folder / VIEWS_FILE, reference.background)
