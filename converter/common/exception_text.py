"""What another library's exception says, cut to a line."""

MOST_CHARACTERS = 90
"""of what another library said"""


def first_sentence(error: BaseException) -> str:
    """The first sentence of what an exception says, cut to a few words."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    said = said.split(". ")[0].rstrip(".")
    return said if len(said) <= MOST_CHARACTERS else f"{said[:MOST_CHARACTERS].rsplit(' ', 1)[0]} ..."
