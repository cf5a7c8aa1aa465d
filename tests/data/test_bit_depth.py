"""The depth of 16-bit values: of a source as a whole, and which images cannot be of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiloss.data.bit_depth import Reach, agree, smallest, to_8_bits
from multiloss.job.errors import ImageError


def depths(*largest: int, given: int | None = None) -> list[int | None]:
    """What `agree` says of images with these largest values, None for a refusal."""
    found = agree([Reach(value) for value in largest], given)
    return [None if isinstance(bits, ImageError) else bits for bits in found]


def test_smallest_depth():
    limits = {0: 8, 255: 8, 256: 10, 1023: 10, 1024: 12, 4095: 12, 4096: 14, 16383: 14, 16384: 16}
    assert {value: smallest(value) for value in limits} == limits
    assert smallest(65535) == 16


@given(st.integers(0, 65535))
def test_16_bits_are_divided_by_257(value):
    (grey,) = to_8_bits(np.array([value], np.uint16), 16).tolist()
    assert grey == round(value / 257)


@given(st.integers(8, 16), st.integers(0, 65535))
def test_any_depth_is_stretched_to_255(bits, value):
    most = 2**bits - 1
    values = np.array([value % (most + 1), most, 0], np.uint16)
    grey = to_8_bits(values, bits)
    assert grey.dtype == np.uint8 and grey[1:].tolist() == [255, 0]
    assert abs(int(grey[0]) - int(values[0]) * 255 / most) <= 0.5


def test_a_source_has_one_depth():
    # The darkest would fit in 10 bits; there is no gap below the others.
    assert depths(900, 1500, 2800, 4080) == [12] * 4
    assert depths(200, 255) == [8, 8]
    assert depths(9000, 15000) == [14, 14]
    assert depths(30000, 65535, 20000) == [16] * 3
    assert depths() == []


def test_images_of_another_depth_are_refused():
    assert depths(65535, 65535, 4080, 65535, 4000) == [16, 16, None, 16, None]
    assert depths(4095, 4000, 1020, 3900) == [12, 12, None, 12]
    # A burnt-in mark in one of them does not make the others black.
    assert depths(4095, 4000, 65535, 3900) == [12, 12, None, 12]
    # Of two equal parts the brighter stays.
    assert depths(4000, 65535) == [None, 16]
    (dark, *_) = agree([Reach(4000), Reach(65535), Reach(60000)])
    assert "reach 4000, those of most images of its source 60000 to 65535" in str(dark)


def test_no_order_matters():
    values = [65535, 300, 4080, 60000, 4000, 30000]
    for order in np.random.default_rng(0).permuted(np.tile(np.arange(6), (20, 1)), axis=1):
        found = depths(*(values[k] for k in order))
        assert [found[list(order).index(k)] for k in range(6)] == depths(*values)


def test_depth_that_is_given_holds_for_all():
    assert depths(900, 4095, 100, given=12) == [12] * 3
    assert depths(65535, 4080, given=16) == [16, 16]
    (found,) = agree([Reach(4096)], 12)
    assert str(found) == "values up to 4096 do not fit in the source's `bits: 12`"


def test_depth_that_files_state():
    # Stated depths hold whatever the others reach, and in whatever company.
    assert agree([Reach(900, 12), Reach(65535), Reach(500, 10), Reach(4000, 12)]) == [
        12, 16, 10, 12,
    ]  # fmt: skip
    # One value above: the 12 bits are stretched to 16 in all of them.
    assert agree([Reach(900, 12), Reach(65520, 12)]) == [16, 16]


def test_value_beyond_the_depth():
    with pytest.raises(ImageError, match="values up to 4096 do not fit in 12 bits"):
        to_8_bits(np.array([4096, 3], np.uint16), 12)
