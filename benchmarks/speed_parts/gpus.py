"""The training loop on a GPU.

EfficientNet-B0 as rule `train` sets it up, on images in memory, augmented, with the kernels that
give the same numbers each time; images per second of the second epoch. Beside it Keras' own `fit`
on float images in memory, compiled as it comes and with whatever kernels; the loop on images that
are not moved, and on one batch that lies on the GPU already, which tell whether it waits for the
host; and several trainings on one GPU, together. Runs start at once, and each is timed while the
others wait. Starting up is what the first epoch takes longer than the second, while the others
start, too: graphs are made and compiled.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from network_runs import result, start
from speed import Measurement, gpu

# A file to which each result is added as it comes, one JSON object a line. What it holds is not
# measured again: where time on a GPU is short, a part that was ended is taken up where it was.
KEPT_IN = "MULTILOSS_BENCHMARK_LINES"
# Seconds for which a warm run waits for those that still compile, before it is timed.
PATIENCE = 60.0
STEPS = 40


@dataclass(frozen=True)
class Run:
    """`function` of network_runs with these settings, `jobs` of it at once."""

    function: str
    size: int
    batch: int
    data: str = "moved"
    jobs: int = 1
    xla: bool = False
    mixed_precision: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """What its function takes."""
        own: dict[str, Any] = {"size": self.size, "batch": self.batch, "steps": STEPS}
        if self.function == "gpu_loop":
            own |= {key: getattr(self, key) for key in ("data", "jobs", "xla", "mixed_precision")}
        return own

    @property
    def name(self) -> str:
        """What is measured, in words."""
        words = [f"{self.size} px, batches of {self.batch}"]
        words += ["mixed precision"] * self.mixed_precision + ["XLA"] * self.xla
        what = "the loop" if self.function == "gpu_loop" else "Keras' `fit`, XLA"
        told = {"still": ", no augmentation", "lying": " on a batch that lies on the GPU"}
        what += told.get(self.data, "")
        if self.jobs > 1:
            what = f"{self.jobs} trainings on one GPU, together"
        return f"{', '.join(words)}: {what}"


def loops(**settings: Any) -> list[Run]:
    """The loop at each size, with few and with many images a step."""
    return [Run("gpu_loop", size, batch, **settings) for size in (224, 512) for batch in (16, 64)]


# What starts at once: together they find room on 80 GB.
GROUPS = (
    [
        *loops(),
        *loops(mixed_precision=True)[:3],
        *(Run("gpu_loop", 224, batch, data="still") for batch in (16, 64)),
        *(Run("gpu_loop", 224, batch, data="lying") for batch in (16, 64)),
        Run("gpu_loop", 64, 8),
        *(Run("gpu_loop", 224, batch, xla=True) for batch in (16, 64)),
    ],
    [Run("gpu_loop", 64, 8, jobs=4)],
    [Run("gpu_loop", 64, 8, jobs=2)],
    [
        *loops(mixed_precision=True)[3:],
        *loops(xla=True)[2:],
        Run("gpu_loop", 224, 64, xla=True, mixed_precision=True),
        *(Run("gpu_fit", 224, batch) for batch in (16, 64)),
    ],
    [Run("gpu_loop", 224, 16, jobs=4)],
)


def lacks() -> str | None:
    return None if gpu() else "no GPU is found: nvidia-smi, which comes with its driver, tells none"


def measure() -> list[Measurement]:
    path = Path(os.environ[KEPT_IN]) if KEPT_IN in os.environ else None
    known, failed = kept(path), []
    for group in GROUPS:
        for run, found in timed([run for run in group if run.name not in known]):
            if isinstance(found, Exception):
                failed.append(f"{run.name}: {found}")
                continue
            known[run.name] = found
            if path:
                with open(path, "a", encoding="utf-8") as file:
                    file.write(json.dumps([run.name, found]) + "\n")
    if failed:
        raise RuntimeError("\n".join(failed))
    return told(known)


def kept(path: Path | None) -> dict[str, dict[str, float]]:
    """Results that were measured before, by the names of their runs."""
    text = path.read_text(encoding="utf-8") if path and path.is_file() else ""
    # A line that was being written when the part was ended is none.
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    if path and not text.endswith("\n"):
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return dict(lines)


@dataclass
class _Started:
    run: Run
    folder: Path
    processes: list[subprocess.Popen]
    since: float = field(default=0.0)

    @property
    def warm(self) -> bool:
        return len(list(self.folder.glob("*.warm"))) == len(self.processes)

    @property
    def over(self) -> bool:
        """Whether all have ended, or one failed."""
        states = [process.poll() for process in self.processes]
        return None not in states or any(states)


def timed(runs: Iterable[Run]) -> Iterator[tuple[Run, dict[str, float] | Exception]]:
    """The result of each run, or why it has none. All start at once; one after another is timed,
    when all are warm or one that is has waited long enough."""
    with tempfile.TemporaryDirectory() as name:
        waiting = [_begun(run, Path(name, str(number))) for number, run in enumerate(runs)]
        now: _Started | None = None
        while waiting or now:
            for one in [one for one in waiting if one.over]:
                waiting.remove(one)
                yield one.run, _found(one)
            if now and now.over:
                yield now.run, _found(now)
                now = None
            ready = [one for one in waiting if one.warm]
            for one in ready:
                one.since = one.since or time.monotonic()
            patient = all(time.monotonic() - one.since < PATIENCE for one in ready)
            if not now and ready and (len(ready) == len(waiting) or not patient):
                now = ready[0]
                waiting.remove(now)
                (now.folder / "go").touch()
            time.sleep(0.02)


def _begun(run: Run, folder: Path) -> _Started:
    folder.mkdir()
    settings = run.settings | {"meeting": str(folder)}
    return _Started(run, folder, [start(run.function, **settings) for _ in range(run.jobs)])


def _found(ended: _Started) -> dict[str, float] | Exception:
    for process in ended.processes:
        if any(other.poll() for other in ended.processes):
            process.kill()
    try:
        results = [result(process) for process in ended.processes]
    except RuntimeError as error:
        return error
    return {"images_per_second": together(results), "start_up": max(r["start_up"] for r in results)}


def together(results: list[dict[str, float]]) -> float:
    """Images per second of trainings at once, from the first that began to the last that ended."""
    begin, end = (min(own["begin"] for own in results), max(own["end"] for own in results))
    return sum(own["images"] for own in results) / (end - begin)


def told(known: dict[str, dict[str, float]]) -> list[Measurement]:
    """The numbers of runs, in words: speeds, then how long some of them took to start."""
    runs = [run for group in GROUPS for run in group if run.name in known]
    speeds = [
        Measurement(run.name, known[run.name]["images_per_second"], "images/s") for run in runs
    ]
    starts = [
        Measurement(f"{run.name}: starting up", known[run.name]["start_up"], "s")
        for run in runs
        if (run.size, run.batch, run.data, run.jobs) == (224, 16, "moved", 1)
    ]
    return speeds + starts
