"""Where trainings keep what an interrupted one goes on from, and when it goes.

The Snakefile imports this, so it uses the standard library only.
"""

from pathlib import Path

# Of the file beside a model.
ENDING = ".checkpoint.npz"


def forget(folder: Path) -> None:
    """Remove the checkpoints below a folder, once all jobs are known to have finished.

    Earlier would be too early: Snakemake deletes the outputs of a job that was killed after its
    last line but before it was recorded as done.
    """
    for path in folder.rglob(f"*{ENDING}"):
        path.unlink(missing_ok=True)
