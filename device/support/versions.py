"""The versions of everything that runs: Sortbin, Python, packages, operating system, kernel."""

import importlib.metadata
import json
import os
import platform
import sys
from datetime import UTC, datetime

from device import __version__
from device.support.supported_bin import SupportedBin


def collect(bin_: SupportedBin) -> str:
    """As JSON. packages: all that this Python finds, by name."""
    kernel = os.uname()
    packages = {each.name: each.version for each in importlib.metadata.distributions()}
    told = {
        "sortbin": __version__,
        "bin": bin_.id,
        "collected": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version,
        "libc": " ".join(platform.libc_ver()),
        "packages": dict(sorted(packages.items())),
        "system": _release(),
        "kernel": {"release": kernel.release, "version": kernel.version, "machine": kernel.machine},
    }
    return json.dumps(told, ensure_ascii=False, indent=1)


def _release() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""
