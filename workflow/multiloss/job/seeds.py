"""Every random choice of the workflow derives from the one number in the config."""

import hashlib


def derive(seed: int, *keys: str | int) -> int:
    """A 32-bit seed for one purpose: the first four bytes of sha256("seed/key/key...").

    Different keys give independent streams, and adding a loss or a replicate leaves the
    seeds of all the others as they were.
    """
    text = "/".join(str(part) for part in (seed, *keys))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
