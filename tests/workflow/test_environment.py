"""Lock file and environment files agree; the set-up finds a Python or says why not in one line."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import multiloss
import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
RULES = sorted((ROOT / "workflow/rules").glob("*.smk"))

# Names of packages where they differ from the name that is imported.
PACKAGE_OF = {
    "cv2": "opencv-python-headless",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "segmentation_models": "segmentation-models",
    "keras_applications": "keras-applications",
    "PIL": "pillow",
}


def lock_lines() -> list[str]:
    return (ROOT / "requirements.lock").read_text().splitlines()


def locked() -> dict[str, str]:
    """The versions of the lock file for Python 3.11 on Linux."""
    environment = {
        "python_version": "3.11",
        "python_full_version": "3.11.9",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    found = {}
    for line in lock_lines():
        if re.match(r"[A-Za-z0-9]", line):
            requirement = Requirement(line.rstrip(" \\"))
            if requirement.marker is None or requirement.marker.evaluate(environment):
                assert requirement.name not in found
                found[requirement.name] = str(requirement.specifier).removeprefix("==")
    return found


def pins(path: Path) -> dict[str, str]:
    """The `pip:` section of an environment file."""
    parts = yaml.safe_load(path.read_text())["dependencies"]
    listed = next(part["pip"] for part in parts if isinstance(part, dict))
    return dict(line.split("==") for line in listed)


def test_lock_names_no_place_and_has_a_digest_for_everything() -> None:
    text = "\n".join(lock_lines())
    assert "://" not in text
    assert " @ " not in text
    assert not re.search(r"^--?\w", text, re.MULTILINE), (
        "an option of some index stands in the lock"
    )
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text)
    assert all("--hash=sha256:" in block for block in blocks)


def test_lock_holds_all_direct_dependencies() -> None:
    wanted = [
        line.strip()
        for line in (ROOT / "requirements.in").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]
    assert set(wanted) <= set(locked())


def test_every_direct_dependency_is_used() -> None:
    commands = {"pytest-xdist", "ruff", "snakefmt", "snakemake-executor-plugin-slurm"}
    imported = set()
    for folder in ("workflow", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    imported |= {each.name.partition(".")[0] for each in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    imported.add(node.module.partition(".")[0])
    used = {PACKAGE_OF.get(name, name) for name in imported} | commands
    declared = {
        line
        for line in (ROOT / "requirements.in").read_text().splitlines()
        if line and not line.startswith("#")
    }
    assert declared - used == set()


def test_one_version_everywhere() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"$', text, re.MULTILINE)[1]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert multiloss.__version__ == citation["version"] == version
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (.+)$", changes, re.MULTILINE)[1] == version


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_environment_pins_are_the_locks(path: Path) -> None:
    versions = locked()
    assert pins(path) == {name: versions.get(name) for name in pins(path)}


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_environment_is_what_conda_can_install(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert content["channels"] == ["conda-forge"]
    assert content["dependencies"][:2] == ["python =3.11", "pip"]
    assert "://" not in path.read_text()
    # Snakemake would take such a file instead of the `pip:` section.
    assert not list(path.parent.glob(f"{path.stem}*.pin.txt"))


def test_only_one_environment_holds_tensorflow() -> None:
    heavy = {"tensorflow", "keras", "segmentation-models"}
    assert {path.stem for path in ENVIRONMENTS} == {"data", "tensorflow", "analysis"}
    assert heavy <= set(pins(ROOT / "envs/tensorflow.yaml"))
    for name in ("data", "analysis"):
        assert not heavy & set(pins(ROOT / f"envs/{name}.yaml"))


def rules() -> list[tuple[str, str, str]]:
    """(rule, environment, script) of every rule that runs a script."""
    found = []
    for path in RULES:
        for name, body in re.findall(
            r"^rule (\w+):\n(.*?)(?=^\S|\Z)", path.read_text(), re.MULTILINE | re.DOTALL
        ):
            environment = re.search(r'conda:\s*(?:ENVS \+ )?"(?:[./]*envs/)?(\w+)\.yaml"', body)
            script = re.search(r'script:\s*"\.\./scripts/(\w+\.py)"', body)
            assert environment and script, f"rule {name} lacks conda: or script:"
            # The digest of its code is that of its own script.
            assert re.findall(r'code=code_of\(\s*"(\w+\.py)"', body) == [script.group(1)], name
            found.append((name, environment.group(1), script.group(1)))
    return found


def loaded_at_start(path: Path) -> set[str]:
    """Dotted names that a module imports when it is itself imported (not inside functions)."""
    found = set()
    pending = list(ast.parse(path.read_text()).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += [
                child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)
            ]
    return found


def third_party(script: Path) -> set[str]:
    """Packages behind all that a script loads at its start, our own modules followed."""
    seen: set[Path] = set()
    outside: set[str] = set()
    pending = [script]
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in loaded_at_start(path):
            parts = name.split(".")
            if parts[0] != "multiloss":
                outside.add(parts[0])
                continue
            for length in range(1, len(parts) + 1):
                base = ROOT.joinpath("workflow", *parts[:length])
                for module in (base.with_suffix(".py"), base / "__init__.py"):
                    if module.is_file():
                        pending.append(module)
    names = outside - set(sys.stdlib_module_names)
    return {PACKAGE_OF.get(name, name) for name in names}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule[0])
def test_environment_of_a_rule_has_what_its_script_imports(rule: tuple[str, str, str]) -> None:
    _, environment, script = rule
    needed = third_party(ROOT / "workflow/scripts" / script)
    assert needed <= set(pins(ROOT / f"envs/{environment}.yaml"))


def test_container_holds_all_that_a_plan_reads(tmp_path: Path) -> None:
    sent = set((ROOT / ".dockerignore").read_text().splitlines())
    for line in (ROOT / "Containerfile").read_text().splitlines():
        if line.startswith("COPY "):
            *sources, target = line.split()[1:]
            for source in sources:
                assert f"!{source}" in sent
                into = tmp_path / target / (Path(source).name if target.endswith("/") else "")
                into.parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copyfile
                copy(ROOT / source, into)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", tmp_path / "Snakefile", "--dry-run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "LICENSE").is_file()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The set-up's files in a folder whose name would break an unquoted command."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    folder = tmp_path / "a checkout é"
    (folder / "envs").mkdir(parents=True)
    for name in ("Makefile", "envs/setup.sh"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "requirements.lock").write_text("# nothing to install\n")
    return folder


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHON"}
    # A `make` above this one (`make test`) must not speak to the one under test.
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        inherited.pop(name, None)
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=inherited | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


def stand_in(path: Path, changes: str) -> Path:
    """An interpreter that pretends: `changes` run before the code that it is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    code = f"import platform, struct, sys; {changes}; exec(sys.argv[1])"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c \'{code}\' "$2"\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ("sys.version_info = (2, 7, 18)", "Python 2.7 is too old"),
        ("sys.version_info = (3, 10, 13)", "Python 3.10 is too old"),
        ("sys.version_info = (3, 14, 0)", "Python 3.14 is too new for TensorFlow"),
        ("struct.calcsize = lambda kind: 4", "a 32-bit Python"),
        ("platform.python_implementation = lambda: sys.copyright[:4]", "does not run on Copy"),
        ("sys.modules.update(venv=None)", "it lacks ensurepip (apt-get install python3."),
        (
            "sys.modules.update(ensurepip=None, pip=None, virtualenv=None)",
            "it lacks ensurepip (apt-get install python3.",
        ),
        ("sys.exit(127)", "it does not start"),
    ],
)
def test_unfit_python_is_refused_in_one_line(checkout: Path, changes: str, complaint: str) -> None:
    python = stand_in(checkout / "my python", changes)
    done = make(checkout, "run", f"PYTHON={python}")
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert complaint in done.stderr
    assert "make run PYTHON=" in done.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("names", [[], ["python3"]])
def test_no_fitting_python_on_the_path(checkout: Path, names: list[str]) -> None:
    tools = checkout / "bin"
    tools.mkdir()
    for tool in ("make", "sh", "dirname", "cat", "nproc", "awk"):
        (tools / tool).symlink_to(shutil.which(tool))
    for name in names:
        stand_in(tools / name, "sys.version_info = (3, 9, 2)")
    done = make(checkout, "test", PATH=str(tools))
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    expected = "python3: Python 3.9 is too old" if names else "no Python found"
    assert expected in done.stderr
    assert "install Python 3.11, 3.12 or 3.13" in done.stderr


def test_installation_is_repeated_completed_and_renewed(checkout: Path) -> None:
    site = checkout / "site packages of the cluster"
    site.mkdir()
    first = make(checkout, "setup", f"PYTHON={sys.executable}", PYTHONPATH=str(site), PIP_USER="1")
    assert first.returncode == 0, first.stderr
    python = checkout / ".venv/bin/python"
    kept = checkout / ".venv/kept"
    kept.touch()

    again = make(checkout, "setup")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")

    # Cut off in the middle: no stamp, and a package whose files are not all there.
    (checkout / ".venv/.complete").unlink()
    half = next((checkout / ".venv/lib").glob("python*/site-packages")) / "half-1.0.dist-info"
    half.mkdir()
    (half / "METADATA").write_text("Metadata-Version: 2.1\nName: half\nVersion: 1.0\n")
    completed = make(checkout, "setup")
    assert completed.returncode == 0, completed.stderr
    assert not half.exists()
    assert kept.exists()

    # Another lock file: nothing of the older one stays.
    (checkout / "requirements.lock").write_text("# still nothing\n")
    renewed = make(checkout, "setup", f"PYTHON={sys.executable}")
    assert renewed.returncode == 0, renewed.stderr
    assert python.exists()
    assert not kept.exists()
