"""Collects the parts and writes them into one archive."""

import gzip
import io
import os
import tarfile
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from device.common.files import replacing
from device.support import checks, hardware_report, health, ledger_summary, log_lines, settings_file, versions
from device.support.secrets import Scrubber
from device.support.supported_bin import SupportedBin

FOLDER = "sortbin-support"
"""the folder in the archive"""
PART_S = 150.0
"""longest wait for a part; more than the limits of the programs that one runs"""
MOST_CHARACTERS = 2_000_000
"""of a part's text the last so many are kept"""

PARTS: Mapping[str, Callable[[SupportedBin], str]] = {
    "settings.json": settings_file.collect,
    "versions.json": versions.collect,
    "health.json": health.collect,
    "hardware.json": hardware_report.collect,
    "ledger.json": ledger_summary.collect,
    "log.txt": log_lines.collect,
    "checks.txt": checks.collect,
}
"""what collects each file of the archive"""


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the archive. text: without secrets; failure: why there is none, in one line, else empty."""

    name: str
    text: str
    failure: str


def collect_parts(bin_: SupportedBin, scrubber: Scrubber, parts: Mapping[str, Callable[[SupportedBin], str]] = PARTS) -> Iterable[Part]:
    """Collect each part in a thread of its own. One that fails or hangs gives its failure, and the next is collected."""
    for name, collect in parts.items():
        text, failure = _try(collect, bin_)
        yield Part(name, scrubber.scrub(text[-MOST_CHARACTERS:]), scrubber.scrub(failure))


def _try(collect: Callable[[SupportedBin], str], bin_: SupportedBin) -> tuple[str, str]:
    done: Future[str] = Future()

    def run() -> None:
        try:
            done.set_result(collect(bin_))
        except BaseException as error:  # of any type: the other parts are wanted all the same
            done.set_exception(error)

    threading.Thread(target=run, name="support", daemon=True).start()
    try:
        return done.result(PART_S), ""
    except TimeoutError:
        return "", f"not done within {PART_S:g} s"
    except BaseException as error:
        return "", " ".join(f"{type(error).__name__}: {error}".split())


def write_archive(file: Path, parts: Iterable[Part]) -> list[Part]:
    """Write the parts as tar.gz that only its owner may read; it replaces an older one. Returns the parts. Raises OSError."""
    written: list[Part] = []
    with replacing(file) as new:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with (
            os.fdopen(descriptor, "wb") as raw,
            gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            for part in parts:
                written.append(part)
                if not part.failure:
                    _add(archive, part.name, part.text)
            _add(archive, "parts.txt", "".join(f"{part.name}: {part.failure or 'collected'}\n" for part in written))
    return written


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode(errors="replace")
    entry = tarfile.TarInfo(f"{FOLDER}/{name}")
    entry.size, entry.mode = len(content), 0o600
    archive.addfile(entry, io.BytesIO(content))
