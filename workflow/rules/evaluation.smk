# Metrics with intervals, paired tests, calibration: from the stored predictions alone.
LISTED = {name: asdict(variant) for name, variant in STUDY.listed.items()}


rule evaluate:
    input:
        predictions=predictions_of(STUDY.models),
        models=rules.models.output.models,
        chosen=rules.ensemble_tables.output.chosen,
    output:
        metrics=report(
            RESULTS / "tables/metrics.csv",
            caption="../report/metrics.rst",
            category="Tables",
            labels={"table": "All metrics with intervals"},
        ),
        operating_points=RESULTS / "tables/operating_points.csv",
        confusion=RESULTS / "tables/confusion.csv",
        curves=RESULTS / "tables/curves.csv",
        rank=RESULTS / "tables/rank.csv",
        degenerate=RESULTS / "tables/degenerate.csv",
    log:
        LOGS / "evaluate.log",
    benchmark:
        BENCHMARKS / "evaluate.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        divisions=STUDY.divisions,
        evaluation=evaluation_keys(
            "resamples",
            "interval",
            "confidence",
            "ece_bins",
            "operating_point",
            "temperature_scaling",
        ),
        decided_on_val=STUDY.decided_on_val,
        seed=config["seed"],
        code=code_of("evaluate.py"),
    message:
        "Computing metrics with confidence intervals"
    script:
        "../scripts/evaluate.py"


rule significance:
    input:
        predictions=predictions_of(STUDY.models),
        models=rules.models.output.models,
        members=rules.ensemble_tables.output.members,
    output:
        significance=report(
            RESULTS / "tables/significance.csv",
            caption="../report/significance.rst",
            category="Tables",
            labels={"table": "Paired tests"},
        ),
    log:
        LOGS / "significance.log",
    benchmark:
        BENCHMARKS / "significance.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        variants=LISTED,
        evaluation=evaluation_keys("resamples", "interval", "confidence", "ece_bins"),
        significance=config["significance"],
        seed=config["seed"],
        code=code_of("significance.py"),
    message:
        "Running paired significance tests"
    script:
        "../scripts/significance.py"


rule calibration:
    input:
        predictions=predictions_of(STUDY.models),
        models=rules.models.output.models,
        members=rules.ensemble_tables.output.members,
        # Of each run, or one for all of them.
        manifests=[
            rules.splits.output.manifest,
            *expand(rules.redraw.output.manifest, replicate=REDRAWN_RUNS),
        ],
    output:
        calibration=RESULTS / "tables/calibration.csv",
        calibration_scores=report(
            RESULTS / "tables/calibration_scores.csv",
            caption="../report/calibration_scores.rst",
            category="Tables",
            labels={"table": "Calibration of every model"},
        ),
        calibration_comparisons=report(
            RESULTS / "tables/calibration_comparisons.csv",
            caption="../report/calibration_comparisons.rst",
            category="Tables",
            labels={"table": "Calibrated losses against the plain ones"},
        ),
    log:
        LOGS / "calibration.log",
    benchmark:
        BENCHMARKS / "calibration.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        divisions=STUDY.divisions,
        runs=list(RUNS),
        # By variant, and of the heads of model-level ensembles.
        class_weights={name: variant.class_weights for name, variant in STUDY.variants.items()}
        | {None: config["classification"]["class_weights"]},
        variants=LISTED,
        evaluation=evaluation_keys(
            "resamples", "interval", "confidence", "ece_bins", "temperature_scaling"
        ),
        alpha=config["significance"]["alpha"],
        seed=config["seed"],
        code=code_of("calibration.py"),
    message:
        "Measuring calibration"
    script:
        "../scripts/calibration.py"


rule replicates:
    input:
        predictions=predictions_of(STUDY.models),
        models=rules.models.output.models,
    output:
        replicates=report(
            RESULTS / "tables/replicates.csv",
            caption="../report/replicates.rst",
            category="Tables",
            labels={"table": "Spread between training runs"},
        ),
        replicate_comparisons=report(
            RESULTS / "tables/replicate_comparisons.csv",
            caption="../report/replicate_comparisons.rst",
            category="Tables",
            labels={"table": "Losses compared over seeds and patients"},
        ),
    log:
        LOGS / "replicates.log",
    benchmark:
        BENCHMARKS / "replicates.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        variants=LISTED,
        evaluation=evaluation_keys("resamples", "confidence", "ece_bins"),
        significance={key: config["significance"][key] for key in ("baseline", "alpha")},
        seed=config["seed"],
        code=code_of("replicates.py"),
    message:
        "Comparing losses over seeds"
    script:
        "../scripts/replicates.py"


rule diversity:
    input:
        predictions=predictions_of(models_of(["single"])),
        models=rules.models.output.models,
    output:
        table=report(
            RESULTS / "tables/diversity.csv",
            caption="../report/diversity.rst",
            category="Tables",
            labels={"table": "Agreement of errors"},
        ),
    log:
        LOGS / "diversity.log",
    benchmark:
        BENCHMARKS / "diversity.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        resamples=config["evaluation"]["resamples"],
        confidence=config["evaluation"]["confidence"],
        seed=config["seed"],
        code=code_of("diversity.py"),
    message:
        "Measuring the agreement of the models' errors"
    script:
        "../scripts/diversity.py"


rule optimism:
    input:
        predictions=predictions_of(models_of(["single"])),
        models=rules.models.output.models,
    output:
        table=report(
            RESULTS / "tables/optimism.csv",
            caption="../report/optimism.rst",
            category="Tables",
            labels={"table": "Optimism of the published protocol"},
        ),
    log:
        LOGS / "optimism.log",
    benchmark:
        BENCHMARKS / "optimism.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        divisions=STUDY.divisions,
        ensembles=models_of(["ensemble"], levels=["prediction"]),
        options=config["ensembles"]["options"],
        resamples=config["evaluation"]["optimism_resamples"],
        stacking_resamples=config["evaluation"]["optimism_stacking_resamples"],
        confidence=config["evaluation"]["confidence"],
        seed=config["seed"],
        code=code_of("optimism.py"),
    message:
        "Measuring the optimism of the published protocol (not a result)"
    script:
        "../scripts/optimism.py"
