# Snakemake notices another date of a script, which every clone brings, and not a change in the
# modules behind it. Each job therefore has a digest of both among its parameters: an edit makes
# anew what it made, and an added loss or layout nothing that was there before.
from multiloss import code


def modules_of(step, script, wildcards):
    """The package's modules that a job runs, those included that it imports by name at run time."""
    if step == "encoder_weights":
        return set()
    if step == "download":
        # What is fetched is what its digest says; the code decides on what is drawn and unpacked.
        drawn = SOURCES[wildcards.source]["layout"] == "phantom"
        return {"archives"} | ({"phantom", "seeds"} if drawn else set())
    found = set(code.imports(script))
    if step == "manifest":
        found |= {f"layouts.{source['layout']}" for source in SOURCES.values()}
    if step == "figure":
        found.add(f"figures.{figure_of(wildcards).function.partition('.')[0]}")
    return found


def losses_of(step, wildcards):
    """(kind, name) of the loss functions that a job trains with."""
    if step == "train_segmenter":
        return [("segmentation", wildcards.segmentation_loss)]
    if step == "train":
        return [("classification", STUDY.variants[wildcards.variant].loss["name"])]
    if step == "model_level":
        return [("classification", config["ensembles"]["model_level"]["loss"])]
    return []


def code_behind(script):
    """A params function: the digest of all code that a job of this script runs."""
    step = script.stem
    return lambda wildcards: code.digest(
        script,
        frozenset(modules_of(step, script, wildcards)),
        frozenset(losses_of(step, wildcards)),
    )


for job_type in workflow.rules:
    if job_type.script:
        job_type.set_params(code=code_behind(WORKFLOW / "scripts" / Path(job_type.script).name))
