# One classifier for each variant and replicate. It predicts while it is in memory: another job would
# start TensorFlow and load it for a second's work. The table of its predictions is made apart.


rule models:
    output:
        models=RESULTS / "data/models.csv",
    log:
        LOGS / "models.log",
    benchmark:
        BENCHMARKS / "models.tsv"
    localrule: True
    conda:
        "../../envs/data.yaml"
    threads: threads_of("data")
    resources:
        mem_mb=memory_of("data"),
        runtime=runtime_of("data"),
    params:
        models=entries_of(SHOWN.models),
        code=code_of("models.py"),
    message:
        "Listing the study's models"
    script:
        "../scripts/models.py"


rule train:
    input:
        manifest=manifest_of_run,
        images=training_images,
        encoder=initial_encoder,
    output:
        model=RESULTS / "models/{variant}/{replicate}.keras",
        history=RESULTS / "models/{variant}/{replicate}.history.csv",
        versions=RESULTS / "models/{variant}/{replicate}.versions.json",
        probabilities=RESULTS / "models/{variant}/{replicate}.probabilities.npy",
    log:
        LOGS / f"train/{study.OF_VARIANT}.log",
    benchmark:
        BENCHMARKS / f"train/{study.OF_VARIANT}.tsv"
    priority: 20
    conda:
        "../../envs/tensorflow.yaml"
    threads: threads_of("training")
    resources:
        mem_mb=memory_of("training"),
        runtime=runtime_of("training"),
        gpu=gpus_of("training"),
        jobs_per_gpu=JOBS_PER_GPU,
    params:
        name=run_name,
        loss=of_variant("loss"),
        class_weights=of_variant("class_weights"),
        classes=config["classes"],
        backbone=config["classification"]["backbone"],
        from_segmenter=STUDY.from_segmenter,
        training=of_variant("training"),
        augmentation=of_variant("augmentation"),
        seed=config["seed"],
        tensorflow_threads=threads_of("training"),
        code=code_of("train.py", losses=loss_of_variant),
    message:
        "Training classifier {wildcards.variant}, replicate {wildcards.replicate}"
    script:
        "../scripts/train.py"


rule predict:
    input:
        manifest=manifest_of_run,
        probabilities=rules.train.output.probabilities,
    output:
        predictions=RESULTS / f"predictions/{study.OF_VARIANT}.csv",
    log:
        LOGS / f"predict/{study.OF_VARIANT}.log",
    benchmark:
        BENCHMARKS / f"predict/{study.OF_VARIANT}.tsv"
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        classes=config["classes"],
        code=code_of("predict.py"),
    message:
        "Listing the predictions of {wildcards.variant}, replicate {wildcards.replicate}"
    script:
        "../scripts/predict.py"
