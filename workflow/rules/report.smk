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
    rules.external.output if STUDY.external else [],
    rules.significance.output,
    rules.calibration.output,
    rules.usefulness.output,
    rules.prediction_sets.output,
    rules.replicates.output,
    rules.verdicts.output,
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


rule report:
    input:
        tables=TABLES,
        figures=expand(
            RESULTS / "figures/{figure}.{ending}",
            figure=FIGURES,
            ending=["png", "svg", "pdf", "csv", "json"],
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
        locked=locked_versions(),
        # No input: its date is that of the clone.
        citation=(WORKFLOW.parent / "CITATION.cff").read_text(encoding="utf-8").rstrip(),
        code=code_of("report.py"),
    message:
        "Writing the report"
    script:
        "../scripts/report.py"
