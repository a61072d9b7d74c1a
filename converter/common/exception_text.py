"""The text of another library's exception, shortened to one line."""

MOST_CHARACTERS = 90
"""of the shortened text"""


def first_sentence(error: BaseException) -> str:
    """The first sentence of an exception's text, at most MOST_CHARACTERS long. Without text: the name of its class."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    text = text.split(". ")[0].rstrip(".")
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS].rsplit(' ', 1)[0]} ..."
