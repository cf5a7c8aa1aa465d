"""A change in the package's code changes the digest of what runs it, and of nothing else."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from multiloss.job import code

SOURCE = Path(code.__file__).parents[1]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package to edit."""
    folder = tmp_path / "multiloss"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "PACKAGE", folder)
    forget()
    return folder


def forget() -> None:
    for cached in (
        code.digest,
        code.imports,
        code._file,
        code._beside,
        code._content,
        code._tree,
    ):
        cached.cache_clear()


def digest(*modules: str, **options: frozenset) -> str:
    """Digest of modules alone: the script is an empty file."""
    return code.digest(Path(os.devnull), frozenset(modules), **options)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    forget()


def shape(text: str, folder: Path) -> str:
    path = folder / "edited.py"
    path.write_text(text, encoding="utf-8")
    forget()
    return code._content(path)


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("x = 1\n", "x = 1  # why\n", True),
        ("x = [1, 2]\n", "x = [\n    1,\n    2,\n]\n", True),
        ("x = 'a'\n", 'x = (u"a")\r\n', True),
        ("x = 'ab'\n", "x = 'a' 'b'\n", True),
        ("x = f'a{y}b'\n", "x = 'a' f'{y}' 'b'\n", True),
        ("x = f'{y}'\n", "x = f'{y}' ''\n", True),
        ("def f():\n    '''Why.'''\n    return 1\n", "def f():\n    return 1\n", True),
        ("class A:\n    x: int = 1\n    '''Of A.'''\n", "class A:\n    x: int = 1\n", True),
        ("async def f():\n    '''Why.'''\n    return 1\n", "async def f():\n    return 1\n", True),
        # What has an effect.
        ("x = 1\n", "x = 1.0\n", False),
        ("x = 1\n", "x = True\n", False),
        ("x = 'a'\n", "x = b'a'\n", False),
        ("x = ['', 'a']\n", "x = ['a']\n", False),
        ("x = f'{y}'\n", "x = f'{y!r}'\n", False),
        ("x = f'{y:.2f}'\n", "x = f'{y:.3f}'\n", False),
        ("x = f'{y:>{w}}'\n", "x = f'{y:<{w}}'\n", False),
        ("def f():\n    return None\n", "def f():\n    return 0\n", False),
        ("def f(a, *, b=1): pass\n", "def f(a, b=1): pass\n", False),
        ("def f(*, a, b=1): pass\n", "def f(*, a=1, b): pass\n", False),
        ("x = {'a': 1, **y}\n", "x = {**y, 'a': 1}\n", False),
        ("x = -y\n", "x = +y\n", False),
        ("x = y < z\n", "x = y <= z\n", False),
        ("from a import b\n", "from a import b as c\n", False),
        ("@f\ndef g(): pass\n", "def g(): pass\n", False),
    ],
)  # fmt: skip
def test_only_what_has_an_effect_counts(
    tmp_path: Path, before: str, after: str, same: bool
) -> None:
    assert (shape(before, tmp_path) == shape(after, tmp_path)) == same


# What the syntax trees of Python 3.11, 3.12 and 3.13 tell in different ways, and more.
SYNTAX = """
import os
def f(a, /, b: int = 2, *c, d, e="é\\u0378", **g) -> "str | None":
    '''Docstring.'''
    with open(a) as h, open(b): ...
    try:
        return f"{a!r:>{b}}" f"{{{c:}}}" '' f"{d=}" u"ü" if b else rf"{e:{b}.{g}f}\\n"
    except* (OSError, ValueError) as error:
        raise KeyError(1e400, 1_000j, b"x", ...) from error
class A(list, metaclass=type):
    x: int
    async def g(self): return [await y async for y in self if (z := y) is not None]
match os.name:
    case {"a": [1, *_], **rest} | A(x=None): t = lambda *, k=None: (yield)
    case _: pass
"""


def pythons() -> list[str]:
    """Other interpreters of this machine, on the path or where pyenv keeps them."""
    names = [f"python3.{minor}" for minor in range(11, 15)]
    folder = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {path for name in names if (path := shutil.which(name))}
    found |= {str(path) for name in names for path in folder.glob(f"*/bin/{name}")}
    works = {path: subprocess.run([path, "-V"], capture_output=True) for path in found}
    return sorted(path for path, done in works.items() if done.returncode == 0)


def test_digest_is_this_one_in_any_python(tmp_path: Path) -> None:
    found = hashlib.sha256(shape(SYNTAX, tmp_path).encode()).hexdigest()
    assert found == "7136c637acc6173f08862b9f91051aa1198785edc133121bd2d25b270ec31617"


def test_every_python_gives_every_file_the_same_digest(root: Path) -> None:
    program = (
        "import hashlib, sys; from pathlib import Path; from multiloss.job import code;"
        "files = sorted(Path(sys.argv[1]).rglob('*.py')); assert len(files) > 100;"
        "texts = [code._content(path) for path in files];"
        "jobs = sorted(Path(sys.argv[1], 'scripts').glob('*.py')); assert len(jobs) > 20;"
        "texts += [code.digest(path, code.imports(path)) for path in jobs];"
        "print(*(hashlib.sha256(text.encode()).hexdigest() for text in texts))"
    )
    told = {
        python: subprocess.run(
            [python, "-c", program, root / "workflow"],
            env={"PYTHONPATH": str(root / "workflow"), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for python in [sys.executable, *pythons()]
    }
    assert len(set(told.values())) == 1, sorted(told)


def losses() -> dict[str, str]:
    names = ("cce", "focal", "calibrated_focal", "label_smoothed_cce", "hinge")
    return {
        name: digest("networks.training", losses=frozenset({("classification", name)}))
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
        ("losses/base.py", "1.0 - epsilon", "1.0 - 2 * epsilon",
         {"cce", "focal", "calibrated_focal", "label_smoothed_cce", "hinge"}),
        ("job/seeds.py", "def derive", "EDITED = 1\n\n\ndef derive",
         {"cce", "focal", "calibrated_focal", "label_smoothed_cce", "hinge"}),
        # A new loss, another formula in words, code of other steps: nothing.
        ("losses/classification.py", '@loss("cce", ',
         '@loss("new")\nclass New(ClassificationLoss):\n    pass\n\n\n@loss("cce", ', set()),
        # What people call it, and what it is compared with.
        ("losses/classification.py", 'title="cross-entropy"', 'title="log loss"', set()),
        ("losses/classification.py", 'plain="focal"', 'plain="cce"', set()),
        ("losses/classification.py", '    """Focal loss plus', '    """A focal loss plus', set()),
        ("losses/segmentation.py", "SMALLEST_LOSS = 1e-7", "SMALLEST_LOSS = 1e-6", set()),
        ("evaluation/scores.py", "from ", "EDITED = 1\nfrom ", set()),
    ],
)  # fmt: skip
def test_edit_reaches_the_losses_that_it_is_about(
    package: Path, file: str, old: str, new: str, expected: set[str]
) -> None:
    before = losses()
    edit(package / file, old, new)
    assert changed(before) == expected


def test_end_of_the_last_line_is_no_content(tmp_path: Path) -> None:
    for name, end in (("a.j2", "\n"), ("b.j2", "")):
        (tmp_path / name).write_text(f"one\ntwo{end}")
    assert code._content(tmp_path / "a.j2") == code._content(tmp_path / "b.j2") == "one\ntwo"


def test_template_belongs_to_the_report(package: Path) -> None:
    report, metrics = digest("report"), digest("statistics.metrics")
    (package / "report/.page.html.j2.swp").write_bytes(b"\xff")
    (package / "report/page.html.j2~").write_text("what an editor leaves behind")
    forget()
    assert digest("report") == report
    edit(package / "report/page.html.j2", "<", "<!-- edited --><")
    assert digest("report") != report
    assert digest("statistics.metrics") == metrics
    report = digest("report")
    edit(package / "figures/catalog.yaml", "Flow of images", "Ways of images")
    assert digest("report") != report


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("losses/segmentation.py", "Overlap loss that", "A loss that"),
        ("ensembles/combiners.py", "The class that most", "What most"),
        ("statistics/metrics.py", "Agreement beyond", "Agreement above"),
        ("report/references.yaml", "Rational decisions", "Decisions"),
    ],
)
def test_words_of_the_registries_belong_to_the_report(
    package: Path, file: str, old: str, new: str
) -> None:
    report, judging = digest("report"), digest("evaluation", "optimism")
    edit(package / file, old, new)
    assert digest("report") != report
    assert digest("evaluation", "optimism") == judging


@pytest.mark.parametrize(
    ("file", "redrawn"),
    [
        ("figures/heat_maps.py", {"heat_maps"}),
        ("figures/comparisons.py", {"comparisons"}),
        ("gradcam/localisation.py", {"localisation"}),
        ("figures/style.py", {"heat_maps", "localisation", "comparisons"}),
        # What it says of a figure reaches that figure's job as parameters.
        ("figures/catalog.py", set()),
        ("figures/catalog.yaml", set()),
    ],
)
def test_a_figure_is_redrawn_for_the_code_that_draws_it(
    package: Path, file: str, redrawn: set[str]
) -> None:
    def digests() -> dict[str, str]:
        return {
            name: digest("figures.drawing", f"figures.{name}")
            for name in ("heat_maps", "localisation", "comparisons")
        }

    before = digests()
    path = package / file
    path.write_text(path.read_text(encoding="utf-8") + "\nEDITED = True\n", encoding="utf-8")
    forget()
    assert {name for name, found in digests().items() if found != before[name]} == redrawn


def test_imports_are_found_wherever_they_stand(package: Path) -> None:
    path = package / "edited.py"
    path.write_text(
        '"""Nothing."""\n\nimport os\nfrom multiloss import study, __version__\n\n\n'
        "def later():\n    from multiloss.figures.style import Style\n    return Style, study\n"
        "try:\n    pass\nexcept ValueError:\n    import multiloss.predictions\n"
        "match 1:\n    case 1:\n        from multiloss.losses import base\n"
        "for _ in ():\n    pass\nelse:\n    import multiloss.registry\n",
        encoding="utf-8",
    )
    assert code.imports(path) == {
        *("study", "figures", "figures.style", "predictions", "losses", "losses.base"),
        "registry",
    }


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
    edit(checkout / "workflow/phantom/tissue.py", "import numpy", "# why\nimport numpy")
    assert "Nothing to be done" in snakemake("--dry-run")
    edit(
        checkout / "workflow/phantom/tissue.py",
        "import numpy",
        "EDITED = 1\nimport numpy",
    )
    assert re.search(r"^download +1$", snakemake("--dry-run", "--quiet", "rules"), re.MULTILINE)


def test_networks_are_trained_again_for_no_table_and_no_interval(root: Path) -> None:
    """What trains, and what the images come from, runs no code of what judges afterwards."""
    judging = {"metrics.py", "localisation.py", "leakage.py", "segmentation_scores.py"}
    scripts = ["manifest", "lungs", "train_segmenter", "score_segmenters", "mask", "crop", "train"]
    for name in [*scripts, "predict", "gradcam"]:
        behind = code._behind(set(code.imports(root / f"workflow/scripts/{name}.py")))
        assert not {path.name for path in behind} & judging, name
        rooms = {path.parent.name for path in behind if path.name not in ("__init__.py", "mcc.py")}
        assert not rooms & {"statistics", "evaluation"}, name
