"""The firmware of a bin that sorts by itself."""

__version__ = "0.1.0"
