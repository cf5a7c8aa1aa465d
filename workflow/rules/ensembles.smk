# Rank the single models, build the ensembles, choose: all on the `ensemble` split.


rule rank:
    input:
        predictions=of_replicate(["single"]),
    output:
        ranking=RESULTS / "ensembles/r{replicate}/ranking.csv",
    log:
        LOGS / "rank/r{replicate}.log",
    benchmark:
        BENCHMARKS / "rank/r{replicate}.tsv"
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        models=entries_of_replicate("single"),
        classes=config["classes"],
        code=code_of("rank.py"),
    message:
        "Ranking the single models of replicate {wildcards.replicate} on the ensemble split"
    script:
        "../scripts/rank.py"


rule features:
    input:
        unpack(single_models),
        images=packed(STUDY.segmented),
        ranking=rules.rank.output.ranking,
    output:
        features=temp(directory(RESULTS / "ensembles/r{replicate}/features")),
    log:
        LOGS / "features/r{replicate}.log",
    benchmark:
        BENCHMARKS / "features/r{replicate}.tsv"
    conda:
        "../../envs/tensorflow.yaml"
    threads: threads_of("prediction")
    resources:
        mem_mb=memory_of("prediction"),
        runtime=runtime_of("prediction"),
        gpu=gpus_of("prediction"),
        jobs_per_gpu=JOBS_PER_GPU,
    params:
        largest_k=max(TOP_K, default=0),
        batch_size=config["classification"]["training"]["batch_size"],
        tensorflow_threads=threads_of("prediction"),
        code=code_of("features.py"),
    message:
        "Extracting features of the best models of replicate {wildcards.replicate}"
    script:
        "../scripts/features.py"


rule model_level:
    input:
        unpack(single_models),
        manifest=manifest_of_run,
        ranking=rules.rank.output.ranking,
        features=rules.features.output.features,
    output:
        model=RESULTS / f"ensembles/models/{study.OF_MODEL_LEVEL}.keras",
        history=RESULTS / f"ensembles/models/{study.OF_MODEL_LEVEL}.history.csv",
        versions=RESULTS / f"ensembles/models/{study.OF_MODEL_LEVEL}.versions.json",
        predictions=RESULTS / f"predictions/{study.OF_MODEL_LEVEL}.csv",
    log:
        LOGS / "model_level/top{k}-r{replicate}.log",
    benchmark:
        BENCHMARKS / "model_level/top{k}-r{replicate}.tsv"
    conda:
        "../../envs/tensorflow.yaml"
    threads: threads_of("training")
    resources:
        mem_mb=memory_of("training"),
        runtime=runtime_of("training"),
        gpu=gpus_of("training"),
        jobs_per_gpu=JOBS_PER_GPU,
    params:
        loss={"name": config["ensembles"]["model_level"]["loss"]},
        filters=config["ensembles"]["model_level"]["filters"],
        training=config["ensembles"]["model_level"]["training"],
        class_weights=config["classification"]["class_weights"],
        classes=config["classes"],
        seed=config["seed"],
        tensorflow_threads=threads_of("training"),
        code=code_of("model_level.py", losses=loss_of_heads),
    message:
        "Training the model-level ensemble of the top {wildcards.k}, replicate {wildcards.replicate}"
    script:
        "../scripts/model_level.py"


rule ensemble:
    input:
        predictions=of_replicate(["single"]),
        ranking=rules.rank.output.ranking,
        model_level=of_replicate(["ensemble"], levels=["model"]),
    output:
        predictions=expand(
            RESULTS / f"predictions/{study.OF_FAMILY}.csv",
            family=[
                model.family
                for model in STUDY.select(["ensemble"], 0, ["prediction", "model_average"])
            ],
            allow_missing=True,
        ),
        weights=RESULTS / "ensembles/r{replicate}/weights.csv",
        candidates=RESULTS / "ensembles/r{replicate}/candidates.csv",
    log:
        LOGS / "ensemble/r{replicate}.log",
    benchmark:
        BENCHMARKS / "ensemble/r{replicate}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        ensembles=entries_of_replicate("ensemble"),
        options=config["ensembles"]["options"],
        folds=config["ensembles"]["folds"],
        resamples=config["evaluation"]["resamples"],
        confidence=config["evaluation"]["confidence"],
        seed=config["seed"],
        code=code_of("ensemble.py"),
    message:
        "Building the ensembles of replicate {wildcards.replicate}"
    script:
        "../scripts/ensemble.py"


rule seed_ensemble:
    input:
        predictions=averaged_seeds,
    output:
        predictions=RESULTS / f"predictions/{study.OF_SEEDS}.csv",
    log:
        LOGS / "seed_ensemble/{variant}-top{k}.log",
    benchmark:
        BENCHMARKS / "seed_ensemble/{variant}-top{k}.tsv"
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        divisions=STUDY.divisions,
        code=code_of("seed_ensemble.py"),
    message:
        "Averaging {wildcards.k} seeds of {wildcards.variant}"
    script:
        "../scripts/seed_ensemble.py"


rule ensemble_tables:
    input:
        rankings=expand(rules.rank.output.ranking, replicate=SHOWN.replicates),
        weights=expand(rules.ensemble.output.weights, replicate=SHOWN.replicates),
        candidates=expand(rules.ensemble.output.candidates, replicate=SHOWN.replicates),
        seeds=predictions_of(models_shown(["seed"])),
    output:
        members=RESULTS / "ensembles/members.csv",
        weights=RESULTS / "ensembles/weights.csv",
        candidates=RESULTS / "ensembles/candidates.csv",
        chosen=RESULTS / "ensembles/chosen.csv",
    log:
        LOGS / "ensemble_tables.log",
    benchmark:
        BENCHMARKS / "ensemble_tables.tsv"
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        ensembles=entries_of(models_shown(["ensemble"])),
        seed_ensembles=entries_of(models_shown(["seed_ensemble"])),
        seeds=entries_of(models_shown(["seed"])),
        divisions=SHOWN.divisions,
        # Of runs that were judged on different images the scores compare by family alone.
        families=(
            {model.name: model.family for model in SHOWN.select(["single", "ensemble"])}
            if SHOWN.redrawn
            else None
        ),
        code=code_of("ensemble_tables.py"),
    message:
        "Choosing the best single model and the best ensemble on the ensemble split"
    script:
        "../scripts/ensemble_tables.py"
