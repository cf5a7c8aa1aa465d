"""Keras and TensorFlow, imported the one way that every module here uses.

Two costs of a plain import are spared in each of a study's many jobs: Keras' wrappers for
scikit-learn and its pictures, which nothing here uses, import all of scikit-learn and Matplotlib
(a second and a half); and the native libraries print lines about processors and drivers that look
like errors.
"""

import contextlib
import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator

__all__ = ["keep_freed_memory", "keras", "native_lines", "ops", "tf"]

native_lines = ""


@contextlib.contextmanager
def _native_lines_held_back() -> Iterator[None]:
    """Keep what C++ code writes in `native_lines`, off the terminal unless the block fails."""
    global native_lines
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            held.seek(0)
            native_lines = held.read().decode(errors="replace")


@contextlib.contextmanager
def _without(package: str) -> Iterator[None]:
    """Let imports in the block find that a package is not there, unless it was imported."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed; whether it can.

    It gives large blocks back to the kernel, and a training asks for them again in each step:
    kept, a step of a small network takes two thirds of the time. No number depends on it. Who has
    set MALLOC_ variables knows better.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of the GNU library alone
    if mallopt is None or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    arena_max, mmap_threshold, top_pad, trim_threshold = -8, -3, -2, -1  # as malloc.h numbers them
    settings = {
        arena_max: 1,
        mmap_threshold: 32 * 2**20,
        top_pad: 128 * 2**20,
        trim_threshold: 2**31 - 1,
    }
    return all([mallopt(name, value) == 1 for name, value in settings.items()])


def _wants_gpu() -> bool:
    """Whether this process is a job of the workflow that asks for a GPU."""
    job = getattr(sys.modules.get("__main__"), "snakemake", None)
    return bool(job is not None and job.resources.get("gpu"))


# Without a GPU to use, TensorFlow's errors about not finding one only frighten.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if _wants_gpu() else "3")
with _native_lines_held_back(), _without("sklearn"), _without("matplotlib"):
    import keras
    import tensorflow as tf
    from keras import ops

    tf.config.list_physical_devices()  # where it looks for drivers
