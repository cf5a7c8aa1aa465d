"""Fetching of data sources: resumed, retried, verified, and never half there.

Own code over requests, since pooch and Snakemake's http storage begin an interrupted file anew
and do not ask whether the server still has the same content (If-Range).
"""

import http.client
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import urllib3

from multiloss.data.sources import addresses
from multiloss.job.errors import UserError
from multiloss.job.files import digest_of, write_text
from multiloss.job.progress import SECONDS_BETWEEN_LINES, clock

logger = logging.getLogger(__name__)
# Its warnings of odd answers show whole addresses.
logging.getLogger("urllib3").setLevel(logging.ERROR)

_CHUNK = 1 << 16
_RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_PAUSE = 120.0
_LOG_IN = "check the url and the user name and password or token (docs/data.md)"
_REDIRECT_FAULTS = {
    requests.TooManyRedirects: "the server leads from one address to the next without end",
    requests.exceptions.InvalidSchema: "the server leads to an address that is not http(s)",
}


@dataclass(frozen=True)
class Fetched:
    """A source that is there: `path` is a file, or a folder (then without a digest)."""

    path: Path
    sha256: str | None
    size: int


class _Interrupted(Exception):
    """The transfer stopped early; the text says how. `pause` is what the server asked for."""

    def __init__(self, reason: object, pause: float | None = None):
        super().__init__(str(reason))
        self.pause = pause


def fetch(
    url: str,
    destination: Path,
    sha256: str | None = None,
    recorded: str | None = None,
    *,
    name: str = "",
    attempts: int = 6,
    back_off: float = 1.0,
    connect_timeout: float = 15.0,
    stall_timeout: float = 60.0,
) -> Fetched:
    """Make the content of `url` available and verified.

    http(s): downloaded to `destination` by way of the same name with the ending `.part`, with
    which a later call goes on (range request, guarded by ETag or date). 5xx answers, lost or
    stalled connections (no byte for `stall_timeout` seconds) and short bodies are tried again
    after 1, 2, 4... times `back_off` seconds, `attempts` times in a row without a new byte.
    file:// and plain paths are used where they are, not copied. A user name and password in the
    address, or in ~/.netrc, are sent; no message and no file shows them, nor the query.

    `sha256` is the digest that the config declares, `recorded` the one seen at the first
    download; the declared one decides where both are given.

    Raises `UserError` if the source does not exist, cannot be reached or has another digest; a
    downloaded file with wrong bytes is removed.
    """
    try:
        addresses.check(url)
    except UserError as error:
        raise UserError(f"source '{name}': {error}") from None
    expected = (sha256 or recorded or "").lower()
    shown = addresses.public(url)
    if addresses.is_remote(url):
        transfer = _Transfer(
            url, destination, name, attempts, back_off, (connect_timeout, stall_timeout)
        )
        path = destination
        digest = transfer.run()
        if expected and digest != expected:
            doubtful = transfer.doubtful
            transfer.clear()
            if doubtful:
                logger.warning("%s: wrong digest of a pieced file, fetched anew in one go", name)
                digest = transfer.run()
                if digest != expected:
                    transfer.clear()
    else:
        path = addresses.local_path(url)
        if not path.exists():
            raise UserError(
                f"source '{name}': {path} does not exist: correct its url (relative paths start "
                "at the folder of the Snakefile)"
            )
        if path.is_dir():
            if sha256:
                raise UserError(
                    f"source '{name}': {path} is a folder, which has no sha256: leave the key "
                    "out, or give an archive as url"
                )
            return Fetched(path, None, 0)
        digest = digest_of(path)
    if sha256 and digest != expected:
        raise UserError(
            f"source '{name}': {shown} has sha256 {digest}, but the config declares {expected}: "
            "get the declared file, or correct `sha256` if this content is meant"
        )
    if recorded and digest != expected:
        raise UserError(
            f"source '{name}': {shown} has changed: its sha256 is {digest}, at the first download "
            f"it was {expected}; if the new content is meant, delete the recorded digest in "
            f"{destination.with_suffix('.sha256')}"
        )
    return Fetched(path, digest, path.stat().st_size)


def refuse_results_inside(name: str, path: Path) -> None:
    """Raise `UserError` where the results would lie in a source's folder, as images of it."""
    if Path.cwd().is_relative_to(path.resolve()):
        raise UserError(
            f"source '{name}': the results would lie inside its folder {path}: "
            "run in another folder (`snakemake --directory`)"
        )


def provenance(
    source: Mapping[str, Any],
    terms: Mapping[str, str],
    parts: Mapping[str, tuple[str, str | None, Fetched]],
) -> dict[str, Any]:
    """The record of a source: what it is, its layout's terms, and what was fetched from where.

    `parts`: address, declared sha256 and what was fetched, by the prefix of their keys, which is
    empty or `masks_`. `verified` is `known` by the declared digest, `recorded` at this first
    download, a `folder` (which has no digest), or `generated` here.
    """
    record = {key: source[key] for key in ("name", "role", "layout")} | dict(terms)
    for prefix, (url, sha256, part) in parts.items():
        verified = "folder" if part.path.is_dir() else "known" if sha256 else "recorded"
        record |= {
            f"{prefix}url": addresses.public(url),
            f"{prefix}sha256": part.sha256,
            f"{prefix}size": part.size,
            f"{prefix}verified": "generated" if source["layout"] == "phantom" else verified,
        }
    return record


def recorded_digest(destination: Path, url: str) -> str | None:
    """The sha256 that was seen when `url` was fetched first; None before that."""
    path = destination.with_suffix(".sha256")
    if not path.exists():
        return None
    digest, _, address = path.read_text(encoding="utf-8").rstrip("\n").partition("  ")
    known = address, addresses.identity(address)  # earlier versions wrote the whole address
    return digest if addresses.identity(url) in known else None


def record_digest(destination: Path, url: str, sha256: str) -> None:
    """Keep the digest beside `destination` (as `sha256sum` writes it), for `recorded_digest`."""
    text = f"{sha256}  {addresses.identity(url)}\n"
    write_text(text, destination.with_suffix(".sha256"))


def forget(destination: Path) -> None:
    """Remove a downloaded file and all that is there of it, but not its recorded digest."""
    for path in (destination, destination.with_suffix(".part"), _notes_path(destination)):
        path.unlink(missing_ok=True)


def _notes_path(destination: Path) -> Path:
    return destination.with_suffix(".part.json")


class _Transfer:
    """The download of one file over http, which knows what of it is already there.

    Beside the `.part` file lies `.part.json` with the source, validators (ETag, date) and
    length of the content that the part was taken from.
    """

    def __init__(
        self,
        url: str,
        destination: Path,
        name: str,
        attempts: int,
        back_off: float,
        timeouts: tuple[float, float],
    ):
        self.url = url
        self.shown = addresses.public(url)
        self.identity = addresses.identity(url)
        self.destination = destination
        self.part = destination.with_suffix(".part")
        self.notes_path = _notes_path(destination)
        self.name = name or self.shown.rsplit("/", 1)[-1]
        self.attempts = attempts
        self.back_off = back_off
        self.timeouts = timeouts
        self.length: int | None = None
        # Joined from several answers, or of unknown length: a wrong digest may then be an
        # accident of the transfer and not the server's content.
        self.doubtful = False
        self._reported = time.monotonic()

    def run(self) -> str:
        """Download, trying again as often as allowed; the sha256 of the whole file."""
        self.destination.parent.mkdir(parents=True, exist_ok=True)
        if self._notes().get("source") != self.identity:
            self.clear()
        if not self.destination.exists():
            self._download()
        return digest_of(self.destination)

    def clear(self) -> None:
        """Forget everything that is there of the file."""
        forget(self.destination)

    def _download(self) -> None:
        failures = 0
        furthest = self._present()
        with requests.Session() as session:
            session.headers["User-Agent"] = "multiloss (research workflow)"
            # The bytes of the file as they are, so that ranges and lengths mean the same.
            session.headers["Accept-Encoding"] = "identity"
            while True:
                try:
                    self._attempt(session)
                    break
                except _Interrupted as problem:
                    present = self._present()
                    failures = 1 if present > furthest else failures + 1
                    furthest = max(furthest, present)
                    if failures >= self.attempts:
                        raise UserError(
                            f"source '{self.name}': {self.shown} cannot be fetched ({problem}), "
                            f"tried {failures} times: check the network and the url and run "
                            f"again, {present / 1e6:.1f} MB are kept"
                        ) from None
                    pause = min(self.back_off * 2 ** (failures - 1), _LONGEST_PAUSE)
                    if problem.pause is not None:
                        pause = min(max(pause, problem.pause), _LONGEST_PAUSE)
                    logger.warning(
                        "%s: %s, %.1f MB so far; next try in %.0f s",
                        self.name,
                        problem,
                        present / 1e6,
                        pause,
                    )
                    time.sleep(pause)
        self.part.replace(self.destination)

    def _attempt(self, session: requests.Session) -> None:
        """One request; returns when the part is whole, raises `_Interrupted` when not."""
        present, notes = self._present(), self._notes()
        headers = {}
        if present:
            headers["Range"] = f"bytes={present}-"
            validator = notes.get("etag") or notes.get("modified")
            if validator:
                headers["If-Range"] = validator
        try:
            with session.get(
                self.url, headers=headers, stream=True, timeout=self.timeouts
            ) as answer:
                self._receive(answer, present, notes)
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
            raise _Interrupted(_plain(error)) from None
        except (requests.RequestException, ValueError) as error:
            # What the error says holds addresses, also those that the server leads to.
            reason = _REDIRECT_FAULTS.get(
                type(error), f"it cannot be asked for ({type(error).__name__})"
            )
            raise UserError(
                f"source '{self.name}': {self.shown}: {reason}: check the url, or download the "
                "file by hand and give its path as url"
            ) from None

    def _receive(self, answer: requests.Response, present: int, notes: Mapping[str, Any]) -> None:
        status = answer.status_code
        if status == 416 and present:
            if _total(answer) == present == (notes.get("length") or present):
                return
            self.part.unlink()
            raise _Interrupted("the server has less of the file than is here: from the start")
        if status in _RETRIED_STATUS:
            raise _Interrupted(f"the server answers {status}", _retry_after(answer))
        if status not in (200, 206):
            phrase = http.client.responses.get(status, "")
            raise UserError(
                f"source '{self.name}': {self.shown} answers {f'{status} {phrase}'.rstrip()}: "
                f"{_LOG_IN if status in (401, 403) else 'check the url'}, or download the file by "
                "hand and give its path as url"
            )
        if status == 206:
            total = _total(answer)
            known = notes.get("length")
            if (
                _start(answer) != present
                or (known and total and total != known)
                or any(
                    notes.get(key, now) != now for key, now in _validators(answer).items() if now
                )
            ):
                self.part.unlink(missing_ok=True)
                raise _Interrupted("the content changed on the server: from the start")
            self.length = total or known
            self.doubtful = True
        else:
            # No range wanted, or the server ignores ranges, or the content is another one now.
            if present:
                logger.info("%s: the server starts from the beginning", self.name)
            present = 0
            length = answer.headers.get("Content-Length", "")
            self.length = int(length) if length.isdigit() else None
            self.doubtful = self.length is None
            self.part.unlink(missing_ok=True)
            notes = {"source": self.identity, "length": self.length, **_validators(answer)}
            write_text(json.dumps(notes, indent=1) + "\n", self.notes_path)
        began = time.monotonic()
        received = present
        with open(self.part, "ab") as sink:
            # Whatever has come, at once: a stall then loses nothing.
            while chunk := answer.raw.read1(_CHUNK, decode_content=False):
                sink.write(chunk)
                received += len(chunk)
                self._report(received, present, began)
        if self.length is not None and received != self.length:
            if received > self.length:
                self.part.unlink()
            raise _Interrupted(f"{received:,} of {self.length:,} bytes arrived")

    def _present(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _notes(self) -> dict[str, Any]:
        try:
            return json.loads(self.notes_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def _report(self, received: int, begun_at: int, began: float) -> None:
        now = time.monotonic()
        if now - self._reported < SECONDS_BETWEEN_LINES:
            return
        self._reported = now
        rate = (received - begun_at) / max(now - began, 1e-9)
        if self.length:
            left = clock((self.length - received) / max(rate, 1.0))
            whole = f" of {self.length / 1e6:.1f}"
        else:
            left, whole = "unknown time", ""
        logger.info(
            "%s: %.1f%s MB, %.2f MB/s, %s left", self.name, received / 1e6, whole, rate / 1e6, left
        )


def _validators(answer: requests.Response) -> dict[str, str]:
    """What tells one version of the content from another, '' where the server does not say."""
    etag = answer.headers.get("ETag", "")
    return {
        # A weak tag promises the same meaning, not the same bytes.
        "etag": "" if etag.startswith("W/") else etag,
        "modified": answer.headers.get("Last-Modified", ""),
    }


def _total(answer: requests.Response) -> int | None:
    """The size of the whole content by `Content-Range: bytes 0-9/100`."""
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _start(answer: requests.Response) -> int | None:
    begin = answer.headers.get("Content-Range", "").removeprefix("bytes").strip().partition("-")[0]
    return int(begin) if begin.isdigit() else None


def _retry_after(answer: requests.Response) -> float | None:
    seconds = answer.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdigit() else None


def _plain(error: Exception) -> str:
    """What happened to the connection, without the innards of the libraries."""
    text = repr(error)
    for sign, reason in (
        ("NameResolution", "the host name is unknown or there is no network"),
        ("ConnectTimeout", "the server does not answer"),
        ("ReadTimeout", "the transfer stalled"),
        ("Read timed out", "the transfer stalled"),
        ("refused", "the connection was refused"),
        ("IncompleteRead", "the connection broke off"),
        ("reset", "the connection was reset"),
        ("SSL", "the certificate or encryption of the server fails"),
    ):
        if sign in text:
            return reason
    return f"connection lost ({type(error).__name__})"
