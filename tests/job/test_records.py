"""What was written is what is read, whatever bit flips; and one job at a time writes it."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from jobs import Named
from multiloss import predictions as predictions_of_models
from multiloss.job import files, records
from multiloss.job.errors import UserError
from multiloss.job.script import run

SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def manifest() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(8)],
            "label": ["normal", "viral"] * 4,
            "patient_id": [f"P{k}" for k in range(8)],
            "split": ["train", "val", "ensemble", "test"] * 2,
            "width": range(60, 68),
        }
    )


def predictions(first: float) -> pd.DataFrame:
    table = manifest().drop(columns="width")
    return table.assign(p_normal=first, p_viral=1 - first)


def outputs() -> dict[str, Path]:
    """One of each kind of file, written and recorded as a job does it."""
    made = {
        name: Path("results/s", name)
        for name in (
            "manifest.csv", "cce.csv", "focal.csv", "images.npy", "maps.npz", "scores.csv",
        )
    }  # fmt: skip
    files.write_csv(manifest(), made["manifest.csv"])
    files.write_csv(predictions(0.25), made["cce.csv"])
    files.write_csv(predictions(0.625), made["focal.csv"])
    files.write_csv(pd.DataFrame({"loss": ["cce"], "dice": [0.5]}), made["scores.csv"])
    rng = np.random.default_rng(0)
    np.save(made["images.npy"], rng.integers(0, 256, (8, 16, 16), dtype=np.uint8))
    np.savez(made["maps.npz"], maps=rng.random((2, 4, 4)))
    records.write(made.values())
    return made


def test_record_is_the_sha256_and_lies_with_snakemakes_own(folder):
    Path("results").mkdir()
    Path("results/abc.json").write_bytes(b"abc")
    Path("results/masks").mkdir()
    records.write(["results/abc.json", folder / "results/masks"])
    found = json.loads(Path(".snakemake/digests/results/abc.json.json").read_text())
    assert found == {"sha256": SHA256_OF_ABC, "facts": None}
    assert records.place(folder / "results/abc.json") == records.place("results/abc.json")
    assert records.place("../x.csv") == Path(".snakemake/digests/__/x.csv.json")
    records.check(["results/abc.json", "results/masks", "put here by hand", "results"])


@pytest.mark.parametrize(
    "name", ["manifest.csv", "cce.csv", "images.npy", "maps.npz", "scores.csv"]
)
def test_every_flipped_bit_is_refused_by_name(folder, name):
    """The date kept, as by a failing disk."""
    path = outputs()[name]
    content, date = path.read_bytes(), path.stat().st_mtime_ns
    rng = np.random.default_rng(1)
    for bit in rng.choice(8 * len(content), 60, replace=False):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        os.utime(path, ns=(date, date))
        with pytest.raises(UserError, match=f"^{path}: damaged or exchanged.*delete") as caught:
            records.check([path])
        assert "\n" not in str(caught.value)
    path.write_bytes(content)
    records.check([path])


@pytest.mark.parametrize("name", ["manifest.csv", "cce.csv", "images.npy"])
@pytest.mark.parametrize("rows", [1, 3, 7])
def test_lost_rows_are_refused_also_with_a_new_date(folder, name, rows):
    path = outputs()[name]
    if name == "images.npy":
        np.save(path, np.load(path)[:rows])
    else:
        path.write_text("".join(path.read_text().splitlines(keepends=True)[: rows + 1]))
    date_later(path)
    with pytest.raises(UserError, match=f"^{path}: damaged or exchanged"):
        records.check([path])


def date_later(path: Path) -> None:
    later = time.time() + 10
    os.utime(path, (later, later))


def test_exchanged_files_are_refused(folder):
    made = outputs()
    made["cce.csv"].rename("kept")
    made["focal.csv"].rename(made["cce.csv"])
    Path("kept").rename(made["focal.csv"])
    for name in ("cce.csv", "focal.csv"):
        with pytest.raises(UserError, match=f"^results/s/{name}: damaged or exchanged"):
            records.check([made[name]])
    records.check([made["manifest.csv"]])


def edited(table: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    table = table.copy()
    table.loc[3, column] = value
    return table


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("manifest.csv", edited(manifest(), "split", "train")),
        ("manifest.csv", edited(manifest(), "label", "normal")),
        ("cce.csv", predictions(0.75)),
    ],
)
def test_own_decisions_of_a_later_date_are_taken_and_said(folder, caplog, name, table):
    path = outputs()[name]
    files.write_csv(table, path)
    date_later(path)
    records.check([path])
    assert f"{path} was edited after it was written" in caplog.text


@pytest.mark.parametrize(
    ("column", "value"), [("image_id", "i9"), ("patient_id", "P1"), ("width", 61)]
)
def test_edited_facts_are_refused_until_their_record_is_deleted(folder, column, value):
    path = outputs()["manifest.csv"]
    files.write_csv(edited(manifest(), column, value), path)
    date_later(path)
    record = ".snakemake/digests/results/s/manifest.csv.json"
    with pytest.raises(UserError, match=f"or delete {record} to use it as it is"):
        records.check([path])
    Path(record).unlink()
    records.check([path])


def test_facts_are_the_sha256_of_the_table_without_its_decisions(folder):
    """As JSON of header and rows: records of earlier versions hold the same."""
    text = 'image_id,label,split,path\na,x,train,"a,\u00e4.png"\nb,y,test,b.png\n'
    Path("table.csv").write_text(text, encoding="utf-8")
    records.write(["table.csv"])
    header = ["image_id", "label", "split", "path"]
    told = json.dumps([header, [["a", "a,\u00e4.png"], ["b", "b.png"]]])
    expected = hashlib.sha256(told.encode()).hexdigest()
    assert json.loads(records.place("table.csv").read_text())["facts"] == expected


def test_copied_study_is_still_known_without_its_dates(folder):
    outputs()
    shutil.copytree(folder, folder / "copy", copy_function=shutil.copyfile)
    os.chdir("copy")
    made = Path("results/s")
    records.check(made.iterdir())
    with open(made / "images.npy", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    with pytest.raises(UserError, match="images.npy"):
        records.check(made.iterdir())


def job(**parts: object) -> SimpleNamespace:
    usual = {"rule": "predict", "wildcards": ["cce"], "log": ["job.log"], "input": []}
    return SimpleNamespace(**usual | {"output": Named(x="x.csv")} | parts)


def test_frame_records_outputs_and_refuses_damaged_inputs(folder, capsys):
    def write(snakemake: SimpleNamespace) -> None:
        files.write_text("a\n1\n", snakemake.output.x)

    def never(snakemake: SimpleNamespace) -> None:
        raise AssertionError("a damaged input was used")

    run(write, job())
    records.check(["x.csv"])
    Path("x.csv").write_text("a\n2\n")
    with pytest.raises(SystemExit, match="1"):
        run(never, job(input=Named(tables=["x.csv"]), output=Named(y="y.csv")))
    shown = capsys.readouterr().err
    assert shown.startswith("[predict/cce] Error: x.csv: damaged or exchanged")
    assert shown.count("\n") == 1 and not Path("y.csv").exists()


JOB = """
import os, sys, time
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
from multiloss.job.files import write_text
from multiloss.job.script import run

name, leave = sys.argv[2:]

def main(snakemake):
    log = open("order", "a", buffering=1)
    print(name, "begins", file=log)
    while not Path(leave).exists():
        time.sleep(0.02)
    for output in snakemake.output:
        write_text(name, output)
    print(name, "ends", file=log)

run(main, SimpleNamespace(rule="train", wildcards=["cce"], log=["job.log"], input=[],
                          output=["models/0.keras", "models/0.history.csv"]))
"""


def start(root: Path, name: str, leave: str) -> subprocess.Popen:
    command = [sys.executable, "-c", JOB, str(root / "workflow"), name, leave]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for(condition) -> None:
    for _ in range(1500):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def order() -> list[str]:
    return Path("order").read_text().splitlines() if Path("order").exists() else []


def test_second_job_waits_for_the_first_and_says_for_whom(root, folder):
    first = start(root, "first", "leave")
    wait_for(order)
    second = start(root, "second", "leave")
    said = second.stderr.readline()
    assert f"waiting: process {first.pid} on " in said and "making models/0.keras" in said
    assert order() == ["first begins"]
    Path("leave").touch()
    assert first.wait() == 0 and second.wait() == 0
    assert order() == ["first begins", "first ends", "second begins", "second ends"]
    assert {path.read_text() for path in Path("models").iterdir()} == {"second"}
    records.check(Path("models").iterdir())
    for process in (first, second):
        process.stderr.close()


def test_killed_job_holds_nothing(root, folder):
    with start(root, "first", "never") as first:
        wait_for(order)
        first.send_signal(signal.SIGKILL)
    Path("leave").touch()
    with start(root, "second", "leave") as second:
        assert second.wait() == 0
        assert "waiting" not in second.stderr.read()
    assert order() == ["first begins", "second begins", "second ends"]
    assert sorted(path.name for path in Path("models").iterdir()) == ["0.history.csv", "0.keras"]


SNAKEFILE = """
rule train:
    output: "results/0.keras"
    log: "train.log"
    script: "train.py"
"""
SCRIPT = """
import os, time
from pathlib import Path
from multiloss.job.files import write_text
from multiloss.job.script import run

def main(snakemake):
    mine = f"run {len(list(Path().glob('begun.*')))}"
    Path(f"begun.{os.getpid()}").touch()
    begun, ended = (len(list(Path().glob(f"{name}.*"))) for name in ("begun", "ended"))
    assert begun == ended + 1, "side by side"
    while not Path("leave").exists():
        time.sleep(0.05)
    write_text(mine, snakemake.output[0])
    Path(f"ended.{os.getpid()}").touch()

run(main, globals().get("snakemake"))
"""


def test_run_after_a_killed_snakemake_waits_for_its_orphan(root, folder):
    """SIGKILL to Snakemake alone; its job lives on, and the next run's waits for it."""
    Path("Snakefile").write_text(SNAKEFILE)
    Path("train.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--rerun-incomplete"]
    environment = os.environ | {"PYTHONPATH": str(root / "workflow")}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    begun, log = (lambda: list(Path().glob("begun.*"))), Path("second.log")
    with subprocess.Popen(command, **quiet) as first:
        wait_for(begun)
        first.kill()
    orphan = int(begun()[0].suffix[1:])
    os.kill(orphan, 0)  # still there
    assert subprocess.run([*command, "--unlock"], **quiet).returncode == 0
    with log.open("w") as shown:
        options = quiet | {"stdout": shown, "stderr": shown}
        with subprocess.Popen(command, **options) as second:
            wait_for(lambda: f"waiting: process {orphan} on" in log.read_text())
            assert len(begun()) == 1
            Path("leave").touch()
            assert second.wait() == 0, log.read_text()
    assert len(begun()) == 2
    assert Path("results/0.keras").read_text() == "run 1"
    assert [path.name for path in Path("results").iterdir()] == ["0.keras"]
    records.check(["results/0.keras"])


def test_flips_in_predictions_without_a_record_change_nothing_either(folder):
    """Rows sum to 1 in their digits, and all files are about the same images."""
    rng = np.random.default_rng(2)
    for name in ("cce", "focal"):
        table = manifest().drop(columns="width")
        p = rng.dirichlet([1, 1, 1], len(table))
        columns = ["p_normal", "p_viral", "p_NA"]
        files.write_csv(table.join(pd.DataFrame(p, columns=columns)), f"{name}.csv")
    classes = ["normal", "viral", "NA"]
    whole = predictions_of_models.read(["cce.csv", "focal.csv"], classes)
    content, refused = Path("focal.csv").read_bytes(), 0
    for bit in range(0, 8 * len(content), 7):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        Path("focal.csv").write_bytes(damaged)
        try:
            found = predictions_of_models.read(["cce.csv", "focal.csv"], classes)
        except UserError as error:
            assert "focal.csv" in str(error)
            refused += 1
        else:
            assert found.rows.equals(whole.rows)
            np.testing.assert_allclose(found.p, whole.p, rtol=0, atol=2e-8)
    assert refused > 500
