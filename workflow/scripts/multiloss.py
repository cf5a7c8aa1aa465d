"""The packages as scripts find them: Snakemake puts their own folder on a job's path, and no other.

Importing this gives the package beside the folder in its place, and lets the generator of phantoms
be imported, also in Snakemake's cache of files from a git host. The environment of jobs is left
alone.
"""

import gc
import importlib.util
import sys
from pathlib import Path

# What a job makes mostly stays until its end: looking for cycles among all that TensorFlow makes,
# every 700 objects as Python does, takes half a second.
gc.set_threshold(100_000, 20, 20)
_workflow = Path(__file__).resolve().parents[1]
_package = _workflow / "multiloss"
if str(_workflow) not in sys.path:
    sys.path.insert(0, str(_workflow))
_spec = importlib.util.spec_from_file_location(__name__, _package / "__init__.py")
sys.modules[__name__] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules[__name__])
