"""Read and write files of named arrays in NumPy's format whose bytes depend only on the arrays."""

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def write_arrays(file: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write the arrays under their names, uncompressed, and flush to disk. Equal arrays give equal bytes: no time is stored. Raises OSError."""
    with file.open("wb") as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)  # type: ignore[no-untyped-call]
        stream.flush()
        os.fsync(stream.fileno())


def read_arrays(file: Path, names: Sequence[str]) -> list[npt.NDArray[Any]]:
    """Read the arrays of these names. Raises OSError, and ValueError for a damaged file or a missing array."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            return [stored[name] for name in names]
    except (KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(str(error).strip("'\"")) from error
