"""Where a data source is, on the network or on this machine, and what of it may be shown."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlparse

from multiloss.job.errors import UserError

# Where relative paths start. Read from a git host the workflow has no checkout, only some files in
# Snakemake's cache: there it is the folder that a run works in.
_REPOSITORY = Path(__file__).resolve().parents[4]
CHECKOUT = _REPOSITORY if (_REPOSITORY / "profiles").is_dir() else Path.cwd()
# Keys of the configuration whose values may be addresses.
KEYS = ("url", "masks_url", "encoder_weights")
# Parameters of a query that let somebody in for a while: those of signed addresses (Amazon, Google,
# Azure, nginx and others) and what tokens are called elsewhere. All others may say which file is
# meant.
_SECRET = re.compile(
    r"x-[a-z]+-.*|q-.*|auth(?!or).*|.*(token|signature|secret|passw|credential|session|expire).*"
    r"|.*(api|access|account|pair|private|shared)[-_.]?(key|id|code).*"
    r"|(.*[-_.])?(sig|sign|pass|pwd|cred|jwt|policy|exp|md5|hmac|nonce|sas|ticket)"
    r"|e|s[eprtv]|srt|spr|sip|sdd|sk[etsv]|skoid|sktid",
    re.IGNORECASE,
)
# Not a path that somebody has in mind: //host/x, user:password@host/x, host/x?token=y.
_LACKS_SCHEME = re.compile(r"//|[^/]*:[^/]*@|[^/]+/.*\?[^/]*=")


def is_remote(url: str) -> bool:
    """Whether the address is fetched over the network."""
    return re.match(r"\s*https?:", url, re.IGNORECASE) is not None


def public(url: str) -> str:
    """An address without what may be secret: user, password, query and fragment.

    A path is returned as it is. Of an address that `check` refuses, since it cannot be said where
    its password ends, the scheme alone is left.
    """
    if "://" not in url and not is_remote(url):
        return url
    scheme = url.strip().partition(":")[0].lower()
    if _is_unclear(url):
        return f"{scheme}://..."
    parts = urlparse(url.strip())
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def identity(url: str, sha256: str | None = None) -> str:
    """What tells one source from another: its public address, so that a new token changes nothing.

    Where no digest of the content is declared, a short one of those parts of the query that may
    say which file is meant (`?id=7`) is added to it.
    """
    if sha256 or not is_remote(url) or _is_unclear(url):
        return public(url)
    parts = urlparse(url.strip())
    pairs = parse_qsl(f"{parts.params}&{parts.query}".strip("&"), keep_blank_values=True)
    told = urlencode([pair for pair in pairs if not _SECRET.fullmatch(pair[0])])
    if not told:
        return public(url)
    return f"{public(url)}?{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def without_secrets(config: Any, key: str = "") -> Any:
    """A copy of the configuration, or of a part, with its addresses as `public` gives them."""
    if isinstance(config, Mapping):
        return {name: without_secrets(value, name) for name, value in config.items()}
    if isinstance(config, list):
        return [without_secrets(value, key) for value in config]
    return public(config) if key in KEYS and isinstance(config, str) else config


def of_table(url: str) -> str:
    """The url of a source of layout `table`: the folder of a CSV file on this machine."""
    path = None if is_remote(url) else local_path(url)
    is_list = path is not None and path.suffix.lower() == ".csv" and path.is_file()
    return str(path.parent) if is_list else url


def check(url: str) -> None:
    """Raise `UserError` for an address of an unknown or unclear kind, or a path to a device."""
    if is_remote(url):
        if _is_unclear(url):
            raise UserError(
                f"{public(url)}: the address cannot be read: it is http(s)://host/path; write "
                "/ ? # @ of a user name or password, and @ behind them, as %2F %3F %23 %40, or "
                "better keep both in ~/.netrc"
            )
        return
    path = local_path(url)
    if _LACKS_SCHEME.match(url.strip()) and not os.path.exists(path):
        raise UserError(
            "no file or folder has this name, and as an address it lacks https:// or http:// in "
            "front (it is not shown, since it may hold a password)"
        )
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise UserError(f"{path} is a device, pipe or socket: give a file or folder")


def local_path(url: str) -> Path:
    """The path that a `file://` address or a plain path means; relative ones start at `CHECKOUT`.

    Raises `UserError` for an address of an unknown kind.
    """
    if re.match("file:", url, re.IGNORECASE):
        parts = urlparse(url)
        if parts.netloc not in ("", "localhost"):
            raise UserError(f"{public(url)}: a file address has three slashes, file:///folder/file")
        return Path(unquote(parts.path))
    if "://" in url:
        raise UserError(f"{public(url)}: use http://, https://, file:// or a path")
    try:
        return CHECKOUT / Path(url).expanduser()
    except RuntimeError:
        raise UserError(f"{url}: no such home folder is known: write the whole path") from None


def _is_unclear(url: str) -> bool:
    """Whether an address has no host, or a password in it may be cut at the wrong place."""
    address = url.strip()
    try:
        parts = urlparse(address)
        port = parts.port  # an error where it is no number
    except ValueError:
        return True
    behind = address.partition("://")[2].removeprefix(parts.netloc)
    named = parts.username is not None or port is not None
    return not (parts.hostname or parts.scheme == "file") or (named and "@" in behind)
