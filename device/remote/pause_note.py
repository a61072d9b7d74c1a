"""A file in the state folder that says that the bin is paused, so that a power cut or a crash does not end a pause."""

from pathlib import Path

from device.common.files import replacing_durably

FILE = "paused"


class PauseNote:
    """The file. Its methods wait for the disk and raise OSError."""

    def __init__(self, state: Path) -> None:
        self._file = state / FILE

    @property
    def is_there(self) -> bool:
        """Whether the bin was paused when it ended."""
        return self._file.exists()

    def write(self) -> None:
        """Store that the bin is paused, over a power cut too."""
        with replacing_durably(self._file) as new:
            new.write_text("paused by a command; `resume` ends it, and so does deleting this file while sortbin is stopped\n", encoding="utf-8")

    def delete(self) -> None:
        """Store that it is not."""
        self._file.unlink(missing_ok=True)
