"""Seeds: stable for ever, independent of each other."""

import hashlib

import numpy as np
from multiloss.job.seeds import derive


def test_seed_is_the_first_four_bytes_of_the_digest() -> None:
    digest = hashlib.sha256(b"20211202/train/focal/0").hexdigest()
    assert derive(20211202, "train", "focal", 0) == int(digest[:8], 16)


def test_seed_is_known_for_ever() -> None:
    # A change of these would change every published result of a study.
    assert derive(7, "splits") == 0xF0224A0B
    assert derive(20211202, "phantom", "phantom-cxr") == 0xE669E7A4


def test_keys_are_kept_apart() -> None:
    seeds = {
        derive(1),
        derive(2),
        derive(1, "a"),
        derive(1, "b"),
        derive(1, "a", "b"),
        derive(1, "ab"),
        derive(1, "a", 0),
        derive(1, "a", 1),
    }
    assert len(seeds) == 8


def test_streams_of_neighbouring_seeds_are_unrelated() -> None:
    streams = [
        np.random.default_rng(derive(3, "train", "cce", replicate)).normal(size=2000)
        for replicate in range(6)
    ]
    correlation = np.corrcoef(streams)
    np.fill_diagonal(correlation, 0)
    assert np.abs(correlation).max() < 0.1


def test_seeds_fit_32_bits_and_fill_them() -> None:
    seeds = np.array([derive(0, number) for number in range(4000)], dtype=np.float64)
    assert seeds.min() >= 0
    assert seeds.max() < 2**32
    assert abs(seeds.mean() / 2**32 - 0.5) < 0.03
