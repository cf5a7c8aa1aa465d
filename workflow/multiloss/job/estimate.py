"""How much of a run is done and how long the rest takes, weighted by what its jobs cost.

The Snakefile imports this on every start, so it uses the standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Seconds of one job of each rule in the default study on two cores. Only their ratios count: the
# jobs of a run that are done tell how fast the machine is, and then what their own rules cost.
USUAL = {
    "calibration": 13, "crop": 4, "diversity": 1, "download": 10, "ensemble": 4,
    "ensemble_tables": 1, "evaluate": 15, "external": 5, "features": 15, "figure": 2, "gradcam": 9,
    "leakage": 3, "localisation": 3, "lungs": 4, "manifest": 5, "mask": 20, "model_level": 12,
    "models": 1, "optimism": 12, "predict": 1, "prediction_sets": 2, "rank": 1, "replicates": 3,
    "report": 8, "score_segmenters": 1, "seed_ensemble": 1, "segmentation_scores": 5,
    "significance": 3, "splits": 3, "train": 28, "train_segmenter": 28, "usefulness": 5,
    "verdicts": 2,
}  # fmt: skip
UNKNOWN = 5.0
# An estimate is given when so much of the remaining work is known from jobs that were measured.
KNOWN = 0.5


@dataclass
class Estimate:
    """The jobs of a run: `planned` by rule, `earlier` seconds of one job by rule where known."""

    planned: Mapping[str, int]
    earlier: Mapping[str, float] = field(default_factory=dict)
    _begun: dict[int, tuple[str, float]] = field(default_factory=dict)
    _done: dict[str, list[float]] = field(default_factory=dict)
    _first: float | None = None

    def started(self, job: int, rule: str, now: float) -> None:
        """A job begins; a job that is tried again begins anew. `now` in seconds of any clock."""
        self._first = now if self._first is None else self._first
        self._begun[job] = (rule, now)

    def finished(self, job: int, now: float) -> None:
        """A job is done; one that never began here counts for nothing."""
        if job in self._begun:
            rule, begun = self._begun.pop(job)
            self._done.setdefault(rule, []).append(now - begun)

    @property
    def jobs(self) -> tuple[int, int]:
        """How many are done, of how many."""
        return sum(map(len, self._done.values())), sum(self.planned.values())

    def share(self, now: float) -> float:
        """The part of the run's work that is done, from 0 to 1."""
        done = sum(sum(seconds) for seconds in self._done.values())
        left = self._work_left(now)
        return done / (done + left) if done + left else 1.0

    def left(self, now: float) -> float | None:
        """Seconds until the last job is done; None while too little is known.

        The work left, over as many jobs as ran side by side so far.
        """
        if self._first is None:
            return None
        work = self._work_left(now)
        known = self._work_left(now, measured=True)
        if known < KNOWN * work:
            return None
        running = sum(now - begun for _, begun in self._begun.values())
        busy = sum(sum(seconds) for seconds in self._done.values()) + running
        beside = max(1.0, busy / (now - self._first)) if now > self._first else 1.0
        return work / beside

    def _cost(self, rule: str) -> float:
        """Seconds of one job: as measured in this run, in an earlier one, or as usual."""
        if rule in self._done:
            return sum(self._done[rule]) / len(self._done[rule])
        return self.earlier.get(rule) or self._pace * USUAL.get(rule, UNKNOWN)

    @property
    def _pace(self) -> float:
        """How many times as long as usual the jobs of this run took."""
        usual = sum(len(done) * USUAL.get(rule, UNKNOWN) for rule, done in self._done.items())
        return sum(sum(done) for done in self._done.values()) / usual if usual else 1.0

    def _work_left(self, now: float, measured: bool = False) -> float:
        """Seconds of all jobs that are not done; only of rules that were `measured` if so asked."""
        running: dict[str, list[float]] = {}
        for rule, begun in self._begun.values():
            running.setdefault(rule, []).append(now - begun)
        work = 0.0
        for rule, count in self.planned.items():
            if measured and rule not in self._done and rule not in self.earlier:
                continue
            cost, begun = self._cost(rule), running.get(rule, [])
            waiting = max(0, count - len(self._done.get(rule, [])) - len(begun))
            work += waiting * cost + sum(max(0.0, cost - seconds) for seconds in begun)
        return work
