"""A browser for the tests that look at the page."""

import shutil
from collections.abc import Iterator

import pytest
from browser import CHROMIUM, Browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for each file of tests, which skip without it."""
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is absent (apt-get install chromium)")
    profile = tmp_path_factory.mktemp("profile")
    found = Browser(profile)
    yield found
    found.close()
    shutil.rmtree(profile, ignore_errors=True)
