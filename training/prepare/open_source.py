"""Open the kind of source that a command line names."""

import functools
import urllib.parse
from pathlib import Path

from converter.data.manifest import is_dataset
from training.prepare import archives, cifar100, remote
from training.prepare.archives import Opening, Tar, Zip
from training.prepare.cifar100 import Cifar100
from training.prepare.folder import Folder
from training.prepare.options import PrepareError
from training.prepare.remote import Remote
from training.prepare.source import PictureSource


def open_source(name: str, names_encoding: str | None = None) -> PictureSource:
    """The source of that name: `cifar100`, a URL that fsspec knows, a folder, or a zip or tar, which may also lie at a URL.

    Nothing at a URL is asked for yet. Raises PrepareError when there is nothing of that name, or nothing that pictures can be taken from.
    """
    if name == cifar100.NAME:
        return Cifar100()
    url = urllib.parse.urlsplit(name)
    if url.scheme == "file":
        return _local(Path(urllib.parse.unquote(url.path)), names_encoding)
    if "://" in name:
        return _archive(name, functools.partial(remote.opened, name), names_encoding) or Remote(name)
    return _local(Path(name), names_encoding)


def _local(path: Path, names_encoding: str | None) -> PictureSource:
    if path.is_dir():
        if is_dataset(path):
            raise PrepareError(f"{path}: is a prepared data set itself; name what it was made of")
        return Folder(path.resolve())
    if not path.is_file():
        raise PrepareError(f"{path}: expected a folder with a folder of pictures for each label, a zip or tar of one, a URL, or cifar100")
    archive = _archive(str(path), lambda: path.open("rb"), names_encoding)
    if archive is None:
        raise PrepareError(f"{path}: expected a folder or an archive ({', '.join(archives.SUFFIXES)})")
    return archive


def _archive(name: str, opening: Opening, names_encoding: str | None) -> PictureSource | None:
    lowered = name.lower()
    if lowered.endswith(".zip"):
        return Zip(name, opening, names_encoding)
    for suffix, decompressor in archives.DECOMPRESSORS.items():
        if lowered.endswith(suffix):
            return Tar(name, opening, decompressor)
    return None
