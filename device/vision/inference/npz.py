"""Files of named arrays that `numpy.load` reads, and whose bytes depend on the arrays alone."""

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def write_arrays(file: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write the arrays under their names, uncompressed, and to the disk. The same numbers give the same bytes: no time is stored. Raises OSError."""
    with file.open("wb") as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)  # type: ignore[no-untyped-call]
        stream.flush()
        os.fsync(stream.fileno())


def read_arrays(file: Path, names: Sequence[str]) -> list[npt.NDArray[Any]]:
    """The arrays of these names. Raises OSError, and ValueError for a file that is damaged or lacks one of them."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            return [stored[name] for name in names]
    except (KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(str(error).strip("'\"")) from error
