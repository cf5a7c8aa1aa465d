"""The frame around the rules' scripts: what a person sees, what the log keeps, how a job ends."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from jobs import Named
from multiloss.job.errors import UserError
from multiloss.job.script import run


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.chdir(tmp_path)
    return SimpleNamespace(
        rule="train",
        wildcards=Named(loss="cce", replicate="0"),
        log=[tmp_path / "l/cce.log"],
        input=[],
        output=Named(model=str(tmp_path / "models/cce/0.keras")),
    )


def outcome(main, job: SimpleNamespace, capsys: pytest.CaptureFixture) -> tuple[str, str]:
    """Run a script that must fail; return what it printed and what it logged."""
    with pytest.raises(SystemExit) as ended:
        run(main, job)
    assert ended.value.code == 1
    return capsys.readouterr().err, Path(job.log[0]).read_text()


def test_user_error_is_one_line_without_traceback(
    job: SimpleNamespace, capsys: pytest.CaptureFixture
) -> None:
    def main(snakemake: SimpleNamespace) -> None:
        raise UserError("manifest.csv: no column 'label': add it")

    shown, logged = outcome(main, job, capsys)
    assert shown == "[train/cce/0] Error: manifest.csv: no column 'label': add it\n"
    assert "no column 'label'" in logged
    assert "Traceback" not in logged


def test_crash_shows_one_line_and_logs_the_traceback(
    job: SimpleNamespace, capsys: pytest.CaptureFixture
) -> None:
    def main(snakemake: SimpleNamespace) -> None:
        raise ValueError("shapes do not match")

    shown, logged = outcome(main, job, capsys)
    assert shown.count("\n") == 1
    assert "ValueError: shapes do not match" in shown
    assert str(job.log[0]) in shown
    assert "Traceback (most recent call last)" in logged
    assert __file__ in logged


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_full_disk_names_the_reason_and_the_remedy(
    job: SimpleNamespace, capsys: pytest.CaptureFixture
) -> None:
    def main(snakemake: SimpleNamespace) -> None:
        Path("/dev/full").write_text("x")

    shown, logged = outcome(main, job, capsys)
    assert shown.count("\n") == 1
    assert "No space left on device" in shown
    assert "run again" in shown
    assert "Traceback" in logged


def test_missing_file_is_named(job: SimpleNamespace, capsys: pytest.CaptureFixture) -> None:
    def main(snakemake: SimpleNamespace) -> None:
        Path("no/such/file.csv").read_text()

    shown, _ = outcome(main, job, capsys)
    assert "No such file or directory 'no/such/file.csv'" in shown


@pytest.mark.parametrize(
    ("number", "again"),
    [
        *[(code, True) for code in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)],
        (errno.EPERM, True),
        *[(code, False) for code in (errno.ENAMETOOLONG, errno.ENOENT, errno.EIO, errno.ENODEV)],
    ],
)
def test_only_space_and_permissions_are_said_to_be_mended(
    job: SimpleNamespace, capsys: pytest.CaptureFixture, number: int, again: bool
) -> None:
    def main(snakemake: SimpleNamespace) -> None:
        raise OSError(number, os.strerror(number), "a.png")

    shown, _ = outcome(main, job, capsys)
    assert shown.count("\n") == 1 and f"{os.strerror(number)} 'a.png'" in shown
    assert ("free space or permissions mended" in shown) == again


def test_log_of_an_earlier_run_is_replaced(job: SimpleNamespace) -> None:
    Path(job.log[0]).parent.mkdir()
    Path(job.log[0]).write_text("old error\n")
    run(lambda snakemake: None, job)
    assert "old error" not in Path(job.log[0]).read_text()


def test_script_started_without_snakemake_says_how_it_is_meant(root: Path) -> None:
    scripts = set((root / "workflow/scripts").glob("*.py"))
    # That one leads the others to the package.
    for script in scripts - {root / "workflow/scripts/multiloss.py"}:
        text = script.read_text()
        assert 'run(main, globals().get("snakemake"))' in text, script.name
    done = subprocess.run(
        [sys.executable, root / "workflow/scripts/download.py"],
        env={"PYTHONPATH": str(root / "workflow")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == "this script is started by Snakemake: run `snakemake` on its output\n"


def test_a_job_ends_its_process_with_all_that_it_said(root: Path, tmp_path: Path) -> None:
    script = """\
import atexit, logging, types
from multiloss.job.script import run

def main(snakemake):
    print("made")
    logging.getLogger("multiloss").info("as it was")

atexit.register(print, "taken apart")
snakemake = types.SimpleNamespace(rule="r", wildcards=[], log=["r.log"], input=[], output=[])
run(main, snakemake)
print("after")
"""
    path = tmp_path / "job.py"
    path.write_text(script)
    done = subprocess.run(
        [sys.executable, path],
        env={"PYTHONPATH": str(root / "workflow")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "made\n", "[r] as it was\n")
    assert "INFO multiloss: as it was" in (tmp_path / "r.log").read_text()
    # Whoever runs a script within a process of their own keeps it.
    within = f"import runpy; runpy.run_path({str(path)!r}, run_name='__main__'); print('kept')"
    done = subprocess.run(
        [sys.executable, "-c", within],
        env={"PYTHONPATH": str(root / "workflow")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "made\nafter\nkept\ntaken apart\n"
