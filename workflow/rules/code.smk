# Snakemake notices a changed script, but not a change in the modules behind it. Each job therefore
# has a digest of them among its parameters: an edited module makes anew what it made, and an added
# loss, layout or ensemble nothing that was there before.
from multiloss import code


def modules_of(rule, wildcards):
    """The package's modules that a job runs, those included that it imports by name at run time."""
    if rule.name == "download":
        # What is fetched is what its digest says; only what is drawn depends on the code.
        return {"phantom"} if SOURCES[wildcards.source]["layout"] == "phantom" else set()
    if rule.name == "encoder_weights":
        return set()
    found = set(code.imports(WORKFLOW / "scripts" / Path(rule.script).name))
    if rule.name == "manifest":
        found |= {f"layouts.{source['layout']}" for source in SOURCES.values()}
    if rule.name == "figure":
        found.add(f"figures.{figure_of(wildcards).function.partition('.')[0]}")
    return found


def losses_of(rule, wildcards):
    """(kind, name) of the loss functions that a job trains with."""
    if rule.name == "train_segmenter":
        return [("segmentation", wildcards.segmentation_loss)]
    if rule.name == "train":
        return [("classification", ARMS[wildcards.loss].loss["name"])]
    if rule.name == "model_level":
        return [("classification", config["ensembles"]["model_level"]["loss"])]
    return []


def code_behind(rule):
    # What the catalogue says of a figure reaches its job as parameters.
    without = frozenset({"figures.catalog"} if rule.name == "figure" else ())
    return lambda wildcards: code.digest(
        frozenset(modules_of(rule, wildcards)), frozenset(losses_of(rule, wildcards)), without
    )


for job_type in workflow.rules:
    if job_type.script:
        job_type.set_params(code=code_behind(job_type))
