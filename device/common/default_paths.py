"""Where a bin's files are unless something else is said."""

from pathlib import Path

DEFAULT_FILE = Path("/etc/sortbin/sortbin.toml")
DEFAULT_STATE = Path("/var/lib/sortbin")
