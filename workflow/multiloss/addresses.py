"""Where a data source is: on the network or on this machine."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from multiloss.errors import UserError


def is_remote(url: str) -> bool:
    """Whether the address is fetched over the network."""
    return urlsplit(url).scheme.lower() in ("http", "https")


def local_path(url: str, base: Path) -> Path:
    """The path that a `file://` address or a plain path means; relative ones start at `base`.

    Raises `UserError` for an address of an unknown kind.
    """
    parts = urlsplit(url)
    if parts.scheme.lower() == "file":
        if parts.netloc not in ("", "localhost"):
            raise UserError(f"url {url}: a file address has three slashes, file:///folder/file")
        return Path(unquote(parts.path))
    if "://" in url:
        raise UserError(f"url {url}: use http://, https://, file:// or a path")
    return base / Path(url).expanduser()


def local_file(url: str, base: Path) -> Path | None:
    """The file on this machine that the address means; None for a folder and all else."""
    path = None if is_remote(url) else local_path(url, base)
    return path if path is not None and path.is_file() else None
