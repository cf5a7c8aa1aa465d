"""The benchmark's frame: limits, the page, and parts that are there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import speed
from speed_parts import gpus


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


def test_a_part_that_the_machine_lacks_something_for_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    store = tmp_path / "benchmarks.json"
    store.write_text(json.dumps({"gpus": {"kept": True}}), encoding="utf-8")
    monkeypatch.setattr(speed, "STORE", store)
    monkeypatch.setattr(speed, "parts", lambda: ["gpus"])

    def lacks(name: str) -> dict:
        raise speed.NotHere("no GPU is found")

    monkeypatch.setattr(speed, "run", lacks)
    for arguments, status in ((["gpus"], 1), ([], 0)):
        monkeypatch.setattr(sys, "argv", ["speed.py", *arguments])
        monkeypatch.setattr(speed, "_table", lambda result: "")
        stored = {"gpus": {"kept": True, "measurements": []}}
        store.write_text(json.dumps(stored), encoding="utf-8")
        assert speed.main() == status
        assert "gpus: left out, no GPU is found" in capsys.readouterr().out
        assert json.loads(store.read_text(encoding="utf-8")) == stored


def test_a_gpu_is_told_on_the_page() -> None:
    card = speed.gpu_in_words("NVIDIA T4, 580.1, 15360 MiB\nNVIDIA T4, 580.1, 15360 MiB\n")
    assert card == "NVIDIA T4, 15360 MiB, driver 580.1"
    assert speed.gpu_in_words("No devices were found\n") is None
    machine = {"cpu": "Fast 1", "cores": 2, "memory_gb": 8, "versions": {"numpy": "2.0"}}
    result = {"what": "", "date": "2026-01-02", "command": "make", "measurements": []}
    assert f"8 GB, {card}; numpy 2.0." in speed.page(
        {"gpus": result | {"machine": machine | {"gpu": card}}}
    )
    assert "8 GB; numpy 2.0." in speed.page({"gpus": result | {"machine": machine}})


def test_runs_on_a_gpu_that_were_ended_are_taken_up(tmp_path: Path) -> None:
    runs = (("gpu_loop", {"size": 8}), ("gpu_loop", {"size": 9}), ("bare_fit", {"size": 8}))
    path, asked = tmp_path / "lines", []

    def measured(kind: str, settings: dict) -> dict[str, float]:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append((kind, settings))
        return {"still": float(len(asked))}

    with pytest.raises(KeyboardInterrupt):
        gpus.collected(runs, path, measured)
    path.write_text(path.read_text(encoding="utf-8") + '["bare_fit", {"si', encoding="utf-8")
    asked.clear()
    expected = [(*runs[0], {"still": 1.0}), (*runs[1], {"still": 2.0}), (*runs[2], {"still": 1.0})]
    assert gpus.collected(runs, path, measured) == expected
    assert asked == [runs[2]]
    asked.clear()
    assert gpus.collected(runs, path, measured) == expected
    assert not asked


def test_trainings_on_one_gpu_together() -> None:
    # 100 + 100 images between 10 s, when the first began, and 14 s, when the last ended.
    each = [
        {"images": 100, "begin": 10.0, "end": 13.0},
        {"images": 100, "begin": 10.5, "end": 14.0},
    ]
    assert gpus.together(each) == 50.0


def test_every_run_on_a_gpu_is_told_in_words_of_its_own() -> None:
    result = dict.fromkeys(
        ("still", "moved", "on_device", "start_up", "images_per_second", "together"), 1.0
    )
    names = [row.name for kind, own in gpus.RUNS for row in gpus.told(kind, own, result)]
    assert len(set(names)) == len(names)
    assert "224 px, batches of 64, mixed precision: the loop" in names
    assert "64 px, batches of 8: 4 trainings on one GPU, together" in names


def test_stored_page_is_that_of_the_stored_numbers(root: Path) -> None:
    stored = json.loads((root / "docs/benchmarks.json").read_text(encoding="utf-8"))
    assert (root / "docs/benchmarks.md").read_text(encoding="utf-8") == speed.page(stored)
