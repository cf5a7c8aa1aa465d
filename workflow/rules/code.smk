# Snakemake notices another date of a script, which every clone brings, and not a change in the
# modules behind it. Each job therefore has a digest of both among its parameters: an edit makes
# anew what it made, and an added loss or layout nothing that was there before.
from multiloss.job import code


def code_of(script, instead=None, also=None, losses=None):
    """A params function: the digest of all code that a job of this script runs.

    That is the script and the modules that it imports. `also` names modules that it imports by
    name at run time, `instead` those that count in place of its imports, and `losses` gives
    (kind, name) of the loss functions that it trains with; all three are functions of wildcards.
    """
    path = WORKFLOW / "scripts" / script

    def digest(wildcards):
        modules = set(instead(wildcards) if instead else code.imports(path))
        modules |= set(also(wildcards) if also else ())
        named = losses(wildcards) if losses else ()
        return code.digest(path, frozenset(modules), frozenset(named))

    return digest


def loss_of_variant(wildcards):
    return [("classification", STUDY.variants[wildcards.variant].loss["name"])]


def loss_of_heads(wildcards):
    return [("classification", config["ensembles"]["model_level"]["loss"])]


def loss_of_segmenter(wildcards):
    return [("segmentation", wildcards.segmentation_loss)]


def what_fetches(wildcards):
    """What is fetched is what its digest says; code decides on what is drawn and unpacked."""
    drawn = SOURCES[wildcards.source]["layout"] == "phantom"
    return ["data.sources.archives", "phantom"] if drawn else ["data.sources.archives"]


def layouts_of_sources(wildcards):
    return [f"data.layouts.{source['layout']}" for source in SOURCES.values()]


def what_draws(wildcards):
    return [f"figures.{figure_of(wildcards).module}"]
