"""The error every part of Sortbin shows its user."""

import msgspec


class SortbinError(Exception):
    """Something the user can mend. The message is one line: which file or part, which key, what was expected.

    Each part raises its own subclass, which also inherits the builtin it is a kind of. Commands print the message and exit with status 2.
    """


def explained(error: msgspec.MsgspecError) -> str:
    """What msgspec says of a value, with the key first: `camera.fps: expected int >= 1`."""
    what, _, place = str(error).replace("`", "").partition(" - at $")
    key = place.lstrip(".")
    return f"{key}: {what[0].lower()}{what[1:]}" if key else f"{what[0].lower()}{what[1:]}"
