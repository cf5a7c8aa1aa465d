# Everything on one page.

# What a study makes beside the report; each file is there when the report is.
TABLES = [
    rules.manifest.output.rejected,
    rules.splits.output,
    rules.models.output.models,
    rules.leakage.output,
    rules.segmentation_scores.output.scores if STUDY.segmented else [],
    rules.crop.output.boxes if STUDY.segmented else [],
    rules.check_masks.output if STUDY.segmented else [],
    rules.ensemble_tables.output,
    rules.evaluate.output,
    rules.external.output if STUDY.external else [],
    rules.significance.output,
    rules.calibration.output,
    rules.usefulness.output,
    rules.prediction_sets.output,
    rules.subgroups.output if config["evaluation"]["subgroups"] else [],
    rules.replicates.output,
    rules.folds.output if STUDY.folds else [],
    rules.verdicts.output,
    rules.against_baseline.output,
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


# The models that the page shows test images of: of one run, as they can be chosen.
SHOWN = models_of(["single", "ensemble", "seed_ensemble"], 0)
HEAT_SHOWN = [model.name for model in STUDY.explained if model.name in SHOWN]


rule cases:
    input:
        manifest=rules.splits.output.manifest,
        predictions=predictions_of(SHOWN),
        maps=expand(rules.gradcam.output.maps, model=HEAT_SHOWN),
        boxes=rules.crop.output.boxes if STUDY.segmented else [],
        masks=rules.mask.output.masks if STUDY.segmented else [],
    output:
        RESULTS / "cases.json",
    log:
        LOGS / "cases.log",
    benchmark:
        BENCHMARKS / "cases.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        labels={name: STUDY.models[name].label for name in SHOWN},
        most=config["report"]["cases"],
        rgb=STUDY.rgb,
        seed=config["seed"],
        code=code_of("cases.py"),
    message:
        "Gathering the test images that the report shows"
    script:
        "../scripts/cases.py"


rule report:
    input:
        tables=TABLES,
        cases=rules.cases.output if config["report"]["cases"] else [],
        figures=expand(
            RESULTS / "figures/{figure}.{ending}",
            figure=FIGURES,
            ending=["png", "svg", "pdf", "csv", "json"],
        ),
    output:
        # The finding in one sentence; the end of the run shows it.
        answer=RESULTS / "answer.txt",
        page=report(
            RESULTS / "report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"page": "The study on one page"},
        ),
        model_card=RESULTS / "model_card.md",
        datasheet=RESULTS / "datasheet.md",
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
