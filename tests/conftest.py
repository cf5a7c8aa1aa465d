"""Shared by all tests: the package on the path, and the real archives where they exist."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))
sys.path.insert(0, str(ROOT / "benchmarks"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the small archives of real radiographs; tests that need it skip without."""
    folder = Path(os.environ.get("MULTILOSS_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no real radiographs: {folder} is absent (set MULTILOSS_SHARED)")
    return folder
