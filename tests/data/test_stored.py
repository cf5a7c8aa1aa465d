"""Arrays in files: rows as NumPy has them, and nothing but whole files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from multiloss.data.stored import StoredArray, writing


@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)), st.data())
def test_rows_are_those_of_numpy(tmp_path_factory, array, data):
    path = tmp_path_factory.mktemp("stored") / "a.npy"
    np.save(path, array)
    stored = StoredArray(path)
    assert (stored.shape, stored.dtype, stored.ndim) == (array.shape, array.dtype, array.ndim)
    n = len(array)
    rows = data.draw(st.lists(st.integers(-n, n - 1), max_size=7))
    for chosen in (slice(1, None, 2), slice(None), -1, np.array(rows, int), np.arange(n) % 2 == 0):
        assert np.array_equal(stored[chosen], array[chosen]), chosen
    assert np.array_equal(np.asarray(stored), array)
    with pytest.raises(IndexError):
        stored[n]


@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
def test_written_file_is_the_one_that_numpy_writes(tmp_path, dtype):
    array = np.arange(5 * 3 * 2).reshape(5, 3, 2).astype(dtype)
    np.save(tmp_path / "theirs.npy", array)
    with writing(tmp_path / "ours.npy", dtype, array.shape) as rows:
        rows.append(array[0])
        rows.append(array[1:4])
        rows.append(array[4, ::1])
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "theirs.npy").read_bytes()


def test_rows_that_do_not_fit_are_refused(tmp_path):
    with writing(tmp_path / "a.npy", np.uint8, (1, 2)) as rows:
        with pytest.raises(ValueError, match="rows of float64 in an array of uint8"):
            rows.append(np.zeros(2))
        with pytest.raises(ValueError, match=r"rows of shape \(3,\)"):
            rows.append(np.zeros(3, np.uint8))
        rows.append(np.zeros(2, np.uint8))
    with (
        pytest.raises(ValueError, match="1 rows in an array of 2"),
        writing(tmp_path / "a.npy", np.uint8, (2, 2)) as rows,
    ):
        rows.append(np.zeros((1, 2), np.uint8))


@pytest.mark.parametrize("array", [np.array(3), np.asfortranarray(np.zeros((2, 3)))])
def test_what_has_no_rows_is_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match="no rows of numbers"):
        StoredArray(tmp_path / "a.npy")


def test_reading_takes_no_memory_for_what_is_not_asked_for(tmp_path):
    """All rows of a large file, read in turn: the process does not grow by the file's size."""
    import resource

    path = tmp_path / "a.npy"
    with writing(path, np.uint8, (2000, 256, 256)) as rows:
        for _ in range(2000):
            rows.append(np.zeros((256, 256), np.uint8))
    stored = StoredArray(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for row in range(0, 2000, 10):
        stored[row : row + 10]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # kB; it has 131 MB
