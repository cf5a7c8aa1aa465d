"""Where a data source is: on the network or on this machine."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from multiloss.errors import UserError

# Where relative paths start.
CHECKOUT = Path(__file__).resolve().parents[2]


def is_remote(url: str) -> bool:
    """Whether the address is fetched over the network."""
    return urlsplit(url).scheme.lower() in ("http", "https")


def local_path(url: str) -> Path:
    """The path that a `file://` address or a plain path means; relative ones start at `CHECKOUT`.

    Raises `UserError` for an address of an unknown kind.
    """
    parts = urlsplit(url)
    if parts.scheme.lower() == "file":
        if parts.netloc not in ("", "localhost"):
            raise UserError(f"{url}: a file address has three slashes, file:///folder/file")
        return Path(unquote(parts.path))
    if "://" in url:
        raise UserError(f"{url}: use http://, https://, file:// or a path")
    try:
        return CHECKOUT / Path(url).expanduser()
    except RuntimeError:
        raise UserError(f"{url}: no such home folder is known: write the whole path") from None
