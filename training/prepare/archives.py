"""Zip and tar archives as sources, on this machine or at a URL. Nothing is unpacked but pictures, one at a time."""

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from training.prepare.name_filter import NameFilter
from training.prepare.options import PrepareError
from training.prepare.source import SourcePicture, require_sane

Opening = Callable[[], contextlib.AbstractContextManager[IO[bytes]]]

UTF8_NAME = 0x800
"""bit of a zip entry's flags"""

DECOMPRESSORS: dict[str, Callable[[Any], Any]] = {
    ".tar": lambda stream: stream,
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tbz2": bz2.open,
    ".tar.xz": lzma.open,
    ".txz": lzma.open,
}
SUFFIXES = (".zip", *DECOMPRESSORS)


class Zip:
    """A zip. opening: opens it anew, to read and to seek in. names_encoding: of names that it does not mark as UTF-8."""

    folder: Path | None = None
    unwrap = True
    at_once = 1

    def __init__(self, name: str, opening: Opening, names_encoding: str | None = None) -> None:
        self._name, self._opening, self._encoding = name, opening, names_encoding
        self.names = NameFilter()

    def pictures(self) -> Iterator[SourcePicture]:
        """Every picture; size and CRC-32 are its tag."""
        with _explained(self._name), self._opening() as stream, zipfile.ZipFile(stream, metadata_encoding=self._encoding) as archive:
            for entry in archive.infolist():
                path = entry.filename.replace("\\", "/")
                if entry.is_dir():
                    self.names.folder(path)
                    continue
                if not (path.isascii() or entry.flag_bits & UTF8_NAME or self._encoding):
                    raise PrepareError(f"{self._name}: does not say how its names are spelt; say it with --names-encoding, for example gbk or cp437")
                if self.names.takes(path):
                    require_sane(f"{self._name}: {path}", entry.file_size)
                    yield SourcePicture(path, f"{entry.file_size} bytes, CRC {entry.CRC:08x}", _reader(f"{self._name}: {path}", archive, entry))


class Tar:
    """A tar, compressed or not, read from front to back. Links in it are passed over."""

    folder: Path | None = None
    unwrap = True
    at_once = 1

    def __init__(self, name: str, opening: Opening, decompressor: Callable[[Any], Any]) -> None:
        self._name, self._opening, self._decompressor = name, opening, decompressor
        self.names = NameFilter()

    def pictures(self) -> Iterator[SourcePicture]:
        """Every picture; size and time of the last change are its tag."""
        with _explained(self._name), self._opening() as stream:
            whole = _Ending(self._decompressor(stream))
            with tarfile.open(fileobj=whole, mode="r|") as archive:
                while (member := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined]  # it would remember every one of them
                    path = member.name.removeprefix("./")
                    if member.isdir():
                        self.names.folder(path)
                    elif member.isreg() and self.names.takes(path):
                        require_sane(f"{self._name}: {path}", member.size)
                        yield SourcePicture(path, f"{member.size} bytes, {int(member.mtime)} s", _extractor(f"{self._name}: {path}", archive, member))
            if not whole.ended:
                raise EOFError("its end is missing")


class _Ending(io.RawIOBase):
    """A stream that knows whether it ended as a tar does, with empty blocks; tarfile takes a cut one for a shorter one."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._last = b""

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._last = (self._last + data)[-tarfile.BLOCKSIZE :]
        return data

    @property
    def ended(self) -> bool:
        """Reads what is left to find out."""
        while self.read(1 << 16):
            pass
        return self._last == bytes(tarfile.BLOCKSIZE)


def _reader(name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        with _explained(name):
            return archive.read(entry)

    return read


def _extractor(name: str, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        with _explained(name):
            content = archive.extractfile(member)
            assert content is not None  # only links have none
            return content.read()

    return read


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise PrepareError(f"{name}: damaged ({error}); get the archive again") from error
    except NotImplementedError as error:
        raise PrepareError(f"{name}: {error}; pack it again as a plain zip") from error
    except RuntimeError as error:
        if "password" not in str(error):
            raise
        raise PrepareError(f"{name}: is encrypted; unpack it first") from error
    except UnicodeDecodeError as error:
        raise PrepareError(f"{name}: its names are not spelt in {error.encoding}; try another --names-encoding") from error
    except OSError as error:
        raise PrepareError(f"{name}: {error.strerror or error}") from error
