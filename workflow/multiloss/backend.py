"""Keras and TensorFlow, imported the one way that every module here uses.

Two costs of a plain import are spared in each of a study's many jobs: Keras' wrappers for
scikit-learn and its pictures, which nothing here uses, import all of scikit-learn and Matplotlib
(a second and a half); and the native libraries print lines about processors and drivers that look
like errors.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

__all__ = ["keras", "native_lines", "ops", "tf"]

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


with _native_lines_held_back(), _without("sklearn"), _without("matplotlib"):
    import keras
    import tensorflow as tf
    from keras import ops

    tf.config.list_physical_devices()  # where it looks for drivers
