# Metrics with intervals, paired tests, calibration: from the stored predictions alone.
LISTED = {name: asdict(variant) for name, variant in STUDY.listed.items()}


rule evaluate:
    input:
        predictions=predictions_of(SHOWN.models),
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
    # It takes the longest by far, and others wait for it.
    priority: 1
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        divisions=SHOWN.divisions,
        evaluation=evaluation_keys(
            "resamples",
            "interval",
            "confidence",
            "ece_bins",
            "operating_point",
            "temperature_scaling",
        ),
        decided_on_val=SHOWN.decided_on_val,
        # A test split that is drawn has the class shares that chance gave it.
        mixed=["test"] if STUDY.test_drawn else [],
        variants=LISTED,
        seed=config["seed"],
        code=code_of("evaluate.py"),
    message:
        "Computing metrics with confidence intervals"
    script:
        "../scripts/evaluate.py"


# Of external tests, where the study has some: beside its answer, never a part of it.
rule external:
    input:
        predictions=predictions_of(SHOWN.models),
        models=rules.models.output.models,
        chosen=rules.ensemble_tables.output.chosen,
        metrics=rules.evaluate.output.metrics,
    output:
        external=report(
            RESULTS / "tables/external.csv",
            caption="../report/external.rst",
            category="Tables",
            labels={"table": "External tests"},
        ),
        external_comparisons=RESULTS / "tables/external_comparisons.csv",
    log:
        LOGS / "external.log",
    benchmark:
        BENCHMARKS / "external.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        divisions=SHOWN.divisions,
        baseline=STUDY.baseline,
        evaluation=evaluation_keys("resamples", "interval", "confidence", "ece_bins"),
        significance={
            key: config["significance"][key] for key in ("alpha", "permutations", "metric")
        },
        seed=config["seed"],
        code=code_of("external.py"),
    message:
        "Setting external tests beside the test split"
    script:
        "../scripts/external.py"


rule significance:
    input:
        predictions=predictions_of(SHOWN.models),
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
        folds=STUDY.folds,
        evaluation=evaluation_keys("resamples", "interval", "confidence", "ece_bins"),
        # The margin decides on no test.
        significance={
            key: value
            for key, value in config["significance"].items()
            if key != "equivalence_margin"
        },
        seed=config["seed"],
        code=code_of("significance.py"),
    message:
        "Running paired significance tests"
    script:
        "../scripts/significance.py"


rule calibration:
    input:
        predictions=predictions_of(SHOWN.models),
        models=rules.models.output.models,
        members=rules.ensemble_tables.output.members,
        # Of each run, or one for all of them.
        manifests=[
            rules.splits.output.manifest,
            *expand(rules.redraw.output.manifest, replicate=REDRAWN_RUNS if SHOWN.redrawn else []),
        ],
    output:
        calibration=RESULTS / "tables/calibration.csv",
        curves=RESULTS / "tables/calibration_curves.csv",
        histograms=RESULTS / "tables/calibration_histograms.csv",
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
        divisions=SHOWN.divisions,
        runs=list(SHOWN.runs),
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


rule usefulness:
    input:
        predictions=predictions_of(SHOWN.models),
        models=rules.models.output.models,
        chosen=rules.ensemble_tables.output.chosen,
        members=rules.ensemble_tables.output.members,
    output:
        net_benefit=report(
            RESULTS / "tables/net_benefit.csv",
            caption="../report/net_benefit.rst",
            category="Tables",
            labels={"table": "Net benefit of acting on each model"},
        ),
        net_benefit_differences=RESULTS / "tables/net_benefit_differences.csv",
        useful_thresholds=RESULTS / "tables/useful_thresholds.csv",
        predictive_values=report(
            RESULTS / "tables/predictive_values.csv",
            caption="../report/predictive_values.rst",
            category="Tables",
            labels={"table": "Predictive values at stated prevalences"},
        ),
        expected_cost=RESULTS / "tables/expected_cost.csv",
        probabilities=RESULTS / "tables/probabilities.csv",
    log:
        LOGS / "usefulness.log",
    benchmark:
        BENCHMARKS / "usefulness.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        divisions=SHOWN.divisions,
        negative=STUDY.negative_class,
        baseline=STUDY.baseline,
        evaluation=evaluation_keys(
            "resamples",
            "confidence",
            "operating_point",
            "temperature_scaling",
            "prevalences",
            "cost_ratios",
        ),
        seed=config["seed"],
        code=code_of("usefulness.py"),
    message:
        "Weighing what acting on the models is worth"
    script:
        "../scripts/usefulness.py"


rule prediction_sets:
    input:
        predictions=predictions_of(SHOWN.models),
        models=rules.models.output.models,
        chosen=rules.ensemble_tables.output.chosen,
        members=rules.ensemble_tables.output.members,
    output:
        prediction_sets=report(
            RESULTS / "tables/prediction_sets.csv",
            caption="../report/prediction_sets.rst",
            category="Tables",
            labels={"table": "Sets of classes with a stated coverage"},
        ),
        abstention=RESULTS / "tables/abstention.csv",
    log:
        LOGS / "prediction_sets.log",
    benchmark:
        BENCHMARKS / "prediction_sets.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        divisions=SHOWN.divisions,
        baseline=STUDY.baseline,
        evaluation=evaluation_keys("resamples", "confidence", "set_coverage"),
        seed=config["seed"],
        code=code_of("prediction_sets.py"),
    message:
        "Forming sets of classes with a stated coverage"
    script:
        "../scripts/prediction_sets.py"


# Of groups of the test patients, where the study names columns that tell them apart.
rule subgroups:
    input:
        predictions=predictions_of(STUDY.models),
        models=rules.models.output.models,
        chosen=rules.ensemble_tables.output.chosen,
        attributes=rules.attributes.output.attributes,
    output:
        subgroups=report(
            RESULTS / "tables/subgroups.csv",
            caption="../report/subgroups.rst",
            category="Tables",
            labels={"table": "Groups of patients"},
        ),
        subgroup_gaps=report(
            RESULTS / "tables/subgroup_gaps.csv",
            caption="../report/subgroups.rst",
            category="Tables",
            labels={"table": "Gaps between groups of patients"},
        ),
    log:
        LOGS / "subgroups.log",
    benchmark:
        BENCHMARKS / "subgroups.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        divisions=STUDY.divisions,
        baseline=STUDY.baseline,
        evaluation=evaluation_keys(
            "resamples", "interval", "confidence", "ece_bins", "subgroups", "subgroup_minimum"
        ),
        significance={
            key: config["significance"][key] for key in ("alpha", "permutations", "metric")
        },
        seed=config["seed"],
        code=code_of("subgroups.py"),
    message:
        "Judging the key models in groups of patients"
    script:
        "../scripts/subgroups.py"


rule replicates:
    input:
        predictions=predictions_of(SHOWN.models),
        models=rules.models.output.models,
        members=rules.ensemble_tables.output.members,
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
        seed_spread=report(
            RESULTS / "tables/seed_spread.csv",
            caption="../report/seed_spread.rst",
            category="Tables",
            labels={"table": "Spread of seeds and of losses"},
        ),
        ensemble_comparisons=report(
            RESULTS / "tables/ensemble_comparisons.csv",
            caption="../report/ensemble_comparisons.rst",
            category="Tables",
            labels={"table": "Gains of ensembles over seeds"},
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
        folds=STUDY.folds,
        evaluation=evaluation_keys("resamples", "confidence", "ece_bins"),
        significance={
            key: config["significance"][key]
            for key in ("baseline", "alpha", "metric")
            if key in config["significance"]
        },
        seed=config["seed"],
        code=code_of("replicates.py"),
    message:
        "Comparing losses over seeds"
    script:
        "../scripts/replicates.py"


# Of studies whose runs take turns in testing on folds of the patients.
rule folds:
    input:
        predictions=predictions_of(STUDY.models),
        rankings=expand(rules.rank.output.ranking, replicate=REPLICATES),
        candidates=expand(rules.ensemble.output.candidates, replicate=REPLICATES),
        # Of each run, in their order.
        manifests=[
            rules.splits.output.manifest,
            *expand(rules.redraw.output.manifest, replicate=REDRAWN_RUNS),
        ],
    output:
        folds=RESULTS / "tables/folds.csv",
        folds_pooled=report(
            RESULTS / "tables/folds_pooled.csv",
            caption="../report/folds_pooled.rst",
            category="Tables",
            labels={"table": "All folds together"},
        ),
        fold_comparisons=report(
            RESULTS / "tables/fold_comparisons.csv",
            caption="../report/fold_comparisons.rst",
            category="Tables",
            labels={"table": "Losses and ensembles compared over folds"},
        ),
    log:
        LOGS / "folds.log",
    benchmark:
        BENCHMARKS / "folds.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        models=entries_of(STUDY.models),
        runs=list(REPLICATES),
        folds=STUDY.folds,
        variants=LISTED,
        evaluation=evaluation_keys("resamples", "interval", "confidence", "ece_bins"),
        significance={key: config["significance"][key] for key in ("baseline", "alpha", "metric")},
        seed=config["seed"],
        code=code_of("folds.py"),
    message:
        "Comparing losses and ensembles over folds"
    script:
        "../scripts/folds.py"


rule verdicts:
    input:
        predictions=predictions_of(SHOWN.models),
        models=rules.models.output.models,
        members=rules.ensemble_tables.output.members,
        chosen=rules.ensemble_tables.output.chosen,
        significance=rules.significance.output.significance,
        replicate_comparisons=rules.replicates.output.replicate_comparisons,
        ensemble_comparisons=rules.replicates.output.ensemble_comparisons,
        fold_comparisons=rules.folds.output.fold_comparisons if STUDY.folds else [],
    output:
        verdicts=report(
            RESULTS / "tables/verdicts.csv",
            caption="../report/verdicts.rst",
            category="Tables",
            labels={"table": "Verdicts, and what could have been seen"},
        ),
        planning=report(
            RESULTS / "tables/planning.csv",
            caption="../report/planning.rst",
            category="Tables",
            labels={"table": "Patients and seeds for a next study"},
        ),
    log:
        LOGS / "verdicts.log",
    benchmark:
        BENCHMARKS / "verdicts.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        evaluation=evaluation_keys("resamples", "confidence", "ece_bins"),
        significance=config["significance"],
        seed=config["seed"],
        code=code_of("verdicts.py"),
    message:
        "Judging the primary comparisons"
    script:
        "../scripts/verdicts.py"


rule against_baseline:
    input:
        predictions=predictions_of(STUDY.models),
        models=rules.models.output.models,
        metrics=rules.evaluate.output.metrics,
        significance=rules.significance.output.significance,
        replicate_comparisons=rules.replicates.output.replicate_comparisons,
    output:
        against_baseline=report(
            RESULTS / "tables/against_baseline.csv",
            caption="../report/against_baseline.rst",
            category="Tables",
            labels={"table": "Every model beside the baseline"},
        ),
    log:
        LOGS / "against_baseline.log",
    benchmark:
        BENCHMARKS / "against_baseline.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        evaluation=evaluation_keys("resamples", "confidence", "ece_bins"),
        significance={key: config["significance"][key] for key in ("baseline", "metric")},
        seed=config["seed"],
        code=code_of("against_baseline.py"),
    message:
        "Setting every model beside the baseline"
    script:
        "../scripts/against_baseline.py"


rule diversity:
    input:
        predictions=predictions_of(models_shown(["single"])),
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
        predictions=predictions_of(models_shown(["single"])),
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
        divisions=SHOWN.divisions,
        ensembles=models_shown(["ensemble"], levels=["prediction"]),
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
