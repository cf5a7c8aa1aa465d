"""A change in the package's code changes the digest of what runs it, and of nothing else."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from multiloss import code

SOURCE = Path(code.__file__).parent


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package to edit."""
    folder = tmp_path / "multiloss"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "PACKAGE", folder)
    forget()
    return folder


def forget() -> None:
    for cached in (code.digest, code.imports, code._content, code._tree):
        cached.cache_clear()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    forget()


def losses() -> dict[str, str]:
    names = ("cce", "focal", "calibrated_focal", "label_smoothed_cce", "hinge")
    return {
        name: code.digest(frozenset({"training"}), frozenset({("classification", name)}))
        for name in names
    }


def changed(before: dict[str, str]) -> set[str]:
    after = losses()
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        # A function that three of them call, one of them by way of nothing else.
        ("losses/classification.py", "ops.power(1.0 - p, gamma)", "ops.power(1.1 - p, gamma)",
         {"focal", "calibrated_focal"}),
        ("losses/classification.py", "y * (1.0 - s)", "y * (1.0 - s / 2)", {"label_smoothed_cce"}),
        # The base class of the calibrated ones.
        ("losses/classification.py", "self.beta * ops.abs", "2 * self.beta * ops.abs",
         {"calibrated_focal"}),
        # What all are made of, and what all trainings run.
        ("losses/registry.py", "1.0 - epsilon", "1.0 - 2 * epsilon",
         {"cce", "focal", "calibrated_focal", "label_smoothed_cce", "hinge"}),
        ("seeds.py", "def derive", "EDITED = 1\n\n\ndef derive",
         {"cce", "focal", "calibrated_focal", "label_smoothed_cce", "hinge"}),
        # A new loss, another formula in words, code of other steps: nothing.
        ("losses/classification.py", '@loss("cce")',
         '@loss("new")\nclass New(ClassificationLoss):\n    pass\n\n\n@loss("cce")', set()),
        ("losses/classification.py", '    """Focal loss', '    # why\n    """A focal loss', set()),
        ("losses/segmentation.py", "SMALLEST_GAP = 1e-7", "SMALLEST_GAP = 1e-6", set()),
        ("evaluation/scores.py", "from ", "EDITED = 1\nfrom ", set()),
    ],
)  # fmt: skip
def test_edit_reaches_the_losses_that_it_is_about(
    package: Path, file: str, old: str, new: str, expected: set[str]
) -> None:
    before = losses()
    edit(package / file, old, new)
    assert changed(before) == expected


def test_template_belongs_to_the_report(package: Path) -> None:
    report, metrics = code.digest(frozenset({"report"})), code.digest(frozenset({"metrics"}))
    edit(package / "report/page.html.j2", "<", "<!-- edited --><")
    assert code.digest(frozenset({"report"})) != report
    assert code.digest(frozenset({"metrics"})) == metrics


@pytest.mark.parametrize(
    ("file", "redrawn"),
    [
        ("figures/gradcam.py", {"gradcam"}),
        ("figures/comparisons.py", {"comparisons"}),
        ("localisation.py", {"gradcam"}),
        ("figures/style.py", {"gradcam", "comparisons"}),
        # What it says of a figure is a parameter of that figure's job.
        ("figures/catalog.py", set()),
    ],
)
def test_a_figure_is_redrawn_for_the_code_that_draws_it(
    package: Path, file: str, redrawn: set[str]
) -> None:
    def digests() -> dict[str, str]:
        return {
            name: code.digest(
                frozenset({"figures.catalog", "figures.drawing", f"figures.{name}"}),
                without=frozenset({"figures.catalog"}),
            )
            for name in ("gradcam", "comparisons")
        }

    before = digests()
    path = package / file
    path.write_text(path.read_text(encoding="utf-8") + "\nEDITED = True\n", encoding="utf-8")
    forget()
    assert {name for name, found in digests().items() if found != before[name]} == redrawn


def test_imports_are_found_wherever_they_stand(package: Path) -> None:
    path = package / "edited.py"
    path.write_text(
        '"""Nothing."""\n\nimport os\nfrom multiloss import seeds, __version__\n\n\n'
        "def later():\n    from multiloss.figures.style import Style\n    return Style, seeds\n",
        encoding="utf-8",
    )
    assert code.imports(path) == {"seeds", "figures", "figures.style"}


def test_edited_module_runs_again_what_it_made_and_a_comment_nothing(tmp_path: Path) -> None:
    checkout, target = tmp_path / "checkout", "results/smallest/data/downloads/lungs-test.json"
    ignored = shutil.ignore_patterns(".git", ".venv", ".snakemake", "results", "__pycache__")
    shutil.copytree(SOURCE.parents[1], checkout, ignore=ignored)

    def snakemake(*options: str) -> str:
        command = [sys.executable, "-m", "snakemake", target, "--cores", "1", *options]
        command += ["--configfile", "tests/studies/smallest.yaml"]
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    snakemake()
    edit(checkout / "workflow/multiloss/losses/segmentation.py", "1e-7", "1e-6")
    edit(checkout / "workflow/multiloss/phantom/tissue.py", "import numpy", "# why\nimport numpy")
    assert "Nothing to be done" in snakemake("--dry-run")
    edit(
        checkout / "workflow/multiloss/phantom/tissue.py",
        "import numpy",
        "EDITED = 1\nimport numpy",
    )
    assert re.search(r"^download +1$", snakemake("--dry-run", "--quiet", "rules"), re.MULTILINE)
