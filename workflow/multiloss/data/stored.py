"""Arrays in `.npy` files that may be larger than memory: written and read a few rows at a time.

Not mapped into memory: what a process has touched of a mapped file counts as its own, so that a job
would seem to take, and a cluster would allow it, as much as the whole file.
"""

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


class StoredArray:
    """A `.npy` file of which `array[rows]` reads some rows: an index, a slice or integers (n,).

    `shape`, `dtype` and `ndim` are those of the array; `numpy.asarray` reads all of it.
    Raises ValueError for a file that is no whole array of numbers in rows.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = open(path, "rb")  # noqa: SIM115
        version = np.lib.format.read_magic(self._file)
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if header is None:
            raise ValueError(f"version {version} of its format is not known")
        self.shape, by_columns, self.dtype = header(self._file)
        if self.dtype.hasobject or by_columns or not self.shape:
            raise ValueError("it holds no rows of numbers")
        self._begin = self._file.tell()
        self._row = self.dtype.itemsize * math.prod(self.shape[1:])
        there = os.fstat(self._file.fileno()).st_size - self._begin
        if there != self._row * len(self):
            raise ValueError(f"{there} bytes of {self._row * len(self)}")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: int | slice | Sequence[int] | np.ndarray) -> np.ndarray:
        chosen = np.arange(len(self))[rows]
        found = np.empty((np.size(chosen), *self.shape[1:]), self.dtype)
        for place, row in enumerate(np.atleast_1d(chosen)):
            into = found[place : place + 1].data
            os.preadv(self._file.fileno(), [into], self._begin + self._row * int(row))
        return found if np.ndim(chosen) else found[0]

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)


class _Rows:
    """What `writing` gives: takes the rows of an array in their order."""

    def __init__(self, file: BinaryIO, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self._file, self._dtype, self._shape = file, dtype, shape
        self.count = 0

    def append(self, rows: np.ndarray) -> None:
        """Write one row or several; raises ValueError for another shape or type."""
        rows = np.asarray(rows)
        if rows.dtype != self._dtype:
            raise ValueError(f"rows of {rows.dtype} in an array of {self._dtype}")
        if rows.shape[-len(self._shape) :] != self._shape or rows.ndim > len(self._shape) + 1:
            raise ValueError(f"rows of shape {rows.shape} in an array of rows {self._shape}")
        self._file.write(np.ascontiguousarray(rows).data)
        self.count += 1 if rows.ndim == len(self._shape) else len(rows)


@contextlib.contextmanager
def writing(path: str | Path, dtype: Any, shape: tuple[int, ...]) -> Iterator[_Rows]:
    """A `.npy` file of that type and shape, whose rows the block appends in order.

    Raises ValueError if the block ends with fewer or more rows.
    """
    dtype = np.dtype(dtype)
    with open(path, "wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(file, header | {"shape": shape})
        rows = _Rows(file, dtype, shape[1:])
        yield rows
    if rows.count != shape[0]:
        raise ValueError(f"{rows.count} rows in an array of {shape[0]}")
