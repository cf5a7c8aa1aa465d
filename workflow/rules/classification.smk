# One classifier for each variant and replicate; its predictions are written once and reused.


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
        models=entries_of(STUDY.models),
        code=code_of("models.py"),
    message:
        "Listing the study's models"
    script:
        "../scripts/models.py"


rule train:
    input:
        manifest=rules.splits.output.manifest,
        images=training_images,
        chosen=rules.score_segmenters.output.chosen if STUDY.from_segmenter else [],
        segmenters=rules.score_segmenters.input.models if STUDY.from_segmenter else [],
        weights=initial_weights("classification"),
    output:
        model=RESULTS / "models/{variant}/{replicate}.keras",
        history=RESULTS / "models/{variant}/{replicate}.history.csv",
        versions=RESULTS / "models/{variant}/{replicate}.versions.json",
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
    params:
        name=lambda wildcards: study.OF_VARIANT.format(**wildcards),
        loss=lambda wildcards: STUDY.variants[wildcards.variant].loss,
        class_weights=lambda wildcards: STUDY.variants[wildcards.variant].class_weights,
        classes=config["classes"],
        backbone=config["classification"]["backbone"],
        training=lambda wildcards: STUDY.variants[wildcards.variant].training,
        augmentation=lambda wildcards: STUDY.variants[wildcards.variant].augmentation,
        segmentation_losses=SEGMENTATION_LOSSES,
        seed=config["seed"],
        tensorflow_threads=threads_of("training"),
        code=code_of(
            "train.py",
            losses=lambda wildcards: [
                ("classification", STUDY.variants[wildcards.variant].loss["name"])
            ],
        ),
    message:
        "Training classifier {wildcards.variant}, replicate {wildcards.replicate}"
    script:
        "../scripts/train.py"


rule predict:
    input:
        manifest=rules.splits.output.manifest,
        images=training_images,
        model=rules.train.output.model,
        history=rules.train.output.history,
    output:
        predictions=RESULTS / f"predictions/{study.OF_VARIANT}.csv",
    log:
        LOGS / f"predict/{study.OF_VARIANT}.log",
    benchmark:
        BENCHMARKS / f"predict/{study.OF_VARIANT}.tsv"
    conda:
        "../../envs/tensorflow.yaml"
    threads: threads_of("prediction")
    resources:
        mem_mb=memory_of("prediction"),
        runtime=runtime_of("prediction"),
        gpu=gpus_of("prediction"),
    params:
        classes=config["classes"],
        batch_size=config["classification"]["training"]["batch_size"],
        tensorflow_threads=threads_of("prediction"),
        code=code_of("predict.py"),
    message:
        "Predicting with {wildcards.variant}, replicate {wildcards.replicate}"
    script:
        "../scripts/predict.py"
