"""SIGKILL in the middle of a training, of a checkpoint, of a model file, of a table, and after.

Each case runs in a process of its own that ends itself at the chosen moment; the next run
must end with the bytes of an undisturbed one, train no finished epoch again, and leave
nothing lying about.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from multiloss.networks import checkpoints

TRAINING = """
import os, signal, sys
from io import BytesIO
from pathlib import Path

import keras
import numpy as np
from multiloss.networks import checkpoints, prediction, training
from multiloss.job.files import sweep, write_csv

folder, moment = Path(sys.argv[1]), sys.argv[2]
training.configure_tensorflow(1, {})
keras.utils.set_random_seed(3)
rng = np.random.default_rng(0)
x = rng.normal(size=(12, 3)).astype(np.float32)
y = np.eye(2, dtype=np.float32)[(x[:, 0] > 0).astype(int)]
calls = {"gather": 0, "savez": 0, "validate": 0}

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def gather(rows):
    calls["gather"] += 1
    if moment == "epoch" and calls["gather"] == 9:  # one of the third epoch's batches
        die()
    return x[rows], y[rows]

savez = np.savez

def broken_savez(handle, **arrays):
    calls["savez"] += 1
    whole = BytesIO()
    savez(whole, **arrays)
    if moment == "checkpoint" and calls["savez"] == 3:
        handle.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        handle.flush()
        die()
    handle.write(whole.getvalue())

np.savez = broken_savez
inputs = keras.Input((3,))
hidden = keras.layers.Dropout(0.3)(keras.layers.Dense(4, activation="relu")(inputs))
model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(hidden))
loss = keras.losses.CategoricalCrossentropy()

def validate():
    calls["validate"] += 1
    return {"val_loss": float(loss(y, model(x, training=False)))}

options = {
    "epochs": 5, "batch_size": 4, "schedule": "cosine", "warmup_fraction": 0.1,
    "optimizer": {"name": "adam", "learning_rate": 0.01, "decay": 0.0},
    "reduce_on_plateau": None, "early_stopping": None, "monitor": "val_loss", "keep": "last",
    "batch_norm_momentum": None, "mixed_precision": False, "xla": False,
}
checkpoint = training.Checkpoint(folder / f"0{checkpoints.ENDING}", "identity")
data = training.TrainingSet(np.arange(12), gather, lambda raw, seed: (raw[0], raw[1]))
history = training.fit(model, loss, data, validate, options, 1, checkpoint, "test")
if moment == "model":
    def half(path):
        Path(path).write_bytes(b"PK half a model")
        die()
    model.save = half
prediction.save_model(model, folder / "0.keras")
write_csv(history, folder / "0.history.csv")
sweep([folder / "0.keras"])
if moment == "end":
    die()
savez(folder / "weights.npz", *model.get_weights())
print(calls["validate"])
"""

TABLE = """
import os, signal, sys
import pandas as pd
from multiloss.job.files import write_csv

def half(self, path, **options):
    with open(path, "w") as file:
        file.write("image_id,p_nor")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

pd.DataFrame.to_csv = half
write_csv(pd.DataFrame({"image_id": ["a"], "p_normal": [1.0]}), sys.argv[1])
"""


def run(root: Path, code: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=root / "workflow", capture_output=True, text=True)


@pytest.fixture(scope="module")
def straight(root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    done = run(root, TRAINING, folder, "never")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "5\n"
    return folder


@pytest.mark.parametrize(
    ("moment", "epochs_left"), [("epoch", 3), ("checkpoint", 3), ("model", 0), ("end", 0)]
)
def test_training_killed_and_taken_up(root, straight, tmp_path, moment, epochs_left):
    killed = run(root, TRAINING, tmp_path, moment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    # Snakemake removes the outputs of a job that it did not see finish.
    for output in ("0.keras", "0.history.csv"):
        assert (tmp_path / output).exists() == (moment == "end")
        (tmp_path / output).unlink(missing_ok=True)
    again = run(root, TRAINING, tmp_path, "never")
    assert again.returncode == 0, again.stderr
    assert again.stdout == f"{epochs_left}\n"  # no finished epoch is trained again
    for name in ("weights.npz", "0.history.csv"):
        assert (tmp_path / name).read_bytes() == (straight / name).read_bytes()
    checkpoints.forget(tmp_path.parent)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0.history.csv", "0.keras", "weights.npz",
    ]  # fmt: skip


def test_only_checkpoints_of_finished_trainings_are_forgotten(tmp_path):
    for name in ("cce/0.checkpoint.npz", "cce/0.keras", "focal/0.checkpoint.npz", "focal/1.keras"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    checkpoints.forget(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == [
        "cce/0.keras", "focal/0.checkpoint.npz", "focal/1.keras",
    ]  # fmt: skip


def test_table_killed_in_the_middle_keeps_the_older_one(root, tmp_path):
    path = tmp_path / "cce-r0.csv"
    path.write_text("older\n")
    killed = run(root, TABLE, path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert path.read_text() == "older\n"
