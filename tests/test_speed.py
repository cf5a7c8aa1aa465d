"""The benchmark's frame: limits, the page, and parts that are there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import speed
from speed_parts import demo, gpus


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
    path = tmp_path / "lines"
    assert gpus.kept(None) == gpus.kept(path) == {}
    path.write_text('["a", {"start_up": 1.5}]\n["b", {"sta', encoding="utf-8")
    assert gpus.kept(path) == {"a": {"start_up": 1.5}}
    assert path.read_text(encoding="utf-8") == '["a", {"start_up": 1.5}]\n'


WORKER = """
import json, pathlib, sys, time
settings = json.loads(sys.argv[1])
folder, size = pathlib.Path(settings["meeting"]), settings["size"]
if size == 13:
    sys.exit("it broke")
if size == 99:
    time.sleep(1)
(folder / f"{time.time_ns()}.warm").touch()
while not (folder / "go").exists():
    time.sleep(0.005)
begin = time.time()
time.sleep(0.1)
print(json.dumps({"images": 10, "begin": begin, "end": time.time(), "start_up": 2.0}))
"""


@pytest.mark.parametrize("patience", [60.0, 0.0])
def test_runs_on_a_gpu_are_timed_one_after_another(
    monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    started, order = [], []

    def start(name: str, **settings: object) -> subprocess.Popen:
        command = [sys.executable, "-c", WORKER, json.dumps(settings)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    spans = []

    def together(results: list[dict[str, float]]) -> float:
        spans.append((min(r["begin"] for r in results), max(r["end"] for r in results)))
        return sum(r["images"] for r in results)

    monkeypatch.setattr(gpus, "start", start)
    monkeypatch.setattr(gpus, "together", together)
    monkeypatch.setattr(gpus, "PATIENCE", patience)
    runs = [gpus.Run("gpu_loop", size, 8, jobs=1 + (size == 2)) for size in (99, 1, 2, 13)]
    found = {}
    for run, own in gpus.timed(runs):
        order.append(run.size)
        found[run.size] = own
    assert len(started) == 5
    assert "it broke" in str(found.pop(13))
    assert found[1] == found[99] == {"images_per_second": 10, "start_up": 2.0}
    assert found[2]["images_per_second"] == 20
    # The slow one is waited for where there is patience, and no two are timed at once.
    assert (order[-1] == 99) == (patience == 0.0)
    assert all(a[1] <= b[0] for a, b in zip(sorted(spans), sorted(spans)[1:], strict=False))


def test_trainings_on_one_gpu_together() -> None:
    # 100 + 100 images between 10 s, when the first began, and 14 s, when the last ended.
    each = [
        {"images": 100, "begin": 10.0, "end": 13.0},
        {"images": 100, "begin": 10.5, "end": 14.0},
    ]
    assert gpus.together(each) == 50.0


def test_every_run_on_a_gpu_is_told_in_words_of_its_own() -> None:
    runs = [run for group in gpus.GROUPS for run in group]
    result = {"images_per_second": 1.0, "start_up": 2.0}
    names = [row.name for row in gpus.told({run.name: result for run in runs})]
    assert len(set(names)) == len(names) > len(runs)
    assert "224 px, batches of 64, mixed precision: the loop" in names
    assert "64 px, batches of 8: 4 trainings on one GPU, together" in names
    assert "224 px, batches of 16, XLA: the loop: starting up" in names


def test_stored_page_is_that_of_the_stored_numbers(root: Path) -> None:
    stored = json.loads((root / "docs/benchmarks.json").read_text(encoding="utf-8"))
    assert (root / "docs/benchmarks.md").read_text(encoding="utf-8") == speed.page(stored)


def test_processes_tell_their_cpu_as_they_end(root: Path, tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.jsonl"
    scripts = tmp_path / ".snakemake/scripts"
    scripts.mkdir(parents=True)
    busy = "import os, time\nwhile time.process_time() < 0.3: pass\n"
    (scripts / "tmp1.train.py").write_text(busy)
    (scripts / "tmp2.figure.py").write_text(f"{busy}if os.fork() == 0: os._exit(0)\nos._exit(0)\n")
    told = {"PYTHONPATH": str(root / "benchmarks/speed_parts/_accounts"), "ACCOUNTS": str(accounts)}
    for script in sorted(scripts.iterdir()):
        subprocess.run([sys.executable, script], env=told, check=True)
    jobs = demo.jobs_of(accounts.read_text())
    assert [job.script for job in jobs] == ["train", "figure"]
    for job in jobs:
        assert job.cpu >= 0.3 and job.end > job.start


def test_busy_cores_by_hand() -> None:
    jobs = [
        demo.Job("download", 0, 10, 10),  # before: half of it counts
        demo.Job("train_segmenter", 5, 15, 8),
        demo.Job("train", 20, 25, 5),
        demo.Job("snakemake", 0, 50, 5),
        demo.Job("report", 30, 40, 10),  # after: nothing
    ]
    assert demo.busy(jobs) == pytest.approx((5 + 8 + 5 + 2) / 20)
