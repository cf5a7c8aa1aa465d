"""The closing messages, checked on hand-made benchmark files and real Snakemake logs."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from multiloss.job import summary

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def write_benchmark(path: Path, *seconds: float | str, rss: float | str = 100.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{value}\t0:00:01\t{rss}\t1\t1\t1\t0\t0\t0\t0\n" for value in seconds]
    path.write_text(HEADER + "".join(rows))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "demo"
    write_benchmark(folder / "benchmarks/train/cce/0.tsv", 30.0, rss=900.0)
    write_benchmark(folder / "benchmarks/train/focal/0.tsv", 40.0, 60.0, rss=1000.0)
    write_benchmark(folder / "benchmarks/download/phantom.tsv", 3.2, rss="NA")
    write_benchmark(folder / "benchmarks/crop.tsv", 7.0)
    write_benchmark(folder / "benchmarks/mask.tsv", "NA")
    return folder


def test_step_times_add_up_jobs_and_average_repeats(results: Path) -> None:
    steps = summary.step_times(results)
    assert [step.rule for step in steps] == ["train", "crop", "download"]
    train = steps[0]
    assert (train.jobs, train.seconds, train.longest_job) == (2, 80.0, "focal/0")
    assert (train.longest_seconds, train.max_rss) == (50.0, 1000.0)
    assert steps[2].max_rss is None


def test_success_ends_with_the_answer_and_a_link(results: Path) -> None:
    (results / "report.html").write_text("x")
    (results / "answer.txt").write_text("No loss was shown to beat cross-entropy.\n")
    lines = summary.success_message(results, 125.4).splitlines()
    assert lines[0] == "Finished in 2:05."
    assert "1:30 (4 jobs" in lines[1]
    assert lines[2].split()[:2] == ["train", "1:20"]
    assert "2 jobs, longest 0:50 (focal/0)" in lines[2]
    assert lines[-2:] == [
        "No loss was shown to beat cross-entropy.",
        (results / "report.html").as_uri(),
    ]
    assert lines[-1].startswith("file:///")


def test_success_without_report_or_benchmarks(tmp_path: Path) -> None:
    message = summary.success_message(tmp_path)
    assert message.splitlines() == [
        "Finished.",
        f"Results: {tmp_path} (this run did not ask for the report)",
    ]


def test_what_one_job_took_earlier(results: Path) -> None:
    assert summary.usual_seconds(results) == {"train": 40.0, "crop": 7.0, "download": 3.2}


def run_snakemake(folder: Path, text: str, *options: str) -> str:
    """Run a Snakefile whose onerror prints our message; return that message."""
    (folder / "Snakefile").write_text(textwrap.dedent(text))
    package = Path(summary.__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", *options],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    text = done.stdout + done.stderr
    return text[text.index("<<") + 2 : text.index(">>")]


ONERROR = """
from multiloss.job.summary import failure_message
onerror:
    print("<<" + failure_message(log) + ">>")
"""


def test_failure_of_a_real_run_shows_rule_log_and_last_lines(tmp_path: Path) -> None:
    message = run_snakemake(
        tmp_path,
        ONERROR
        + """
rule all:
    input: "x/cce.txt", "y.txt"
rule train:
    output: "x/{loss}.txt"
    log: "logs/tr ain/{loss}.log"
    message: "Train {wildcards.loss}"
    shell: "for i in $(seq 30); do echo line $i; done > '{log}'; exit 1"
rule second_try_works:
    output: "y.txt"
    log: "logs/y.log"
    retries: 1
    shell: "if [ -e tried ]; then touch {output}; else touch tried; exit 1; fi"
""",
        "--keep-going",
    )
    assert "Rule 'train' failed." in message
    assert "logs/tr ain/cce.log, which ends with:" in message
    assert "    line 30" in message and "    line 19" in message
    assert "line 18" not in message
    assert "second_try_works" not in message


def test_failure_without_log_and_with_outputs_left_out(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text(
        'MissingOutputException in rule crop in file "/x/Snakefile", line 19:\n'
        "Job 7  completed successfully, but some output files are missing.\n"
        "[Sun Nov 22 22:42:47 2026]\n"
        "Error in rule mask:\n"
        "    jobid: 4\n"
        "    input: a.txt\n"
        "    output: n/foc.txt\n"
        "Shutting down, this might take some time.\n"
    )
    message = summary.failure_message([str(log)])
    assert "Rule 'crop' failed: the job ended well but left outputs out." in message
    assert "Rule 'mask' failed." in message
    assert f"It has no log of its own; see {log}" in message


def test_grouped_jobs_on_a_cluster_are_indented(tmp_path: Path) -> None:
    job_log = tmp_path / "train.log"
    job_log.write_text("out of memory\n")
    log = tmp_path / "run.log"
    log.write_text(
        "    [Sun Nov 22 22:42:47 2026]\n"
        "    Error in rule train:\n"
        "        message: SLURM-job '3' failed\n"
        "        jobid: 4\n"
        f"        log: {job_log}, {tmp_path}/absent.log (check log file(s) for error details)\n"
        "        shell:\n"
        "            echo log: no\n"
    )
    message = summary.failure_message(log)
    assert "    out of memory" in message
    assert f"{tmp_path}/absent.log (empty: the job was ended before it could write)" in message


def test_failure_before_any_job(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("Building DAG of jobs...\nMissingInputException in rule crop\n")
    message = summary.failure_message(log)
    assert "no job did" in message and "    MissingInputException in rule crop" in message
    assert "before Snakemake began its log" in summary.failure_message(tmp_path / "none.log")
    assert "before Snakemake began its log" in summary.failure_message([])


def test_summary_imports_only_the_standard_library() -> None:
    package = Path(summary.__file__).resolve().parents[2]
    code = (
        "import sys; import multiloss.job.summary;"
        "print(sorted({'numpy', 'pandas', 'matplotlib', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
