# What every stage shares: the validated configuration, names, and paths.
import functools
import gc
import importlib.util
import os
import re
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path

from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod
from snakemake.sourcecache import LocalSourceFile
from snakemake.utils import update_config

# Another workflow may use this one as a module: its process and its configuration are its own.
STANDALONE = workflow.modifier.is_main_snakefile()
if STANDALONE:
    # Planning makes objects that stay; looking through all of them for cycles, every 700 new ones
    # as Python does, is a quarter of its time.
    gc.set_threshold(100_000, 20, 20)

if isinstance(workflow.current_basedir, LocalSourceFile):
    WORKFLOW = Path(workflow.current_basedir).parent
else:
    # Read from a git host: each file that was asked for lies in Snakemake's cache, in our folders.
    files = Path(workflow.source_path("../files.txt"))
    if files.name != "files.txt":
        raise WorkflowError(
            "Error: gitfile() gives modules names that Python cannot import: clone the repository "
            "at the tag and name the clone's workflow/Snakefile"
        )
    for name in files.read_text(encoding="utf-8").split():
        workflow.source_path(f"../../{name}")
    WORKFLOW = files.parent
if str(WORKFLOW) not in sys.path:
    sys.path.insert(0, str(WORKFLOW))
if STANDALONE:
    # Snakemake puts the interpreter into shell commands as it is: a space in its path breaks them.
    sys.executable = shlex.quote(sys.executable)

import multiloss

if not Path(multiloss.__file__).parent.samefile(WORKFLOW / "multiloss"):
    raise WorkflowError(
        f"Error: a workflow can use one version of multiloss: {multiloss.__file__} was loaded "
        f"before {WORKFLOW}"
    )

from multiloss.data import layouts
from multiloss.data.sources import addresses, listing
from multiloss.networks import encoder_weights
from multiloss import study
from multiloss import config as configuration
from multiloss.networks.checkpoints import forget as forget_checkpoints
from multiloss.job.errors import UserError
from multiloss.figures import catalog
from multiloss.figures.journals import JOURNALS
from multiloss.job import console
from multiloss.job.summary import failure_message, success_message, usual_seconds

STARTED = time.monotonic()

if STANDALONE:

    configfile: str(WORKFLOW.parent / "config.yaml")

else:
    given, config = config, load_configfile(WORKFLOW.parent / "config.yaml")
    if not isinstance(given, dict):
        raise WorkflowError(
            f"Error: the module's config is a {type(given).__name__}, not a mapping of keys to values"
        )
    update_config(config, given)
try:
    # Another object: what a host workflow gives stays as it is.
    config = configuration.validate(config)
except UserError as error:
    of_module = "" if STANDALONE else " (the module's config holds its own settings alone)"
    raise WorkflowError(f"Error: {error}{of_module}") from None

RESULTS = Path("results", config["study"])
LOGS = RESULTS / "logs"
BENCHMARKS = RESULTS / "benchmarks"


def missing_packages():
    """What jobs import and this Python lacks; with `--sdm conda` they bring it along."""
    if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
        return []
    needed = ["cv2", "matplotlib", "numpy", "pandas", "requests", "scipy", "sklearn"]
    needed += ["segmentation_models", "statsmodels", "tensorflow"]
    return [name for name in needed if importlib.util.find_spec(name) is None]


SOURCES = {source["name"]: source for source in config["data"]["sources"]}
CLASSIFIED = {
    name: source for name, source in SOURCES.items() if source["role"] in layouts.CLASSIFIED
}
REPLICATES = range(config["replicates"])
SEGMENTATION_LOSSES = [loss["name"] for loss in config["segmentation"]["losses"]]
STUDY = study.Study(config)
# What all tables but those of folds are of.
SHOWN = STUDY.shown
TOP_K = config["ensembles"]["top_k"]


def models_of(kinds, replicate=None, levels=study.LEVELS):
    """Names of the study's models of some kinds, in the order of the config."""
    replicate = None if replicate is None else int(replicate)
    return [model.name for model in STUDY.select(kinds, replicate, levels)]


def entries_of(names):
    """What some models are, as mappings, by name."""
    return study.entries(STUDY.models[name] for name in names)


def models_shown(kinds, levels=study.LEVELS):
    """As `models_of`, of what all tables but those of folds are of."""
    return [model.name for model in SHOWN.select(kinds, levels=levels)]


TRAINED = models_of(study.TRAINED)
RUNS = STUDY.runs
# Of the runs beyond the first, each has a division of its own where the study asks for it; with
# folds that holds for the test split, too.
REDRAWN_RUNS = RUNS[1:] if STUDY.redrawn else []
MODEL_LEVEL = models_of(["ensemble"], levels=["model"])
FIGURES = catalog.figures(config)
JOURNAL = JOURNALS[config["figures"]["journal"]]


def alternatives(names):
    """A pattern that matches these names and nothing else, so that a misspelt target says so."""
    return "|".join(re.escape(str(name)) for name in names) or "(?!)"


wildcard_constraints:
    source=alternatives(SOURCES),
    segmentation_loss=alternatives(SEGMENTATION_LOSSES),
    variant=alternatives(STUDY.variants),
    replicate=alternatives(RUNS),
    k=alternatives(TOP_K),
    figure=alternatives(FIGURES),


def threads_of(step):
    """Threads come from the config, not from --cores: the numbers depend on them."""
    return config["resources"][step]["threads"]


def memory_of(step):
    """Memory in MB, more with each retry of a job."""
    return lambda wildcards, attempt: config["resources"][step]["mem_mb"] * attempt


def runtime_of(step):
    """Minutes, more with each retry of a job."""
    return lambda wildcards, attempt: config["resources"][step]["runtime"] * attempt


def gpus_of(step):
    """GPUs of a job."""
    return config["resources"][step]["gpu"]


def segmenter_file(loss):
    """The file of a trained lung segmenter."""
    return f"{RESULTS}/segmentation/models/{loss}.keras"


def trained_model(model):
    """The file of a trained classifier."""
    known = STUDY.models[model]
    return f"{RESULTS}/models/{known.variant}/{known.replicate}.keras"


def model_file(model):
    """The file of a trained classifier or of a model-level ensemble."""
    if model in MODEL_LEVEL:
        return f"{RESULTS}/ensembles/models/{model}.keras"
    return trained_model(model)


def history_file(model):
    """The epoch log of a trained classifier or of a model-level ensemble."""
    return model_file(model).removesuffix(".keras") + ".history.csv"


def versions_file(model):
    """The versions that a trained classifier or a model-level ensemble was trained with."""
    return model_file(model).removesuffix(".keras") + ".versions.json"


def predictions_of(models):
    """The prediction files of some models."""
    return [f"{RESULTS}/predictions/{model}.csv" for model in models]
