"""What Snakemake hands to a script, for tests that run scripts by themselves."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any


class Named(SimpleNamespace):
    """Files or wildcards: by name, and one after the other, lists among them too."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)

    def __iter__(self) -> Iterator[Any]:
        for value in vars(self).values():
            yield from value if isinstance(value, list) else [value]
