"""Progress of long work, readable both in a terminal and in a log file.

The bar of tqdm is redrawn in place, which fills a log file with one long line.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
logger = logging.getLogger(__name__)

# A line every few seconds tells as much as a moving bar, and a log file keeps it.
SECONDS_BETWEEN_LINES = 10.0


def clock(seconds: float) -> str:
    """Seconds as 'm:ss', or 'h:mm:ss' from an hour on."""
    minutes, rest = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def progress(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    """Yield the items, logging 'description: 30/120, 0:14 left' at most every ten seconds."""
    start = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - last >= SECONDS_BETWEEN_LINES:
            left = (now - start) / done * (total - done)
            logger.info("%s: %d/%d, %s left", description, done, total, clock(left))
            last = now
        yield item
    logger.info("%s: %d done in %s", description, total, clock(time.monotonic() - start))
