"""Write envs/*.yaml: the packages that each group of rules imports, at the lock file's versions.

Run by `make lock` after requirements.lock was resolved anew. Each file lists everything its
packages need, so that one set of versions serves the virtual environment and conda alike.
"""

import subprocess
import sys
from pathlib import Path

ENVS = Path(__file__).resolve().parent
LOCK = ENVS.parent / "requirements.lock"

# What the rules of each environment import, and nothing more.
PACKAGES = {
    "data": [
        "numpy",
        "pandas",
        "scipy",
        "opencv-python-headless",
        "pillow",
        "requests",
        "urllib3",
        "pyyaml",
    ],
    "tensorflow": [
        "tensorflow",
        "segmentation-models",
        "numpy",
        "pandas",
        "scikit-learn",
        "opencv-python-headless",
        "pillow",
    ],
    "analysis": [
        "numpy",
        "pandas",
        "scipy",
        "scikit-learn",
        "statsmodels",
        "opencv-python-headless",
        "pillow",
        "matplotlib",
        "jinja2",
        "pyyaml",
    ],
}


def pins(packages: list[str]) -> list[str]:
    """`name==version` of the packages and all they need, as the lock file has them."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "-", "--python-version", "3.11"]
    command += ["--constraint", str(LOCK), "--no-header", "--no-annotate", "--quiet"]
    resolved = subprocess.run(
        command, input="\n".join(packages), capture_output=True, text=True, check=True
    )
    return [line for line in resolved.stdout.splitlines() if "==" in line]


def main() -> None:
    """Write one file for each environment."""
    for name, packages in PACKAGES.items():
        lines = ["# Written by `make lock` from requirements.lock: change it there."]
        lines += ["channels:", "  - conda-forge", "dependencies:", "  - python =3.11", "  - pip"]
        lines += ["  - pip:", *(f"      - {pin}" for pin in pins(packages))]
        (ENVS / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
