"""Saves what the bin learns of its tray and its place to files, and restores it at the next start."""

import logging
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from device.common.files import replacing_durably

log = logging.getLogger("sortbin")

VIEW_FILE, VIEWS_FILE = "empty-view.npy", "empty-views.npy"
KEEP_VIEW_S = 600.0
"""how often the learned empty views are written to disk"""


class LearnedState(Protocol):
    """What was learned of the empty tray, or of the site, as an array that can be kept."""

    @property
    def known(self) -> bool: ...
    def export(self) -> npt.NDArray[Any] | None: ...
    def restore(self, stored: npt.NDArray[Any], /) -> None: ...


class LearnedStateFile:
    """Keeps what was learned on disk: of the site for good; of the empty tray so that a restart amid an item knows what lies on the tray for an item.

    After a clean stop the tray is learned anew, for somebody may have cleaned it, or moved the camera or the lamp; what is kept then tells a tray
    that is empty from one that was learned with something on it.
    """

    def __init__(self, file: Path, view: LearnedState) -> None:
        self._file, self._view = file, view
        self._due_s: float | None = None
        self._writing: threading.Thread | None = None

    def restore(self) -> None:
        """Take the view that an earlier start has kept, where there is a sound one."""
        try:
            stored = np.load(self._file)
            if not np.isfinite(stored).all():
                raise ValueError("expected finite numbers")
            self._view.restore(stored)
        except FileNotFoundError:
            return
        except Exception as error:  # NumPy's reader lets through whatever its parsers meet in a damaged header
            log.warning("%s: cannot be used, it will be learned anew: %s", self._file, error)

    def update(self, now_s: float) -> None:
        """Write the view when it was just learned and every KEEP_VIEW_S seconds, on a thread of its own."""
        if not self._view.known or (self._due_s is not None and now_s < self._due_s):
            return
        self._due_s = now_s + KEEP_VIEW_S
        if self._writing is None or not self._writing.is_alive():
            self._writing = threading.Thread(target=self._write, args=(self._view.export(),), name="view", daemon=True)
            self._writing.start()

    def close(self) -> None:
        """Write the view a last time."""
        if self._view.known:
            self._write(self._view.export())

    def _write(self, view: npt.NDArray[Any] | None) -> None:
        try:
            with replacing_durably(self._file) as new, new.open("wb") as file:
                np.save(file, np.asarray(view))
        except OSError as error:
            log.warning("%s: %s; it will be learned anew at the next start", self._file, error.strerror)
