# From chest X-rays to the question: which loss function, and is an ensemble really better?
from snakemake.utils import min_version

min_version("9.0")


configfile: f"{workflow.basedir}/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/segmentation.smk"
include: "workflow/rules/crops.smk"
include: "workflow/rules/classification.smk"
include: "workflow/rules/ensembles.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/gradcam.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/code.smk"


report: "workflow/report/workflow.rst"


localrules:
    all,
    models,
    rank,
    ensemble_tables,
    seed_ensemble,


rule all:
    default_target: True
    input:
        RESULTS / "report.html",
        all_outputs,


onstart:
    if missing := missing_packages():
        sys.exit(
            f"Error: {sys.executable} lacks {', '.join(missing)}: start .venv/bin/snakemake "
            "(`make setup` makes it), or add --sdm conda"
        )


onsuccess:
    forget_checkpoints(RESULTS)
    print(success_message(RESULTS, time.monotonic() - STARTED))


onerror:
    print(failure_message(log))
