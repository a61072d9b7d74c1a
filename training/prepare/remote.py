"""A folder at a URL as a source: S3, Google Cloud Storage, or anything else that fsspec reaches."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from training.prepare.name_filter import NameFilter
from training.prepare.options import PrepareError
from training.prepare.source import SourcePicture, require_sane

MARKS = ("ETag", "etag", "md5Hash", "crc32c", "LastModified", "updated", "mtime", "created")
"""what stores call the fields that change with the content"""

for _library in ("fsspec", "s3fs", "gcsfs"):  # they log an error with its traceback, and then raise it
    logging.getLogger(_library).addHandler(logging.NullHandler())

EXTRAS = {"s3": "training", "gs": "gcs", "gcs": "gcs"}
"""what brings the library for a kind of URL"""


class Remote:
    """Pictures in and below a folder at a URL. Credentials and endpoints come from the environment, as the store's own tools have it."""

    folder: Path | None = None
    unwrap = False
    at_once = 16

    def __init__(self, url: str) -> None:
        self._url = url
        self.names = NameFilter()

    def pictures(self) -> Iterator[SourcePicture]:
        """Every picture; its size and what the store says of its content are its tag."""
        with _reached(self._url):
            import fsspec

            # Listings are not kept: each folder is asked for once, and a big store's would fill the memory.
            store, top = fsspec.core.url_to_fs(self._url, use_listings_cache=False, skip_instance_cache=True)
            top = top.rstrip("/")
            for _, _, files in store.walk(top, detail=True, on_error="raise"):
                for _, about in sorted(files.items()):
                    place = about["name"]
                    path = place.removeprefix(top).lstrip("/")
                    size = about.get("size") or 0
                    if path and self.names.takes(path):
                        require_sane(f"{self._url.rstrip('/')}/{path}", size)
                        yield SourcePicture(path, _tag(size, about), _reader(self._url, store, place))


@contextlib.contextmanager
def opened(url: str) -> Iterator[IO[bytes]]:
    """The file at a URL, to read and to seek in. Raises PrepareError."""
    with _reached(url):
        import fsspec

        stream = fsspec.open(url, "rb", skip_instance_cache=True).open()
    with contextlib.closing(stream):
        yield stream


def _tag(size: int, about: dict[str, Any]) -> str:
    mark = next((str(about[name]) for name in MARKS if about.get(name)), "")
    return f"{size} bytes, {mark}"


def _reader(url: str, store: Any, place: str) -> Callable[[], bytes]:
    def read() -> bytes:
        with _reached(f"{url}: {place}"):
            content: bytes = store.cat_file(place)
            return content

    return read


@contextlib.contextmanager
def _reached(url: str) -> Iterator[None]:
    try:
        yield
    except PrepareError:
        raise
    except ImportError as error:
        extra = EXTRAS.get(url.partition("://")[0])
        raise PrepareError(f"{url}: " + (f"needs pip install 'sortbin[{extra}]'" if extra else str(error))) from error
    except FileNotFoundError as error:
        raise PrepareError(f"{url}: nothing there; check the name of the bucket or server, and of the folder") from error
    except Exception as error:
        # Each store has a family of errors of its own, and which stores there are is fsspec's to know.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise PrepareError(f"{url}: cannot be read: {reason}") from error
