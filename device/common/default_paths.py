"""Default paths of a bin's files."""

from pathlib import Path

DEFAULT_FILE = Path("/etc/sortbin/sortbin.toml")
DEFAULT_STATE = Path("/var/lib/sortbin")
