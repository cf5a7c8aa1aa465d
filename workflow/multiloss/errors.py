"""The exceptions that are shown to a user without a traceback."""


class UserError(Exception):
    """Something the user can mend: one line that names the file or key, and the remedy."""


class ImageError(Exception):
    """An image that cannot be used; the text is the reason, without the file's name."""
