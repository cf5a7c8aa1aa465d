"""The picture of the steps in docs/ is that of the rules."""

import importlib.util
from pathlib import Path


def test_steps_page_is_up_to_date(root: Path) -> None:
    spec = importlib.util.spec_from_file_location("steps", root / "docs/steps.py")
    steps = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(steps)
    assert steps.PAGE.read_text(encoding="utf-8") == steps.page(), "run `make reference`"
