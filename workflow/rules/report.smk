# Everything on one page.

# What a study makes beside the report; each file is there when the report is.
TABLES = [
    rules.manifest.output.rejected,
    rules.splits.output,
    rules.models.output.models,
    rules.leakage.output,
    rules.segmentation_scores.output.scores if STUDY.segmented else [],
    rules.crop.output.boxes if STUDY.segmented else [],
    rules.ensemble_tables.output,
    rules.evaluate.output,
    rules.significance.output,
    rules.calibration.output,
    rules.replicates.output,
    rules.diversity.output,
    rules.optimism.output if models_of(["ensemble"], levels=["prediction"]) else [],
    rules.localisation.output if EXPLAINED else [],
    expand(rules.download.output.record, source=SOURCES),
    [history_file(model) for model in TRAINED],
    (
        expand(rules.train_segmenter.output.versions, segmentation_loss=SEGMENTATION_LOSSES)
        if STUDY.segmented
        else []
    ),
    [versions_file(model) for model in [*TRAINED, *MODEL_LEVEL]],
]

# Which stage takes what from which; the test suite compares it with Snakemake's own rule graph.
RULE_EDGES = [
    ("manifest", "download"),
    ("splits", "manifest"),
    ("leakage", "splits"),
    ("predict", "train"),
    ("rank", "predict"),
    ("features", "rank"),
    ("model_level", "features"),
    ("ensemble", "rank"),
    ("ensemble", "model_level"),
    ("ensemble_tables", "ensemble"),
    ("evaluate", "models"),
    ("significance", "models"),
    ("calibration", "models"),
    ("replicates", "models"),
    ("diversity", "models"),
    ("optimism", "models"),
    ("evaluate", "ensemble_tables"),
    ("significance", "ensemble_tables"),
    ("calibration", "ensemble_tables"),
    ("replicates", "ensemble"),
    ("diversity", "predict"),
    ("optimism", "predict"),
    ("gradcam", "train"),
    ("gradcam", "model_level"),
    ("localisation", "gradcam"),
    ("figure", "evaluate"),
    ("figure", "significance"),
    ("figure", "calibration"),
    ("figure", "localisation"),
    ("figure", "optimism"),
    ("figure", "diversity"),
    ("figure", "leakage"),
    ("figure", "replicates"),
    ("report", "figure"),
]
OF_LUNGS = [
    ("lungs", "splits"),
    ("train_segmenter", "lungs"),
    ("score_segmenters", "train_segmenter"),
    ("segmentation_scores", "score_segmenters"),
    ("mask", "score_segmenters"),
    ("crop", "mask"),
    ("train", "crop"),
    ("figure", "segmentation_scores"),
]
OF_WHOLE_IMAGES = [
    ("pack", "splits"),
    ("train", "pack"),
]
# Dependencies that only some studies have.
if STUDY.segmented:
    RULE_EDGES += OF_LUNGS
    if fetched_weights("segmentation"):
        RULE_EDGES.append(("train_segmenter", "encoder_weights"))
    if audit_if_strict(None):
        RULE_EDGES.append(("lungs", "leakage"))
if not all(variant.crop for variant in STUDY.variants.values()):
    RULE_EDGES += OF_WHOLE_IMAGES
    if audit_if_strict(None):
        RULE_EDGES.append(("pack", "leakage"))
if fetched_weights("classification"):
    RULE_EDGES.append(("train", "encoder_weights"))
if models_of(["seed_ensemble"]):
    RULE_EDGES.append(("seed_ensemble", "predict"))
    RULE_EDGES.append(("evaluate", "seed_ensemble"))
    RULE_EDGES.append(("significance", "seed_ensemble"))
    RULE_EDGES.append(("calibration", "seed_ensemble"))
    RULE_EDGES.append(("replicates", "seed_ensemble"))


rule report:
    input:
        tables=TABLES,
        figures=expand(
            RESULTS / "figures/{figure}.{ending}", figure=FIGURES, ending=["png", "svg", "json"]
        ),
    output:
        report(
            RESULTS / "report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"page": "The study on one page"},
        ),
    log:
        LOGS / "report.log",
    benchmark:
        BENCHMARKS / "report.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        config=addresses.without_secrets(config),
        rule_edges=RULE_EDGES,
        locked=locked_versions(),
        # The page says how to cite the workflow. No input: what counts is not where the file lies.
        citation=(WORKFLOW.parent / "CITATION.cff").read_text(encoding="utf-8").rstrip(),
        code=code_of("report.py"),
    message:
        "Writing the report"
    script:
        "../scripts/report.py"
