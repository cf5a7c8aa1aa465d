"""The exceptions that are shown to a user without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: one line that names the file or key, and the remedy."""


class ImageError(Exception):
    """An image that cannot be used; the text is the reason, without the file's name."""


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """The hint `did you mean 'x'?` where a known name is like the word, else an empty text."""
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else ""
