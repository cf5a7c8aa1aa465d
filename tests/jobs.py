"""What Snakemake hands to a script, for tests that run scripts by themselves."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any


class Named(SimpleNamespace):
    """Files or wildcards: by name, and one after the other."""

    def __iter__(self) -> Iterator[Any]:
        return iter(vars(self).values())
