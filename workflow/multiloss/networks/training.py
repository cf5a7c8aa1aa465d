"""The one training loop of the workflow: segmenters, classifiers and ensemble heads use it.

A plain graph-mode loop rather than `Model.fit`, whose callbacks forget their counters when a
training is taken up again: after an interruption all is exactly where it was (optimiser, schedule,
counters and data order). It also applies the learning-rate decay that Keras 3 ignores.
"""

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from multiloss import backend
from multiloss.backend import keras, tf
from multiloss.job.files import atomic
from multiloss.job.progress import clock
from multiloss.job.seeds import derive
from multiloss.networks import devices, kernels, optimizers

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 64
# Losses are read back from the device after so many steps, since each reading waits for it.
STEPS_BETWEEN_READINGS = 100
# With `xla: auto`, so many steps make up for compiling: on an H100 it takes 42 s and a step of 16
# images saves 42 ms at 224 x 224 and 70 ms at 512 x 512 (docs/benchmarks.md).
COMPILED_FROM = 2000

# Which way each monitored value is better.
LARGER_IS_BETTER = {"val_loss": False, "val_accuracy": True, "val_mcc": True, "val_dice": True}


@dataclass(frozen=True)
class TrainingSet:
    """What is learned from.

    `gather(rows)` returns the raw arrays of one batch, inputs first, targets second and, if
    present, one weight per image third. `prepare(raw, seed)` turns the raw inputs and targets
    into network input and target inside the graph (scaling, augmentation); `seed` is a (2,)
    int32 tensor, different in each step, for stateless random operations.
    """

    rows: np.ndarray
    gather: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    prepare: Callable[[tuple[tf.Tensor, ...], tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


@dataclass
class Progress:
    """All that must survive an interruption besides the arrays of weights."""

    epoch: int = 0
    step: int = 0
    plateau_scale: float = 1.0
    plateau_wait: int = 0
    plateau_best: float = math.nan
    stopping_wait: int = 0
    stopping_best: float = math.nan
    best: float = math.nan
    best_epoch: int = -1
    stopped: bool = False


def configure_tensorflow(
    threads: int,
    resources: Mapping[str, int],
    mixed_precision: bool = False,
    rewrite_graphs: bool = False,
) -> None:
    """Fix thread counts, deterministic kernels, precision and device, and keep freed memory.

    `threads` comes from the config, since the weights a training ends with depend on it. With
    `gpu` among the job's `resources` one GPU of its own is taken where there is one, and its memory
    only as needed; without, none is touched. With several `jobs_per_gpu` a place on one is taken,
    with an equal part of its memory. On a CPU TensorFlow's rewriting of graphs is left out unless
    asked for: it costs seconds in each job, and gains only where the decoder's large convolutions
    are trained for long. Must be called before TensorFlow runs its first operation. Waits while
    other jobs hold all GPUs of this machine.
    """
    backend.keep_freed_memory()
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_op_determinism()
    present = tf.config.list_physical_devices("GPU")
    gpus, jobs_per_gpu = resources.get("gpu", 0), resources.get("jobs_per_gpu", 1)
    used = []
    if present and gpus:
        names = devices.names(len(present), os.environ)
        used = [present[devices.wait(names, places=jobs_per_gpu)]]
        memory = devices.memory_mb() if jobs_per_gpu > 1 else None
        if memory:
            limit = int(memory * devices.SHARED_MEMORY / jobs_per_gpu)
            part = tf.config.LogicalDeviceConfiguration(memory_limit=limit)
            tf.config.set_logical_device_configuration(used[0], [part])
        else:
            tf.config.experimental.set_memory_growth(used[0], True)
    if present:
        tf.config.set_visible_devices(used, "GPU")
    keras.mixed_precision.set_global_policy("mixed_float16" if mixed_precision else "float32")
    if not used and not rewrite_graphs:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    where = used[0].name if used else f"CPU, {threads} thread(s)"
    if used and jobs_per_gpu > 1:
        part = f"at most {limit} MB" if memory else "memory as needed, since nvidia-smi tells none"
        where += f", one of {jobs_per_gpu} jobs on it, {part}"
    if gpus and not present:
        where += f": a GPU was asked for, but TensorFlow finds none:\n{backend.native_lines}"
    if present and not gpus:
        where += ": the config asks for no GPU in `resources`"
    logger.info("computing on %s%s", where, ", mixed precision" if mixed_precision else "")


def learning_rate(options: Mapping[str, Any], step: int, steps: int, plateau: float) -> float:
    """Learning rate of a step: base / (1 + decay * step) * schedule * plateau scale.

    The decay is the time-based one of Keras before version 3 (`SGD(decay=1e-6)` in the
    original study). The cosine schedule falls from 1 to 0 over all `steps`, after a linear
    warm-up of `warmup_fraction` of them. A plateau never goes below its floor.
    """
    rate = options["optimizer"]["learning_rate"] / (1 + options["optimizer"]["decay"] * step)
    warmup = options["warmup_fraction"] * steps
    if step < warmup:
        rate *= (step + 1) / warmup
    elif options["schedule"] == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, steps - warmup)))
    if plateau < 1 and options["reduce_on_plateau"]:
        rate = max(rate * plateau, min(rate, options["reduce_on_plateau"]["min_learning_rate"]))
    return rate


def set_batch_norm_momentum(model: keras.Model, momentum: float) -> None:
    """Let the moving statistics follow the data within a short training.

    EfficientNet's own 0.99 needs hundreds of steps, until which validation looks random.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum


def fingerprint(*parts: Any) -> str:
    """sha256 over JSON values and arrays: a checkpoint is only taken up by the same training.

    A pair (array, rows) stands for those rows of an array that may be too large for memory. The
    versions of TensorFlow and Keras and the number of threads belong to every training: other
    ones would end with other bytes.
    """
    digest = hashlib.sha256()
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    for part in ([tf.__version__, keras.__version__, threads], *parts):
        if isinstance(part, np.ndarray):
            digest.update(np.ascontiguousarray(part).data)
        elif isinstance(part, tuple):
            array, rows = part
            for start in range(0, len(rows), ROWS_AT_ONCE):
                chunk = np.asarray(array[rows[start : start + ROWS_AT_ONCE]])
                digest.update(np.ascontiguousarray(chunk).data)
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    return digest.hexdigest()


class Checkpoint:
    """Weights, optimiser and progress after the last whole epoch, in one `.npz` file.

    It outlives the training: a job that is killed after its last epoch, even when its model is
    written, has nothing to train again. `checkpoints.forget` removes it in the end.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self.identity = identity

    def save(self, groups: Mapping[str, list[np.ndarray]], state: Mapping[str, Any]) -> None:
        """Write arrays and state to a temporary file, then rename: never half a checkpoint."""
        arrays = {f"{name}/{i}": a for name, values in groups.items() for i, a in enumerate(values)}
        record = {"identity": self.identity, **state}
        with atomic(self.path, durable=False) as temporary, open(temporary, "wb") as handle:
            np.savez(handle, record=np.frombuffer(json.dumps(record).encode(), np.uint8), **arrays)

    def load(self) -> tuple[dict[str, list[np.ndarray]], dict[str, Any]] | None:
        """Arrays and state, or None if there is no checkpoint of this very training."""
        if not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                record = json.loads(archive["record"].tobytes())
                if record["identity"] != self.identity:
                    logger.warning("%s is of other data or settings: starting anew", self.path)
                    return None
                record["progress"] = Progress(**record["progress"])
                groups: dict[str, list[np.ndarray]] = {}
                names = [name.split("/") for name in archive.files if "/" in name]
                for group, index in sorted(names, key=lambda name: (name[0], int(name[1]))):
                    groups.setdefault(group, []).append(archive[f"{group}/{index}"])
        except Exception as error:  # a damaged file of any kind means training from the start
            logger.warning("%s cannot be read (%s): starting anew", self.path, error)
            return None
        return groups, record


def epoch_batches(data: TrainingSet, batch_size: int, seed: int, epoch: int) -> Iterator[tuple]:
    """Raw batches of one epoch in an order that depends on (seed, epoch) alone.

    All batches have the same size, as BatchNorm wants it; the images left over in one epoch
    are others than those left over in the next.
    """
    order = np.random.default_rng(derive(seed, "order", epoch)).permutation(data.rows)
    for start in range(0, len(order) - batch_size + 1, batch_size):
        # Sorted rows are read from disk in one sweep; the order inside a batch has no effect
        # on the loss.
        yield data.gather(np.sort(order[start : start + batch_size]))


def ahead(batches: Iterator[tuple]) -> Iterator[tuple[tf.Tensor, ...]]:
    """The batches as tensors, each gathered and brought to the device on another thread while the
    step before it runs."""

    def following() -> tuple[tf.Tensor, ...] | None:
        raw = next(batches, None)
        return None if raw is None else tuple(tf.constant(array) for array in raw)

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(following)
        while (batch := coming.result()) is not None:
            coming = pool.submit(following)
            yield batch


def _improved(value: float, best: float, monitor: str, min_delta: float) -> bool:
    if math.isnan(best):
        return not math.isnan(value)
    return value - best > min_delta if LARGER_IS_BETTER[monitor] else best - value > min_delta


def _update_counters(progress: Progress, value: float, options: Mapping[str, Any]) -> bool:
    """Early stopping and plateau after an epoch; True if this epoch is the best so far."""
    monitor = options["monitor"]
    stopping, plateau = options["early_stopping"], options["reduce_on_plateau"]
    # The weights kept are those of the best epoch, also when it is best by less than counts.
    is_best = _improved(value, progress.best, monitor, 0.0)
    if is_best:
        progress.best, progress.best_epoch = value, progress.epoch
    if stopping:
        if _improved(value, progress.stopping_best, monitor, stopping["min_delta"]):
            progress.stopping_best, progress.stopping_wait = value, 0
        else:
            progress.stopping_wait += 1
            progress.stopped = progress.stopping_wait >= stopping["patience"]
    if plateau:
        if _improved(value, progress.plateau_best, monitor, plateau["min_delta"]):
            progress.plateau_best, progress.plateau_wait = value, 0
        else:
            progress.plateau_wait += 1
            if progress.plateau_wait >= plateau["patience"]:
                progress.plateau_scale *= plateau["factor"]
                progress.plateau_wait = 0
    return is_best


def _compiled(options: Mapping[str, Any], steps: int) -> bool:
    """Whether the steps of a training of so many are compiled by XLA."""
    if options["xla"] == "auto":
        return steps >= COMPILED_FROM and bool(tf.config.get_visible_devices("GPU"))
    return options["xla"]


def fit(
    model: keras.Model,
    loss: keras.losses.Loss,
    data: TrainingSet,
    validate: Callable[[], dict[str, float]],
    options: Mapping[str, Any],
    seed: int,
    checkpoint: Checkpoint,
    name: str,
) -> pd.DataFrame:
    """Train `model` in place; return one row per epoch.

    `options` is a `training` mapping of the config; `validate()` returns the validation values
    of an epoch, among them the monitored one. At the end the model has the weights of the best
    epoch by the monitored value, or with `keep: last` those of the last. `name` names the
    training in messages.

    When the loss or a validation value is no longer finite the training stops: an error names
    it, the last row has an empty loss (`diverged` tells), and the weights are those of the last
    whole epoch kept.
    """
    batch_size = min(options["batch_size"], len(data.rows))
    steps_per_epoch = len(data.rows) // batch_size
    steps = steps_per_epoch * options["epochs"]
    if options["batch_norm_momentum"] is not None:
        set_batch_norm_momentum(model, options["batch_norm_momentum"])
    optimizer = optimizers.make(options["optimizer"])
    if keras.mixed_precision.dtype_policy().name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    variables = model.trainable_variables
    optimizer.build(variables)

    def learn(inputs: tf.Tensor, targets: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
        # Layers are called while the graph is made, and never after it.
        with tf.GradientTape() as tape, kernels.quick(model):
            outputs = model(inputs, training=True)
            value = loss(targets, outputs, sample_weight=weights[0] if weights else None)
            scaled = optimizer.scale_loss(value)
        optimizer.apply(tape.gradient(scaled, variables), variables)
        return value

    if _compiled(options, steps):
        logger.info("%s: steps are compiled by XLA", name)
        learn = tf.function(learn, autograph=False, jit_compile=True)

    # Augmentation stays outside of what XLA compiles, which cannot warp images.
    @tf.function(autograph=False)
    def train_step(raw: tuple[tf.Tensor, ...], step_seed: tf.Tensor) -> tf.Tensor:
        return learn(*data.prepare(raw, step_seed), *raw[2:])

    # The states of dropout's random streams, which `get_weights` leaves out.
    weights = {id(weight) for weight in model.weights}
    streams = [variable for variable in model.variables if id(variable) not in weights]

    progress, history, best_weights = Progress(), [], model.get_weights()
    saved = checkpoint.load()
    if saved:
        groups, record = saved
        model.set_weights(groups["model"])
        for variables_of, values in (
            (optimizer.variables, groups["optimizer"]),
            (streams, groups.get("streams", [])),
        ):
            for variable, value in zip(variables_of, values, strict=True):
                variable.assign(value)
        best_weights = groups.get("best", groups["model"])
        progress, history = record["progress"], record["history"]
        logger.info("%s: continuing after epoch %d", name, progress.epoch)

    start = time.monotonic()
    first_epoch = progress.epoch
    while progress.epoch < options["epochs"] and not progress.stopped:
        augment_seed = derive(seed, "augment", progress.epoch) % 2**31
        losses: list[float] = []
        unread: list[tf.Tensor] = []
        rate = 0.0
        batches = ahead(epoch_batches(data, batch_size, seed, progress.epoch))
        for step, batch in enumerate(batches):
            rate = learning_rate(options, progress.step, steps, progress.plateau_scale)
            optimizer.learning_rate = rate
            unread.append(train_step(batch, tf.constant([augment_seed, step], tf.int32)))
            progress.step += 1
            if len(unread) == STEPS_BETWEEN_READINGS or step + 1 == steps_per_epoch:
                losses += [float(value) for value in unread]
                unread.clear()
                if not all(map(math.isfinite, losses)):
                    break
        failure = next(
            (
                f"the loss became {value} in epoch {progress.epoch + 1}, step {step}"
                for step, value in enumerate(losses, 1)
                if not math.isfinite(value)
            ),
            "",
        )
        row = {"epoch": progress.epoch + 1, "learning_rate": rate}
        if not failure:
            values = {"loss": sum(losses) / steps_per_epoch} | validate()
            # The last step may have spoilt the weights, which no further loss would show.
            for key, value in values.items():
                if not math.isfinite(value):
                    failure = f"{key} became {value} after epoch {progress.epoch + 1}"
        if failure:
            logger.error(
                "Error: %s: %s; this training stops without a result. Lower its learning rate or "
                "change its parameters in the config",
                *(name, failure),
            )
            # The columns of a training that fails at once are those of any other.
            validated = [] if history else validate()
            history.append(row | dict.fromkeys(["loss", *validated], math.nan))
            break
        row |= values
        history.append(row)
        is_best = _update_counters(progress, row[options["monitor"]], options)
        progress.epoch += 1
        groups = {
            "model": model.get_weights(),
            "optimizer": [np.asarray(variable) for variable in optimizer.variables],
            "streams": [np.asarray(variable) for variable in streams],
        }
        if is_best or options["keep"] == "last":
            best_weights = groups["model"]
        else:
            groups["best"] = best_weights
        checkpoint.save(groups, {"progress": vars(progress), "history": history})
        each = (time.monotonic() - start) / (progress.epoch - first_epoch)
        logger.debug("%s: %s", name, ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
        logger.info(
            "epoch %d/%d, %s %.2f, at most %s left",
            progress.epoch,
            options["epochs"],
            options["monitor"].replace("_", " "),
            row[options["monitor"]],
            clock(each * (options["epochs"] - progress.epoch)),
        )
    model.set_weights(best_weights)
    return pd.DataFrame(history)


def untrained() -> pd.DataFrame:
    """The history of a training that could not begin: one row without a loss."""
    row = {"epoch": 1, "learning_rate": math.nan, "loss": math.nan}
    return pd.DataFrame([row | dict.fromkeys(("val_loss", "val_accuracy", "val_mcc"), math.nan)])


def diverged(history: pd.DataFrame) -> bool:
    """Whether a training stopped because its loss was no longer finite, or never began."""
    return bool(history["loss"].isna().iloc[-1])
