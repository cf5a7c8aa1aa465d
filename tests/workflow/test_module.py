"""The workflow inside another one: as a module, from a git host, beside the host's own rules."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from multiloss.job.errors import UserError
from multiloss.job.script import check_package

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = ROOT / "tests/studies/smallest.yaml"
LOCAL = f'"{ROOT}/workflow/Snakefile"'
REMOTE = 'github("somebody/multiloss", path="workflow/Snakefile", tag="v1")'

# A host with a rule, a script and settings of its own, which tells what has become of them.
HOST = """
import copy, json, os, sys

rule first:
    output: "host.txt"
    params: answer=42
    script: "scripts/train.py"

def state():
    return dict(os.environ), sys.executable, copy.deepcopy(config)

before, path = state(), list(sys.path)
report: "host.rst"

module multiloss:
    snakefile: {snakefile}
    config: {config}
    {prefix}

{use}

with open("told.json", "w") as told:
    added = [entry for entry in sys.path if entry not in path]
    params = list(workflow.get_rule("first").params.keys())
    local = sorted(name for name in workflow._localrules)
    json.dump({{"same": before == state(), "path": added, "default": workflow.default_target,
               "params": params, "report": str(workflow.report_text), "local": local}}, told)
"""


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """The folder of a host workflow, with a script named as one of ours."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "host.rst").write_text("The host's words.\n")
    (tmp_path / "scripts/train.py").write_text(
        "from pathlib import Path\n"
        "Path(snakemake.output[0]).write_text(str(snakemake.params.answer))\n"
    )
    return tmp_path


def write(
    folder: Path,
    snakefile: str = LOCAL,
    config: str = "config",
    prefix: str = "",
    use: str = "use rule * from multiloss",
) -> None:
    text = HOST.format(snakefile=snakefile, config=config, prefix=prefix, use=use)
    (folder / "Snakefile").write_text(text)


def snakemake(folder: Path, *options: str | Path, **environment: str):
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *map(str, options)]
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def planned(folder: Path, *options: str | Path, **environment: str) -> dict[str, int]:
    done = snakemake(folder, *options, "--dry-run", "--quiet", "rules", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(
        (name, int(count))
        for name, count in re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The jobs of the smallest study without a host."""
    folder = tmp_path_factory.mktemp("alone")
    return planned(folder, "--snakefile", ROOT / "workflow/Snakefile", "--configfile", SMALLEST)


def test_both_snakefiles_are_the_same_workflow(alone, tmp_path: Path) -> None:
    options = ("--configfile", SMALLEST)
    assert planned(tmp_path, "--snakefile", ROOT / "Snakefile", *options) == alone
    assert alone["all"] == alone["report"] == 1 and alone["train"] == 4


@pytest.mark.parametrize(
    ("prefix", "use", "name", "all_outputs"),
    [
        ("", "use rule * from multiloss", "{}", "all"),
        ('prefix: "below"', "use rule * from multiloss as ml_*", "ml_{}", "ml_all"),
        ('prefix: "in"', "use rule * from multiloss", "{}", "in/results/smallest/report.html"),
    ],
    ids=["plain", "names and folder", "folder"],
)  # fmt: skip
def test_host_plans_the_whole_study_and_keeps_what_is_its_own(
    host: Path, alone, prefix: str, use: str, name: str, all_outputs: str
) -> None:
    write(host, prefix=prefix, use=use)
    elsewhere = host / "elsewhere"
    elsewhere.mkdir()
    options = ("--configfile", SMALLEST, "--directory", elsewhere)
    jobs = planned(host, all_outputs, *options)
    expected = {name.format(rule): count for rule, count in alone.items() if rule != "total"}
    if not all_outputs.endswith("all"):
        del expected["all"]
    assert jobs == expected | {"total": sum(expected.values())}
    told = yaml.safe_load((elsewhere / "told.json").read_text())
    # Snakemake itself adds the folders that it includes Snakefiles from.
    added = {str(ROOT / "workflow"), str(ROOT / "workflow/rules")}
    assert set(told.pop("path")) <= added
    local = ("all", "attributes", "models", "redraw", "rank", "ensemble_tables", "seed_ensemble")
    local += ("segmentation_scores", "predict")
    ours = sorted(map(name.format, local))
    assert told == {
        "same": True, "default": "first", "params": ["answer"], "local": ours,
        "report": f"{host}/host.rst",
    }  # fmt: skip


def test_host_without_a_first_rule_makes_our_default_target(tmp_path: Path, alone) -> None:
    (tmp_path / "workflow").mkdir()
    (tmp_path / "config").mkdir()
    shutil.copy(SMALLEST, tmp_path / "config/config.yaml")
    # What snakedeploy writes.
    (tmp_path / "workflow/Snakefile").write_text(
        'configfile: "config/config.yaml"\nmodule multiloss:\n'
        f"    snakefile: {LOCAL}\n    config: config\nuse rule * from multiloss\n"
    )
    assert planned(tmp_path) == alone


def test_what_the_host_leaves_out_comes_from_our_defaults(host: Path) -> None:
    write(host, config='config["ours"]', use="use rule * from multiloss as ml_*")
    study = host / "study.yaml"
    study.write_text("{theirs: 1, ours: {study: partial, ensembles: {top_k: [3]}}}")
    jobs = planned(host, "ml_all", "--configfile", study)
    # The twelve losses of the default study, the baseline twice more for the average of three.
    assert jobs["ml_train"] == 12 + 2
    assert (jobs["ml_model_level"], jobs["ml_train_segmenter"]) == (1, 5)


def test_host_without_settings_for_us_has_the_default_study(host: Path) -> None:
    write(host, config="dict()", use="use rule * from multiloss as ml_*")
    assert planned(host, "results/demo/data/manifest.csv")["ml_splits"] == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('dict(theirs=1, study="x")', "Error: config: unknown key 'theirs'; known: "),
        ('dict(clases=["a", "b"])', "Error: config: unknown key 'clases'; did you mean 'classes'?"),
        ("[1, 2]", "Error: the module's config is a list, not a mapping of keys to values"),
    ],
)
def test_wrong_configuration_of_a_host_is_one_line(host: Path, config: str, message: str) -> None:
    write(host, config=config)
    done = snakemake(host, "--dry-run")
    assert done.returncode == 1
    [line] = [
        line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error: ")
    ]
    assert line.startswith(message)
    assert "Traceback" not in done.stdout + done.stderr


def test_rule_with_other_settings_takes_the_place_of_ours(host: Path, alone) -> None:
    own = "use rule train from multiloss as my_train with:\n    threads: 2\n"
    write(host, use=f"use rule * from multiloss\n{own}ruleorder: my_train > train")
    jobs = planned(host, "all", "--configfile", SMALLEST)
    assert (jobs.get("train"), jobs["my_train"]) == (None, alone["train"])


# A finished training's checkpoint lies beside its model until the whole run has succeeded.
def test_jobs_of_host_and_module_run_and_the_host_may_call_our_last_words(host: Path) -> None:
    write(host, prefix='prefix: "below"', use="use rule * from multiloss as ml_*")
    with (host / "Snakefile").open("a") as file:
        file.write("\nonsuccess:\n    multiloss.onsuccess()\n")
    model = host / "below/results/smallest/models/cce/0.keras"
    model.parent.mkdir(parents=True)
    checkpoint = model.with_suffix(".checkpoint.npz")
    for path in (model, checkpoint):
        path.touch()
    record = "below/results/smallest/data/downloads/lungs-test.json"
    done = snakemake(host, "host.txt", record, "--configfile", SMALLEST)
    assert done.returncode == 0, done.stderr
    assert (host / "host.txt").read_text() == "42"
    assert (host / record).is_file()
    assert "Finished in" in done.stdout
    assert model.exists() and not checkpoint.exists()
    # An edit of the host's script is nothing to us, and nothing is to be done twice.
    assert planned(host, record, "--configfile", SMALLEST, "--rerun-triggers", "params") == {}


@pytest.fixture(scope="module")
def git_host(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables that let `github.com/somebody/multiloss` at v1 be this working tree."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path_factory.mktemp("git host")
    copy = folder / "multiloss"
    ignored = shutil.ignore_patterns(".git", ".venv", ".*", "results", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=ignored, symlinks=True)
    commit = "-c user.name=x -c user.email=x@example.org commit -qm 1"
    for arguments in ("init -q", "add -A", commit, "tag v1"):
        subprocess.run(["git", *arguments.split()], cwd=copy, check=True)
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{folder}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/somebody/",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def test_tag_of_a_git_host_plans_and_runs(host: Path, alone, git_host: dict[str, str]) -> None:
    """From Snakemake's cache, without a checkout: package, scripts, schema, lock, environments."""
    write(host, snakefile=REMOTE)
    images = host / "own images"
    (images / "normal").mkdir(parents=True)
    study = yaml.safe_load(SMALLEST.read_text())
    # Without a checkout a relative path starts where the run works.
    source = {"name": "own", "role": "classification", "layout": "folders", "url": "../own images"}
    study["data"]["sources"].append(source)
    (host / "study.yaml").write_text(yaml.safe_dump(study))
    elsewhere = host / "elsewhere"
    elsewhere.mkdir()
    options = ("--configfile", host / "study.yaml", "--directory", elsewhere)
    jobs = planned(host, "all", *options, **git_host)
    assert jobs == alone | {"download": 4, "total": alone["total"] + 1}

    records = [f"results/smallest/data/downloads/{name}.json" for name in ("lungs-test", "own")]
    done = snakemake(host, *records, *options, **git_host)
    assert done.returncode == 0, done.stderr
    assert all((elsewhere / record).is_file() for record in records)
    told = yaml.safe_load((elsewhere / "told.json").read_text())
    assert told["same"]
    # The same code is the same code from a checkout: nothing is made again.
    write(host, snakefile=LOCAL)
    sources = study["data"]["sources"]
    sources[-1]["url"] = os.path.relpath(images, ROOT)
    (host / "study.yaml").write_text(yaml.safe_dump(study))
    assert planned(host, records[0], *options, "--rerun-triggers", "params") == {}


def test_git_files_under_other_names_are_refused(host: Path, git_host: dict[str, str]) -> None:
    folder = Path(git_host["XDG_CACHE_HOME"]).parent / "multiloss"
    write(host, snakefile=f'gitfile("{folder}", path="workflow/Snakefile", tag="v1")')
    done = snakemake(host, "--dry-run", **git_host)
    assert done.returncode == 1
    assert re.search(r"^Error: gitfile\(\) .* clone the repository", done.stdout, re.MULTILINE)


def test_two_versions_in_one_workflow_are_refused(host: Path, git_host: dict[str, str]) -> None:
    write(host)
    with (host / "Snakefile").open("a") as file:
        file.write(f"\nmodule other:\n    snakefile: {REMOTE}\n    config: config\n")
        file.write("use rule * from other as other_*\n")
    done = snakemake(host, "--dry-run", "--configfile", SMALLEST, **git_host)
    assert done.returncode == 1
    assert "Error: a workflow can use one version of multiloss" in done.stdout


def test_list_of_files_for_git_hosts_is_complete() -> None:
    """`make format` writes it."""
    wanted = {"CITATION.cff", "config.yaml", "requirements.lock"}
    for folder in ("multiloss", "phantom", "schemas", "scripts"):
        for path in (ROOT / "workflow" / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.name[0] != ".":
                wanted.add(str(path.relative_to(ROOT)))
    assert (ROOT / "workflow/files.txt").read_text().split() == sorted(wanted)


def test_another_package_on_the_path_of_a_job_is_named(tmp_path: Path) -> None:
    scripts = tmp_path / "workflow/scripts"
    scripts.mkdir(parents=True)
    (scripts.parent / "multiloss").mkdir()
    own = str(ROOT / "workflow/scripts")
    check_package([own])
    check_package([str(tmp_path), ""])
    (scripts / "multiloss.py").touch()
    check_package([str(scripts), own])
    with pytest.raises(UserError, match="take it off PYTHONPATH"):
        check_package([own, str(scripts)])


def test_scripts_find_the_package_by_themselves() -> None:
    code = "import sys; sys.path.append(sys.argv[1]); import multiloss, phantom;"
    code += "from multiloss.job import seeds;"
    code += "print(seeds.__file__, multiloss.__file__, multiloss.__version__)"
    environment = {"PYTHONPATH": "", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", code, ROOT / "workflow/scripts"],
        env=environment, cwd="/", capture_output=True, text=True, check=True,
    )  # fmt: skip
    seeds, package, version = done.stdout.split()
    assert seeds == str(ROOT / "workflow/multiloss/job/seeds.py")
    assert package == str(ROOT / "workflow/multiloss/__init__.py")
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)


def test_catalogue_finds_what_it_looks_for() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"]["conda"] is True
    assert "--sdm conda" in usage["mandatory-flags"]["flags"]
    assert (ROOT / "workflow/Snakefile").is_file()
    words = (ROOT / "config/README.md").read_text()
    assert (ROOT / "config/config.yaml").samefile(ROOT / "config.yaml")
    # The data to try it with, which come along.
    assert "tests/studies/smallest.yaml" in words and SMALLEST.is_file()
