"""Versions of what computed a training, written beside it: those that ran, not those locked."""

import json
import platform
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from multiloss import __version__
from multiloss.job.files import write_text

# Packages that the numbers of a training depend on, and the modules that they are imported as.
MODULES = {
    "tensorflow": "tensorflow",
    "keras": "keras",
    "segmentation-models": "segmentation_models",
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
}


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Versions of this workflow, of Python and of those of the packages that are installed."""
    found = {"multiloss": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def write(path: str | Path) -> None:
    """Write as JSON the versions of this workflow, of Python and of those `MODULES` that this
    process has loaded."""
    loaded = {name: module for name, module in MODULES.items() if module in sys.modules}
    found = installed(loaded)
    for name, module in loaded.items():
        # Installed under another name, as builds of TensorFlow for some machines are.
        found.setdefault(name, getattr(sys.modules[module], "__version__", "unknown"))
    write_text(json.dumps(found, indent=2) + "\n", path)
