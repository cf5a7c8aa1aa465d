"""Where trainings keep what an interrupted one goes on from, and when it goes.

The Snakefile imports this, so it uses the standard library only.
"""

from pathlib import Path

# Of the file beside a model.
ENDING = ".checkpoint.npz"


def forget(folder: Path) -> None:
    """Remove the checkpoints of finished trainings below a folder, after a run that succeeded.

    Earlier would be too early: Snakemake deletes the outputs of a job that was killed after its
    last line but before it was recorded as done. A job writes its model last. A run that was asked
    for something else, one figure say, leaves the checkpoint of an interrupted training, which has
    no model yet.
    """
    for path in folder.rglob(f"*{ENDING}"):
        if path.with_name(path.name.removesuffix(ENDING) + ".keras").exists():
            path.unlink(missing_ok=True)
