"""One environment for each rule, made by Snakemake, and nothing taken from anywhere else.

Needs the conda testbed beside the checkout and a package index; `make test-conda`. It solves and
installs the environment files with a conda solver out of a local channel, and its leak guard
refuses whatever a script imports from outside of its environment.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTBED = ROOT.parent / "shared" / "conda-testbed"
RESULTS = "results/smallest"
DOWNLOADED = f"{RESULTS}/data/downloads/cxr.json"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (TESTBED / "up").exists(), reason="no conda testbed"),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """The environment variables with which the testbed stands in for conda."""
    folder = tmp_path_factory.mktemp("conda")
    # Its channel holds the Python that it is given; the files ask for this one.
    python = shutil.which("python3.11") or "python3"
    subprocess.run([TESTBED / "up", folder], env=os.environ | {"PYTHON": python}, check=True)
    shown = subprocess.run(
        ["bash", "-c", 'source "$1/env.sh" && env -0', "-", folder],
        check=True,
        capture_output=True,
        text=True,
    )
    variables = dict(line.split("=", 1) for line in shown.stdout.split("\0") if line)
    return variables | {"ENVIRONMENTS": str(folder / "environments")}


def snakemake(
    environment: dict[str, str], checkout: Path, folder: Path, *targets: str
) -> subprocess.CompletedProcess:
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [
            environment["TESTBED_SNAKEMAKE"], "--snakefile", checkout / "Snakefile",
            "--configfile", checkout / "tests/studies/smallest.yaml", "--directory", folder,
            "--sdm", "conda", "--conda-prefix", environment["ENVIRONMENTS"], "--cores", "2",
            *targets,
        ],
        env=environment | {"LEAKGUARD_ALLOW": str(checkout / "workflow")},
        capture_output=True,
        text=True,
    )  # fmt: skip


def with_tensorflow(environment: dict[str, str]) -> list[bool]:
    """For each environment that was made, whether it holds TensorFlow."""
    made = [path for path in Path(environment["ENVIRONMENTS"]).iterdir() if path.is_dir()]
    return [bool(list(path.glob("lib/*/site-packages/tensorflow"))) for path in made]


def changed_checkout(folder: Path, old: str, new: str) -> Path:
    """A copy of the checkout with another environment file for the rules that read data."""
    ignored = shutil.ignore_patterns(".git", ".venv", ".snakemake", "results", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=ignored)
    path = folder / "envs/data.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    return folder


def test_data_are_read_in_an_environment_without_tensorflow(environment, tmp_path):
    done = snakemake(environment, ROOT, tmp_path, f"{RESULTS}/tables/leakage.csv")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (tmp_path / RESULTS / "tables/leakage.csv").stat().st_size > 0
    assert with_tensorflow(environment) == [False]


def test_package_that_an_environment_lacks_is_missed(environment, tmp_path):
    line = next(
        line + "\n"
        for line in (ROOT / "envs/data.yaml").read_text(encoding="utf-8").splitlines()
        if "opencv" in line
    )
    checkout = changed_checkout(tmp_path / "checkout", line, "")
    done = snakemake(environment, checkout, tmp_path / "run", DOWNLOADED)
    assert done.returncode != 0
    assert "No module named 'cv2'" in done.stdout + done.stderr
    assert not (tmp_path / "run" / DOWNLOADED).exists()


def test_python_that_no_channel_has_is_refused(environment, tmp_path):
    checkout = changed_checkout(tmp_path / "checkout", "python =3.11", "python =3.99")
    done = snakemake(environment, checkout, tmp_path / "run", DOWNLOADED)
    assert done.returncode != 0
    assert "Could not create conda environment" in done.stdout + done.stderr
    assert not (tmp_path / "run" / DOWNLOADED).exists()


def test_whole_study_with_an_environment_for_each_rule(environment, tmp_path):
    done = snakemake(environment, ROOT, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (tmp_path / RESULTS / "report.html").stat().st_size > 100_000
    assert sum(with_tensorflow(environment)) == 1
