#!/usr/bin/env python3
"""One timed run of a network, in a process of its own: `network_runs.py NAME '{"size": 96, ...}'`.

Prints one JSON object. What is compared runs in processes of its own, one after the other in turn,
on one thread each, so that neither side has the settings or the warm memory of the other. Runs with
`gpu` in their names take a GPU as jobs of the workflow do, and leave threads to TensorFlow.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

CLASSES = 3
BACKBONE = "efficientnetb0"
SEED = 7
GPU_THREADS = 4
STILL = dict.fromkeys(
    ("rotation_degrees", "shift", "shear", "zoom", "horizontal_flip", "contrast", "brightness",
     "gamma"), 0,
)  # fmt: skip
MOVED = STILL | {
    "rotation_degrees": 10, "shift": 0.05, "shear": 0.05, "zoom": 0.1,
    "contrast": 0.2, "brightness": 0.1, "gamma": 0.2,
}  # fmt: skip
OPTIONS = {
    "batch_norm_momentum": None, "schedule": "constant", "warmup_fraction": 0.0,
    "reduce_on_plateau": None, "early_stopping": None, "monitor": "val_loss", "keep": "last",
    "mixed_precision": False, "xla": False,
    "optimizer": {"name": "adam", "learning_rate": 0.001, "decay": 0.0},
}  # fmt: skip


def run(name: str, **settings: Any) -> dict[str, Any]:
    """The result of a run of that name in a process of its own."""
    return result(start(name, **settings))


def start(name: str, **settings: Any) -> subprocess.Popen:
    """A run of that name, started in a process of its own; see `result`."""
    # Messages of TensorFlow fill the pipe of a process that nobody reads yet.
    own = {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    if "meeting" in settings:
        own["TMPDIR"] = settings["meeting"]  # the lock of a GPU: one run waits for no other's
    return subprocess.Popen(
        [sys.executable, __file__, name, json.dumps(settings)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | own,
    )  # fmt: skip


def result(started: subprocess.Popen) -> dict[str, Any]:
    """The result of a started run, once it has ended. Raises RuntimeError where it failed."""
    out, error = started.communicate()
    if started.returncode:
        raise RuntimeError(f"{' '.join(started.args[2:])}: {error[-2000:]}")
    return json.loads(out.splitlines()[-1])


def _one_thread() -> None:
    from multiloss.backend import tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _gpu() -> Any:
    """The first GPU that TensorFlow finds. Raises RuntimeError, with what it says, without one."""
    from multiloss import backend

    present = backend.tf.config.list_physical_devices("GPU")
    if not present:
        raise RuntimeError(f"TensorFlow finds no GPU:\n{backend.native_lines}")
    return present[0]


def _classifier(size: int) -> Any:
    from multiloss.networks import backbones, classifier

    encoder = backbones.encoder(BACKBONE, size, None)
    return classifier.build_classifier(encoder, BACKBONE, CLASSES, size, SEED)


def _made_up(count: int, size: int) -> tuple[Any, Any]:
    """uint8 images (count, size, size) and labels (count,)."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    images = rng.integers(0, 256, (count, size, size), dtype=np.uint8)
    return images, rng.integers(0, CLASSES, count)


def _masks(images: Any) -> Any:
    import numpy as np

    masks = np.zeros_like(images)
    quarter = images.shape[1] // 4
    masks[:, quarter:-quarter, quarter:-quarter] = 1
    return masks


def _unet(size: int) -> Any:
    from multiloss.networks import backbones

    return backbones.unet(BACKBONE, size, None, (256, 128, 64, 32, 16))


def bare_fit(size: int, batch: int, steps: int) -> dict[str, float]:
    """Keras' own `fit` of the classifier on float arrays in memory, after one epoch to warm up."""
    import numpy as np
    from multiloss.backend import keras
    from multiloss.networks import classifier

    _one_thread()
    keras.utils.set_random_seed(SEED)
    images, labels = _made_up(batch * steps, size)
    model = _classifier(size)
    loss = classifier.training_loss({"name": "cce"}, labels, CLASSES)
    x = np.repeat(images[..., None].astype(np.float32) / 255, 3, axis=-1)
    return _timed_fit(model, loss, x, np.eye(CLASSES, dtype=np.float32)[labels], batch)


def bare_fit_segmenter(size: int, batch: int, steps: int) -> dict[str, float]:
    """The same of the U-Net, binary cross-entropy and Dice."""
    import numpy as np
    from multiloss.backend import keras
    from multiloss.losses import segmentation_loss

    _one_thread()
    keras.utils.set_random_seed(SEED)
    images, _ = _made_up(batch * steps, size)
    x = np.repeat(images[..., None].astype(np.float32) / 255, 3, axis=-1)
    y = _masks(images)[..., None].astype(np.float32)
    return _timed_fit(_unet(size), segmentation_loss("bce_dice"), x, y, batch)


def _timed_fit(model: Any, loss: Any, x: Any, y: Any, batch: int) -> dict[str, float]:
    from multiloss.backend import keras

    model.compile(optimizer=keras.optimizers.Adam(0.001), loss=loss)
    begin = time.perf_counter()
    model.fit(x[:batch], y[:batch], batch_size=batch, verbose=0)
    first = time.perf_counter() - begin
    model.fit(x[: 4 * batch], y[: 4 * batch], batch_size=batch, verbose=0)
    begin = time.perf_counter()
    model.fit(x, y, batch_size=batch, verbose=0)
    return {"images_per_second": len(x) / (time.perf_counter() - begin), "first_step": first}


def loop(size: int, batch: int, steps: int, augmented: bool = False) -> dict[str, float]:
    """The workflow's training loop with the same classifier, as rule `train` sets it up."""
    import numpy as np
    from multiloss.backend import keras
    from multiloss.networks import classifier, training

    training.configure_tensorflow(1, {})
    keras.utils.set_random_seed(SEED)
    images, labels = _made_up(batch * steps, size)
    model = _classifier(size)
    loss = classifier.training_loss({"name": "cce"}, labels, CLASSES)
    data = classifier.training_set(
        images, labels, np.arange(len(images)), np.ones(CLASSES, np.float32),
        MOVED if augmented else STILL,
    )  # fmt: skip
    return _timed_loop(model, loss, data, batch)


def loop_segmenter(size: int, batch: int, steps: int, augmented: bool = False) -> dict[str, float]:
    """The workflow's training loop with the same U-Net, as rule `train_segmenter` sets it up."""
    import numpy as np
    from multiloss.backend import keras
    from multiloss.losses import segmentation_loss
    from multiloss.networks import segmenter, training

    training.configure_tensorflow(1, {}, rewrite_graphs=True)
    keras.utils.set_random_seed(SEED)
    images, _ = _made_up(batch * steps, size)
    data = segmenter.training_set(
        images, _masks(images), np.arange(len(images)), MOVED if augmented else STILL
    )
    return _timed_loop(_unet(size), segmentation_loss("bce_dice"), data, batch)


def gpu_fit(size: int, batch: int, steps: int, meeting: str) -> dict[str, float]:
    """Keras' own `fit` of the classifier on a GPU, compiled and with whatever kernels it takes."""
    import numpy as np
    from multiloss.backend import keras, tf
    from multiloss.networks import classifier

    tf.config.experimental.set_memory_growth(_gpu(), True)
    keras.utils.set_random_seed(SEED)
    images, labels = _made_up(batch * steps, size)
    model = _classifier(size)
    loss = classifier.training_loss({"name": "cce"}, labels, CLASSES)
    x = np.repeat(images[..., None].astype(np.float32) / 255, 3, axis=-1)
    y = np.eye(CLASSES, dtype=np.float32)[labels]
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss=loss)
    begin = time.time()
    model.fit(x[:batch], y[:batch], batch_size=batch, verbose=0)
    first = time.time() - begin
    model.fit(x[: 4 * batch], y[: 4 * batch], batch_size=batch, verbose=0)
    _meet(meeting)
    begin = time.time()
    model.fit(x, y, batch_size=batch, verbose=0)
    return {"images": len(x), "begin": begin, "end": time.time(), "start_up": first}


def gpu_loop(
    size: int, batch: int, steps: int, meeting: str, data: str = "moved", jobs: int = 1,
    xla: bool = False, mixed_precision: bool = False,
) -> dict[str, float]:  # fmt: skip
    """The workflow's training loop on a GPU, or as one of so many `jobs` on it.

    `data`: images `moved` by the augmentation or `still`; `lying`: one batch that lies on the GPU
    already, whose steps wait for nothing of the host's but being started.
    """
    import numpy as np
    from multiloss.backend import keras, tf
    from multiloss.networks import classifier, training

    _gpu()
    training.configure_tensorflow(GPU_THREADS, {"gpu": 1, "jobs_per_gpu": jobs}, mixed_precision)
    keras.utils.set_random_seed(SEED)
    # A few batches again and again: as many different ones take up much memory.
    images, labels = _made_up(4 * batch, size)
    rows = np.resize(np.arange(len(images)), steps * batch)
    model = _classifier(size)
    loss = classifier.training_loss({"name": "cce"}, labels[rows], CLASSES)
    settings = MOVED if data == "moved" else STILL
    weights = np.ones(CLASSES, np.float32)
    given = classifier.training_set(images, labels, rows, weights, settings)
    if data == "lying":
        with tf.device("/GPU:0"):
            one = tuple(tf.identity(array) for array in given.gather(np.arange(batch)))
        given = training.TrainingSet(rows, lambda _: one, given.prepare)
    clock = _Clock(lambda: _meet(meeting), time.time)
    _fitted(model, loss, given, batch, clock, xla=xla)
    first, second = (clock.end[epoch] - clock.begin[epoch] for epoch in range(2))
    # What the first epoch takes longer than the second: graphs, and choosing of algorithms.
    return {
        "images": len(rows), "begin": clock.begin[1], "end": clock.end[1],
        "start_up": first - second,
    }  # fmt: skip


def _meet(meeting: str) -> None:
    """Say in the folder `meeting` that this run is warm, and go on when the file `go` is there."""
    Path(meeting, f"{os.getpid()}.warm").touch()
    while not Path(meeting, "go").exists():
        time.sleep(0.005)


class _Clock:
    """In the place of a checkpoint: when each epoch began and ended. `between` runs between."""

    def __init__(
        self,
        between: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.between, self.now = between, now
        self.begin = [now()]
        self.end: list[float] = []

    def load(self) -> None:
        return None

    def save(self, *_: Any) -> None:
        self.between()
        self.begin.append(self.now())

    def validate(self) -> dict[str, float]:
        self.end.append(self.now())
        return {"val_loss": 1.0}


def _fitted(model: Any, loss: Any, data: Any, batch: int, clock: _Clock, **options: Any) -> None:
    from multiloss.networks import training

    asked = OPTIONS | {"epochs": 2, "batch_size": batch} | options
    training.fit(model, loss, data, clock.validate, asked, SEED, clock, "benchmark")  # type: ignore[arg-type]


def _timed_loop(model: Any, loss: Any, data: Any, batch: int, **options: Any) -> dict[str, float]:
    clock = _Clock()
    _fitted(model, loss, data, batch, clock, **options)
    images = len(data.rows) // batch * batch
    first, second = (clock.end[epoch] - clock.begin[epoch] for epoch in range(2))
    return {
        "images_per_second": images / second, "first_epoch": first, "second_epoch": second,
    }  # fmt: skip


def _batches(rows: int, batch: int, epochs: int) -> list[Any]:
    """The rows of each batch, as the workflow's loop orders them."""
    import numpy as np
    from multiloss.networks import training

    data = training.TrainingSet(np.arange(rows), lambda batch: (batch,), lambda raw, seed: raw)
    return [
        own
        for epoch in range(epochs)
        for (own,) in training.epoch_batches(data, batch, SEED, epoch)
    ]


def _calibrated_by_hand(keras: Any, tf: Any, beta: float = 1.0) -> Callable[..., Any]:
    """The published calibrated cross-entropy, whose mean confidence is taken image by image.

    Rajaraman et al. (2021), doi:10.1371/journal.pone.0261307: cross-entropy plus beta times the
    difference between the batch's accuracy, a number without a gradient, and its mean confidence.
    """
    import numpy as np

    def loss(true: Any, predicted: Any) -> Any:
        chosen = np.argmax(predicted, axis=1)
        accuracy = float(np.mean(chosen == np.argmax(true, axis=1)))
        confidence = 0.0
        for image, label in enumerate(chosen):
            confidence += predicted[image, label]
        entropy = tf.reduce_mean(keras.losses.categorical_crossentropy(true, predicted))
        return entropy + beta * tf.abs(accuracy - confidence / len(chosen))

    return loss


def _written(images: Any, folder: str, side: int) -> list[str]:
    import cv2

    paths = []
    for number, image in enumerate(images):
        path = f"{folder}/{number}.png"
        cv2.imwrite(path, cv2.resize(image, (side, side), interpolation=cv2.INTER_NEAREST))
        paths.append(path)
    return paths


def published_way(
    size: int, batch: int, steps: int, epochs: int = 2, quick: bool = False
) -> dict[str, Any]:
    """As published: files decoded and resized in every epoch, an eager loss with a loop in Python.

    Keras' `fit` reads files as its directory iterators do: decoded as colour, resized to the
    nearest pixels, made floats and divided by 255, while another batch is learned from. The crops
    are files of about 512 pixels, as published, and a multiple of `size`, so that resizing gives
    back what they were made from. Steps run eagerly, as a loss in Python asks for; with `quick` by
    the workflow's arithmetic of layers in place of Keras'.
    """
    import numpy as np
    from multiloss.backend import keras, tf
    from multiloss.networks import kernels

    _one_thread()
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(SEED)
    images, labels = _made_up(batch * steps, size)
    one_hot = np.eye(CLASSES, dtype=np.float32)[labels]
    model = _classifier(size)
    model.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
        loss=_calibrated_by_hand(keras, tf),
        metrics=["accuracy"],
        run_eagerly=True,
    )
    decoding: list[float] = []

    class Files(keras.utils.PyDataset):
        """The batches of one epoch after the other."""

        def __len__(self) -> int:
            return steps * epochs

        def __getitem__(self, number: int) -> tuple[Any, Any]:
            begin = time.thread_time()
            x = [
                keras.utils.img_to_array(keras.utils.load_img(paths[row], target_size=(size, size)))
                for row in rows[number]
            ]
            batch = np.stack(x) / 255, one_hot[rows[number]]
            decoding.append(time.thread_time() - begin)
            return batch

    ends: list[float] = []
    told = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = _written(images, folder, round(512 / size) * size)
        rows = _batches(len(images), batch, epochs)
        with kernels.quick(model) if quick else contextlib.nullcontext():
            model.fit(Files(), shuffle=False, verbose=0, callbacks=[told])
    each = (ends[-1] - ends[steps - 1]) / (steps * (epochs - 1))
    return {
        "images_per_second": batch / each,
        "decoding": sum(decoding[steps:]) / len(decoding[steps:]) / each,
        "weights": _told(model),
    }  # fmt: skip


def loop_calibrated(size: int, batch: int, steps: int, epochs: int = 2) -> dict[str, Any]:
    """The workflow's loop on the same images in the same order with its own calibrated loss."""
    import numpy as np
    from multiloss.backend import keras
    from multiloss.networks import classifier, training

    training.configure_tensorflow(1, {})
    keras.utils.set_random_seed(SEED)
    images, labels = _made_up(batch * steps, size)
    model = _classifier(size)
    loss = classifier.training_loss({"name": "calibrated_cce"}, labels, CLASSES)
    data = classifier.training_set(
        images, labels, np.arange(len(images)), np.ones(CLASSES, np.float32), STILL
    )
    clock = _Clock()
    sgd = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "nesterov": True, "decay": 0.0}
    options = OPTIONS | {"epochs": epochs, "batch_size": batch, "optimizer": sgd}
    training.fit(model, loss, data, clock.validate, options, SEED, clock, "benchmark")  # type: ignore[arg-type]
    spent = sum(clock.end[epoch] - clock.begin[epoch] for epoch in range(1, epochs))
    return {"images_per_second": (epochs - 1) * len(images) / spent, "weights": _told(model)}


def network_alone(size: int, batch: int, steps: int) -> dict[str, float]:
    """The network's own steps on one batch in memory, with the same loss: no loop can be faster.

    Forward and backward pass and the optimiser, as TensorFlow computes them in graph mode.
    """
    import numpy as np
    from multiloss.backend import keras, tf
    from multiloss.networks import classifier, kernels, training

    training.configure_tensorflow(1, {})
    keras.utils.set_random_seed(SEED)
    images, labels = _made_up(batch, size)
    model = _classifier(size)
    loss = classifier.training_loss({"name": "calibrated_cce"}, labels, CLASSES)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True)
    optimizer.build(model.trainable_variables)

    @tf.function(autograph=False)
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape, kernels.quick(model):
            value = loss(y, model(x, training=True))
        optimizer.apply(tape.gradient(value, model.trainable_variables))
        return value

    x = tf.constant(np.repeat(images[..., None].astype(np.float32) / 255, 3, axis=-1))
    y = tf.constant(np.eye(CLASSES, dtype=np.float32)[labels])
    for _ in range(2):
        step(x, y).numpy()
    begin = time.perf_counter()
    for _ in range(steps):
        value = step(x, y)
    value.numpy()
    return {"images_per_second": batch * steps / (time.perf_counter() - begin)}


def _told(model: Any) -> list[float]:
    """Sum and sum of squares of each trained variable, which a few numbers can compare."""
    import numpy as np

    told = []
    for variable in model.trainable_variables:
        values = np.asarray(variable, np.float64)
        told += [float(values.sum()), float((values**2).sum())]
    return told


def heads(size: int, images: int, members: int, epochs: int, batch: int = 16) -> dict[str, Any]:
    """A model-level head on stored features, and with its frozen members run in every epoch."""
    import numpy as np
    from multiloss.backend import keras, tf
    from multiloss.networks import classifier, model_level, prediction, training

    training.configure_tensorflow(1, {})
    keras.utils.set_random_seed(SEED)
    pixels, labels = _made_up(images, size)
    networks = [_classifier(size) for _ in range(members)]
    extractors = [model_level.feature_extractor(network) for network in networks]
    begin = time.perf_counter()
    features = []
    for extractor in extractors:
        run_batch = prediction.forward(extractor, batch)
        parts = [run_batch(own) for own in prediction.batches(pixels, np.arange(images), batch)]
        features.append(np.concatenate(parts).astype(np.float16))
    extraction = time.perf_counter() - begin
    rows, weights = np.arange(images), np.ones(CLASSES, np.float32)
    loss = classifier.training_loss({"name": "cce"}, labels, CLASSES)
    shapes = [array.shape[1:] for array in features]
    options = OPTIONS | {"epochs": epochs + 1, "batch_size": batch}

    def trained(data: Any) -> tuple[float, Any]:
        head, clock = model_level.build_head(shapes, 64, CLASSES, SEED), _Clock()
        training.fit(head, loss, data, clock.validate, options, SEED, clock, "benchmark")  # type: ignore[arg-type]
        # Without the first epoch, in which the graph is made.
        return sum(np.subtract(clock.end, clock.begin[:-1])[1:]), head

    stored, quick = trained(model_level.training_set(features, labels, rows, weights))
    whole = classifier.training_set(pixels, labels, rows, weights, STILL)

    def prepare(raw: Any, seed: Any) -> Any:
        image, target = whole.prepare(raw, seed)
        outputs = [extractor(image, training=False) for extractor in extractors]
        return [tf.cast(tf.cast(own, tf.float16), tf.float32) for own in outputs], target

    frozen, slow = trained(training.TrainingSet(rows, whole.gather, prepare))
    apart = max(
        float(np.abs(a - b).max())
        for a, b in zip(quick.get_weights(), slow.get_weights(), strict=True)
    )
    return {"stored": stored, "extraction": extraction, "frozen": frozen, "apart": apart}


RUNS = {
    function.__name__: function
    for function in (
        *(bare_fit, loop, bare_fit_segmenter, loop_segmenter),
        *(published_way, loop_calibrated, network_alone, heads, gpu_fit, gpu_loop),
    )
}

if __name__ == "__main__":
    print(json.dumps(RUNS[sys.argv[1]](**json.loads(sys.argv[2]))))
