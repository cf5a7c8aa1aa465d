"""Versions of Python and packages that the trainings noted and that this page's job found."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from multiloss.report.results import Results

_TRAININGS = ("segmentation/models/*", "models/*/*", "ensembles/models/*")


@dataclass(frozen=True)
class Package:
    """`trainings`: by version, how many trainings used it; `analysis`: the version here, if any;
    `locked`: the versions of the lock file, one for each Python it is for."""

    name: str
    trainings: Mapping[str, int]
    analysis: str | None
    locked: Sequence[str]

    @property
    def mixed(self) -> bool:
        """Whether not all trainings used the same version."""
        return len(self.trainings) > 1

    @property
    def others(self) -> list[str]:
        """Versions that ran and that the lock file, which has the package, does not pin."""
        ran = {*self.trainings, *([self.analysis] if self.analysis else [])}
        return sorted(ran - set(self.locked)) if self.locked else []


class Software:
    """What ran; `analysis` and `locked`: as for `report.build`."""

    def __init__(
        self, results: Results, analysis: Mapping[str, str], locked: Mapping[str, Sequence[str]]
    ) -> None:
        self._results, self._analysis, self._locked = results, analysis, locked

    @cached_property
    def _noted(self) -> list[Mapping[str, str]]:
        names = [n for part in _TRAININGS for n in self._results.names(f"{part}.versions.json")]
        return [self._results.json(name) for name in names]

    @property
    def trainings(self) -> int:
        """How many trainings noted their versions."""
        return len(self._noted)

    @cached_property
    def packages(self) -> list[Package]:
        """Every package that ran or is pinned, by name; empty if nothing that ran is known."""
        ran: dict[str, Counter[str]] = {}
        for noted in self._noted:
            for package, version in noted.items():
                ran.setdefault(package, Counter())[str(version)] += 1
        if not ran and not self._analysis:
            return []
        names = sorted({*ran, *self._analysis, *self._locked}, key=str.lower)
        return [
            Package(
                name,
                dict(sorted(ran.get(name, Counter()).items())),
                self._analysis.get(name),
                self._locked.get(name, ()),
            )
            for name in names
        ]
