"""The one exception that is shown to a user without a traceback."""


class UserError(Exception):
    """Something the user can mend: one line that names the file or key, and the remedy."""
