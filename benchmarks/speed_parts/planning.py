"""How long Snakemake takes to find out what is to do where every output is there: nothing.

The outputs are empty files that `snakemake --touch` records as made. Medians of three.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from speed import ROOT, Measurement, at_most

REPEATS = 3
LOSSES = [
    "cce",
    "cce_entropy",
    "kl_divergence",
    "focal",
    "hinge",
    "label_smoothed_cce",
    "label_smoothed_focal",
    "calibrated_cce",
    "calibrated_kl_divergence",
    "calibrated_focal",
    "calibrated_hinge",
    "calibrated_negative_entropy",
]
NOTHING = "Nothing to be done"


def measure() -> list[Measurement]:
    """CPU of calls that find nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        usual = _Planned(Path(folder), 12, 10)
        wide = _Planned(Path(folder), 60, 5)
        return [
            at_most(
                "12 losses x 10 replicates, --dry-run", usual.seconds("--dry-run"), "s of CPU", 4
            ),
            at_most(
                "12 losses x 10 replicates, a run", usual.seconds("--cores", "2"), "s of CPU", 4
            ),
            at_most(
                "60 variants x 5 replicates, --dry-run", wide.seconds("--dry-run"), "s of CPU", 8
            ),
        ]


class _Planned:
    """A study all of whose outputs are there, as empty files."""

    def __init__(self, folder: Path, variants: int, replicates: int) -> None:
        self.folder = folder / f"{variants}x{replicates}"
        self.folder.mkdir()
        self.config = self.folder / "study.yaml"
        entries = [
            {"name": LOSSES[k % len(LOSSES)]} | ({"as": f"variant{k}"} if k >= len(LOSSES) else {})
            for k in range(variants)
        ]
        study = {"replicates": replicates, "classification": {"losses": entries}}
        self.config.write_text(yaml.safe_dump(study), encoding="utf-8")
        for line in self.snakemake("--summary").stdout.splitlines():
            cells = line.split("\t")
            if not cells[0].startswith("results/"):
                continue
            path = self.folder / cells[0]
            # What has no ending is a folder; that of features is temporary and gone by then.
            if path.suffix:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            elif path.name != "features":
                path.mkdir(parents=True, exist_ok=True)
        self.snakemake("--touch", "--cores", "1000", "--resources", "gpu=1000")

    def snakemake(self, *options: str) -> subprocess.CompletedProcess:
        command = [Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile"]
        command += ["--directory", self.folder, "--configfile", self.config, *options]
        return subprocess.run(command, capture_output=True, text=True, check=True)

    def seconds(self, *options: str) -> float:
        """CPU of a call that finds nothing to do."""
        found = []
        for _ in range(REPEATS):
            before = os.times()
            done = self.snakemake(*options)
            after = os.times()
            if NOTHING not in done.stdout + done.stderr:
                raise RuntimeError(f"there was something to do: {done.stderr[-2000:]}")
            found.append(
                after.children_user
                + after.children_system
                - before.children_user
                - before.children_system
            )
        return statistics.median(found)
