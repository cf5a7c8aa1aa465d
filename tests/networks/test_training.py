"""The training loop: resuming bit for bit, schedules, counters, and a loss that explodes."""

import json
import threading
import time

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from multiloss.networks import training

OPTIONS = {
    "epochs": 4,
    "batch_size": 4,
    "optimizer": {
        "name": "adam", "learning_rate": 0.01, "momentum": 0.9, "nesterov": True, "decay": 0.0,
    },
    "schedule": "cosine",
    "warmup_fraction": 0.1,
    "reduce_on_plateau": {"factor": 0.5, "patience": 1, "min_delta": 0.0, "min_learning_rate": 0},
    "early_stopping": None,
    "monitor": "val_loss",
    "keep": "best",
    "batch_norm_momentum": 0.9,
    "mixed_precision": False, "xla": False,
}  # fmt: skip


def network() -> keras.Model:
    keras.utils.set_random_seed(5)
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.3)(x)  # its random stream must go on after an interruption
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(18, 3)).astype(np.float32)
    y = np.eye(2, dtype=np.float32)[(x[:, 0] > 0).astype(int)]

    def prepare(raw, seed):
        # Random input noise, so that a wrong seed after a resume would show.
        return raw[0] + 0.1 * tf.random.stateless_normal(tf.shape(raw[0]), seed), raw[1]

    data = training.TrainingSet(
        np.arange(18), lambda rows: (x[rows], y[rows], np.ones(len(rows), np.float32)), prepare
    )
    return x, y, data


def score_of(model, problem):
    x, y, _ = problem
    predicted = model(x, training=False).numpy()
    return {
        "val_loss": float(keras.losses.CategoricalCrossentropy()(y, predicted)),
        "val_accuracy": float(np.mean(predicted.argmax(1) == y.argmax(1))),
    }


def run(problem, folder, options=OPTIONS, interrupt_after=None, seed=1, loss=None):
    """Train; with `interrupt_after` the process 'dies' after that many validations."""
    data = problem[-1]
    model = network()
    loss = loss or keras.losses.CategoricalCrossentropy()
    calls = []

    def validate():
        calls.append(1)
        if interrupt_after is not None and len(calls) > interrupt_after:
            raise KeyboardInterrupt
        return score_of(model, problem)

    checkpoint = training.Checkpoint(folder / "model.checkpoint.npz", "this training")
    history = training.fit(model, loss, data, validate, options, seed, checkpoint, "test")
    return model, history, len(calls)


@pytest.mark.parametrize("finished", [1, 2, 3])
def test_resumed_training_ends_with_the_same_bytes(problem, tmp_path, finished):
    straight, history, _ = run(problem, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        run(problem, tmp_path / "broken", interrupt_after=finished)
    resumed, resumed_history, epochs_run = run(problem, tmp_path / "broken")
    assert epochs_run == OPTIONS["epochs"] - finished  # no finished epoch is trained again
    for a, b in zip(straight.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    pd.testing.assert_frame_equal(history, resumed_history)


PUBLISHED = {
    "optimizer": {
        "name": "sgd", "learning_rate": 0.2, "momentum": 0.9, "nesterov": True, "decay": 0.01,
    },
    "schedule": "constant",
    "warmup_fraction": 0.0,
    "reduce_on_plateau": {
        "factor": 0.5, "patience": 2, "min_delta": 1e-4, "min_learning_rate": 1e-3,
    },
    "early_stopping": {"patience": 4, "min_delta": 0.0},
    "monitor": "val_accuracy",
    "epochs": 30,
    "batch_norm_momentum": None,
}  # fmt: skip


@pytest.mark.parametrize("mixed_precision", [False, True])
def test_published_schedule_resumes_with_its_counters(problem, tmp_path, mixed_precision):
    """SGD with decay, plateau and early stopping on the accuracy, killed after every epoch."""
    options = OPTIONS | PUBLISHED
    keras.mixed_precision.set_global_policy("mixed_float16" if mixed_precision else "float32")
    try:
        straight, history, epochs = run(problem, tmp_path / "straight", options)
        for _ in range(epochs - 1):
            with pytest.raises(KeyboardInterrupt):
                run(problem, tmp_path / "broken", options, interrupt_after=1)
        resumed, resumed_history, left = run(problem, tmp_path / "broken", options)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert left == 1 and 5 <= epochs < 30, "early stopping was not reached"
    assert history["learning_rate"].min() < 0.5 * history["learning_rate"].max()
    pd.testing.assert_frame_equal(history, resumed_history)
    for a, b in zip(straight.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    best = history.loc[history["val_accuracy"].idxmax()]
    assert score_of(straight, problem)["val_accuracy"] == best["val_accuracy"]


def test_checkpoint_of_another_version_means_training_from_the_start(problem, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(problem, tmp_path, interrupt_after=2)
    path = tmp_path / "model.checkpoint.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    record = json.loads(arrays["record"].tobytes())
    record["progress"]["of_a_later_version"] = 1
    arrays["record"] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    np.savez(path, **arrays)
    assert run(problem, tmp_path)[2] == OPTIONS["epochs"]


def test_checkpoint_of_another_training_is_not_taken_up(problem, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(problem, tmp_path, interrupt_after=2)
    path = tmp_path / "model.checkpoint.npz"
    assert training.Checkpoint(path, "this training").load() is not None
    assert training.Checkpoint(path, "another training").load() is None


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a checkpoint", None])
def test_damaged_checkpoint_means_training_from_the_start(problem, tmp_path, damage):
    straight, _, _ = run(problem, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        run(problem, tmp_path / "broken", interrupt_after=2)
    path = tmp_path / "broken" / "model.checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-200] if damage is None else damage)
    again, _, epochs_run = run(problem, tmp_path / "broken")
    assert epochs_run == OPTIONS["epochs"]
    np.testing.assert_array_equal(straight.get_weights()[0], again.get_weights()[0])


def test_checkpoint_holding_pickled_code_is_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    path = tmp_path / "model.checkpoint.npz"
    record = np.frombuffer(json.dumps({"identity": "x"}).encode(), np.uint8)
    np.savez(path, record=record, **{"model/0": np.array([Bomb()], dtype=object)})
    assert training.Checkpoint(path, "x").load() is None
    assert not (tmp_path / "executed").exists()


def test_other_seed_gives_other_weights(problem, tmp_path):
    one, _, _ = run(problem, tmp_path / "a", seed=1)
    two, _, _ = run(problem, tmp_path / "b", seed=2)
    assert not np.array_equal(one.get_weights()[0], two.get_weights()[0])


def test_nan_loss_is_named_and_stopped(problem, tmp_path, caplog):
    class Broken(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return keras.ops.log(keras.ops.sum(y_pred, axis=-1) - 2.0)

    _, history, _ = run(problem, tmp_path / "broken", loss=Broken())
    assert "Error: test: the loss became nan in epoch 1, step 1" in caplog.text
    assert training.diverged(history) and len(history) == 1
    _, whole, _ = run(problem, tmp_path / "whole")
    assert list(history) == list(whole)
    assert history.drop(columns=["epoch", "learning_rate"]).isna().all().all()


def test_a_training_that_cannot_begin_is_a_gap_like_one_that_diverged():
    history = training.untrained()
    assert training.diverged(history) and len(history) == 1
    assert history.drop(columns="epoch").isna().all().all()


def test_training_that_diverges_late_keeps_the_last_whole_epoch(problem, tmp_path):
    class Later(keras.losses.Loss):
        """Cross-entropy for the four steps of the first epoch and one more, then NaN."""

        def __init__(self):
            super().__init__()
            self.calls = keras.Variable(0.0, trainable=False)

        def call(self, y_true, y_pred):
            self.calls.assign_add(1.0)
            good = keras.losses.categorical_crossentropy(y_true, y_pred)
            return keras.ops.where(self.calls > 5, np.nan, good)

    # A constant rate makes the first epoch the same in both.
    options = OPTIONS | {"schedule": "constant", "warmup_fraction": 0.0, "keep": "last"}
    one_epoch, first, _ = run(problem, tmp_path / "one", options | {"epochs": 1})
    model, history, epochs_run = run(problem, tmp_path / "late", options, loss=Later())
    assert epochs_run == 1 and list(history["epoch"]) == [1, 2] and training.diverged(history)
    assert not training.diverged(first)
    for a, b in zip(one_epoch.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("between", [1, 2, 3, 100])
def test_losses_are_read_late_and_the_step_is_named_all_the_same(
    problem, tmp_path, monkeypatch, caplog, between
):
    class Once(keras.losses.Loss):
        """Not a number in the second step alone: later ones must not hide it."""

        def __init__(self):
            super().__init__()
            self.calls = keras.Variable(0.0, trainable=False)

        def call(self, y_true, y_pred):
            self.calls.assign_add(1.0)
            good = keras.losses.categorical_crossentropy(y_true, y_pred)
            return keras.ops.where(
                self.calls == 2, np.inf, keras.ops.stop_gradient(good) + 0 * good
            )

    usual = run(problem, tmp_path / "usual", OPTIONS)[1]
    monkeypatch.setattr(training, "STEPS_BETWEEN_READINGS", between)
    pd.testing.assert_frame_equal(run(problem, tmp_path / "same", OPTIONS)[1], usual)
    history = run(problem, tmp_path / "once", OPTIONS, loss=Once())[1]
    assert training.diverged(history) and len(history) == 1
    assert "the loss became inf in epoch 1, step 2" in caplog.text


def test_steps_compiled_by_xla_learn_the_same(problem, tmp_path, monkeypatch, caplog):
    # XLA draws other random numbers for dropout.
    monkeypatch.setattr(keras.layers, "Dropout", lambda rate: keras.layers.Activation("linear"))
    caplog.set_level("INFO")
    without = run(problem, tmp_path / "without", OPTIONS)
    assert "XLA" not in caplog.text
    compiled = run(problem, tmp_path / "xla", OPTIONS | {"xla": True})
    assert "steps are compiled by XLA" in caplog.text
    np.testing.assert_allclose(compiled[1]["val_loss"], without[1]["val_loss"], rtol=1e-4)


@pytest.mark.parametrize(
    ("xla", "gpus", "steps", "compiled"),
    [("auto", ["GPU:0"], training.COMPILED_FROM, True),
     ("auto", ["GPU:0"], training.COMPILED_FROM - 1, False),
     ("auto", [], training.COMPILED_FROM, False),
     (True, [], 1, True),
     (False, ["GPU:0"], training.COMPILED_FROM, False)],
)  # fmt: skip
def test_long_trainings_on_a_gpu_are_compiled(monkeypatch, xla, gpus, steps, compiled):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus)
    assert training._compiled({"xla": xla}, steps) is compiled


@pytest.mark.parametrize("keep", ["best", "last"])
def test_weights_spoilt_by_the_last_step_are_not_kept(problem, tmp_path, caplog, keep):
    """An infinite step at the end of an epoch: no loss of a batch shows it, validation does."""
    x, y, data = problem
    model = network()
    score = keras.losses.CategoricalCrossentropy()
    start = model.get_weights()

    def validate():
        model.layers[-1].bias.assign([np.nan, 0])
        predicted = model(x, training=False).numpy()
        return {
            "val_loss": float(score(y, predicted)),
            "val_accuracy": float(np.mean(predicted.argmax(1) == y.argmax(1))),
        }

    options = OPTIONS | {"epochs": 1, "monitor": "val_accuracy", "keep": keep}
    checkpoint = training.Checkpoint(tmp_path / "model.checkpoint.npz", "this")
    history = training.fit(
        model, score, data, validate, options, seed=1, checkpoint=checkpoint, name="test"
    )
    assert "Error: test: val_loss became nan after epoch 1" in caplog.text
    assert training.diverged(history) and not checkpoint.path.exists()
    for a, b in zip(start, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_keep_best_restores_the_epoch_of_the_smallest_validation_loss(problem, tmp_path):
    x, y, _ = problem
    options = OPTIONS | {"optimizer": OPTIONS["optimizer"] | {"learning_rate": 0.8}, "epochs": 6}
    model, history, _ = run(problem, tmp_path, options)
    value = float(keras.losses.CategoricalCrossentropy()(y, model(x, training=False)))
    assert value == pytest.approx(history["val_loss"].min(), rel=1e-6)
    last, history_last, _ = run(problem, tmp_path / "last", options | {"keep": "last"})
    value = float(keras.losses.CategoricalCrossentropy()(y, last(x, training=False)))
    assert value == pytest.approx(history_last["val_loss"].iloc[-1], rel=1e-6)


def test_every_epoch_sees_other_images_in_whole_batches():
    data = training.TrainingSet(np.arange(10) * 3, lambda rows: (rows,), None)
    epochs = [list(training.epoch_batches(data, 4, seed=7, epoch=e)) for e in range(3)]
    for batches in epochs:
        rows = np.concatenate([batch[0] for batch in batches])
        assert [len(batch[0]) for batch in batches] == [4, 4]
        assert len(set(rows)) == 8 and set(rows) <= set(range(0, 30, 3))
    assert {frozenset(batch[0]) for batch in epochs[0]} != {frozenset(b[0]) for b in epochs[1]}
    again = list(training.epoch_batches(data, 4, seed=7, epoch=0))
    np.testing.assert_array_equal(epochs[0][1][0], again[1][0])


def test_batches_are_made_on_another_thread_while_one_is_in_use():
    made = []

    def batches():
        for number in range(4):
            made.append((number, threading.get_ident()))
            yield np.array([number]), np.array([-number])

    seen = []
    for first, second in training.ahead(batches()):
        seen.append((int(first[0]), int(second[0])))
        assert tf.is_tensor(first)
        end = time.monotonic() + 10
        while len(made) < min(len(seen) + 1, 4) and time.monotonic() < end:
            time.sleep(0.001)
        assert len(made) == min(len(seen) + 1, 4)
    assert seen == [(0, 0), (1, -1), (2, -2), (3, -3)]
    assert threading.get_ident() not in {thread for _, thread in made}


def test_a_batch_that_cannot_be_read_ends_the_training():
    def batches():
        yield (np.zeros(1),)
        raise OSError("gone")

    given = training.ahead(batches())
    next(given)
    with pytest.raises(OSError, match="gone"):
        next(given)


def schedule_options(**changes):
    return OPTIONS | {"warmup_fraction": 0.0, "schedule": "constant"} | changes


def test_learning_rate_by_hand():
    sgd = {"learning_rate": 0.1, "decay": 0.5}
    options = schedule_options(optimizer=sgd, reduce_on_plateau=None)
    assert training.learning_rate(options, 4, 100, 1.0) == pytest.approx(0.1 / 3)
    cosine = schedule_options(schedule="cosine", optimizer={"learning_rate": 1.0, "decay": 0.0})
    assert training.learning_rate(cosine, 0, 10, 1.0) == pytest.approx(1.0)
    assert training.learning_rate(cosine, 5, 10, 1.0) == pytest.approx(0.5)
    warm = cosine | {"warmup_fraction": 0.4}
    assert training.learning_rate(warm, 1, 10, 1.0) == pytest.approx(0.5)
    assert training.learning_rate(warm, 4, 10, 1.0) == pytest.approx(1.0)


def test_plateau_never_goes_below_its_floor():
    options = schedule_options(
        optimizer={"learning_rate": 1e-4, "decay": 0.0},
        reduce_on_plateau={"min_learning_rate": 1e-5},
    )
    assert training.learning_rate(options, 0, 10, 0.5) == pytest.approx(5e-5)
    assert training.learning_rate(options, 0, 10, 0.01) == pytest.approx(1e-5)


def counters(values, **changes):
    """Progress after epochs with these values, stopping as `fit` does."""
    progress = training.Progress()
    for value in values:
        training._update_counters(progress, value, OPTIONS | changes)
        progress.epoch += 1
        if progress.stopped:
            break
    return progress


def test_early_stopping_waits_for_its_patience():
    stop = {"early_stopping": {"patience": 2, "min_delta": 0.1}, "reduce_on_plateau": None}
    # 0.95 is no improvement by 0.1 over 1.0; neither is 0.91: stopped after the third epoch.
    progress = counters([1.0, 0.95, 0.91, 0.5], **stop)
    assert (progress.stopped, progress.epoch) == (True, 3)
    # The best epoch is the one of the smallest value all the same.
    assert (progress.best, progress.best_epoch) == (0.91, 2)
    assert not counters([1.0, 0.95, 0.8, 0.75], **stop).stopped


def test_plateau_halves_after_its_patience_and_watches_the_right_direction():
    plateau = {"reduce_on_plateau": {"factor": 0.5, "patience": 2, "min_delta": 0.0}}
    assert counters([1.0, 1.0, 1.0, 1.0, 1.0], **plateau).plateau_scale == 0.25
    rising = counters([0.1, 0.2, 0.3, 0.4, 0.5], monitor="val_mcc", **plateau)
    assert (rising.plateau_scale, rising.best_epoch) == (1.0, 4)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_best_epoch_is_the_first_of_the_best_values(values):
    progress = counters(values, monitor="val_mcc", reduce_on_plateau=None)
    assert progress.best_epoch == int(np.argmax(values))


def test_fingerprint_sees_every_part():
    base = training.fingerprint({"a": 1}, np.arange(3))
    assert base == training.fingerprint({"a": 1}, np.arange(3))
    assert base != training.fingerprint({"a": 2}, np.arange(3))
    assert base != training.fingerprint({"a": 1}, np.arange(3) + 1)


def test_fingerprint_sees_threads_and_versions(monkeypatch):
    base = training.fingerprint({"a": 1})
    with monkeypatch.context() as context:
        context.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 99)
        assert training.fingerprint({"a": 1}) != base
    monkeypatch.setattr(training.tf, "__version__", "0.1")
    assert training.fingerprint({"a": 1}) != base


def test_fingerprint_of_rows_is_that_of_the_rows_alone(monkeypatch):
    monkeypatch.setattr(training, "ROWS_AT_ONCE", 2)
    array = np.arange(12).reshape(6, 2)
    rows = np.array([0, 2, 3, 5])
    assert training.fingerprint((array, rows)) == training.fingerprint(array[rows])
    array[1] = 99  # not among the rows
    assert training.fingerprint((array, rows)) == training.fingerprint(array[rows])
    before = training.fingerprint((array, rows))
    array[5] = 99
    assert training.fingerprint((array, rows)) != before
