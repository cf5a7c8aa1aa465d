"""The benchmark's frame: limits, the page, and parts that are there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import speed


def test_limits() -> None:
    assert speed.at_most("a", 4.0, "s", 4).passed
    assert not speed.at_most("a", 4.1, "s", 4).passed
    assert speed.at_least("a", 0.95, "times", 0.95).passed
    assert not speed.at_least("a", 0.94, "times", 0.95).passed
    assert speed.Measurement("a", 1.0, "s").passed is None


def test_page_tells_every_number_with_its_limit() -> None:
    rows = [
        {"name": "a run", "value": 3.456, "unit": "s of CPU", "limit": 4, "passed": True},
        {"name": "images", "value": 12345.6, "unit": "images/s", "limit": None, "passed": None},
        {"name": "ratio", "value": 0.91, "unit": "times", "limit": 0.95, "passed": False},
    ]
    machine = {"cpu": "Fast 1", "cores": 2, "memory_gb": 8, "versions": {"numpy": "2.0"}}
    result = {
        "what": "What it is.",
        "date": "2026-01-02",
        "command": 'make bench ARGS="planning"',
        "machine": machine,
        "measurements": rows,
    }
    page = speed.page({"planning": result})
    assert "| a run | 3.46 | s of CPU | 4 | kept |" in page
    assert "| images | 12,346 | images/s |  |  |" in page
    assert "| ratio | 0.91 | times | 0.95 | **not kept** |" in page
    assert '`make bench ARGS="planning"` on 2026-01-02: Fast 1, 2 cores, 8 GB; numpy 2.0.' in page


def test_parts_are_those_that_are_there() -> None:
    assert {"planning", "statistics"} <= set(speed.parts())


def test_an_unknown_part_is_refused(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, root / "benchmarks/speed.py", "planing"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no part planing: choose of" in done.stderr


def test_a_broken_part_keeps_what_was_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    store = tmp_path / "benchmarks.json"
    store.write_text(json.dumps({"planning": {"kept": True}, "gone": {}}), encoding="utf-8")
    monkeypatch.setattr(speed, "STORE", store)
    monkeypatch.setattr(speed, "_table", lambda result: "")

    def fails(name: str) -> dict:
        raise RuntimeError(name)

    monkeypatch.setattr(speed, "run", fails)
    monkeypatch.setattr(sys, "argv", ["speed.py", "statistics"])
    assert speed.main() == 1
    assert json.loads(store.read_text(encoding="utf-8"))["planning"] == {"kept": True}


def test_stored_page_is_that_of_the_stored_numbers(root: Path) -> None:
    stored = json.loads((root / "docs/benchmarks.json").read_text(encoding="utf-8"))
    assert (root / "docs/benchmarks.md").read_text(encoding="utf-8") == speed.page(stored)
