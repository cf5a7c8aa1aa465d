# One classifier for each loss and replicate; its predictions are written once and reused.


rule train:
    input:
        manifest=rules.splits.output.manifest,
        images=training_images,
        chosen=rules.score_segmenters.output.chosen,
        segmenters=rules.score_segmenters.input.models,
    output:
        model=RESULTS / "models/{loss}/{replicate}.keras",
        history=RESULTS / "models/{loss}/{replicate}.history.csv",
        versions=RESULTS / "models/{loss}/{replicate}.versions.json",
    log:
        LOGS / "train/{loss}-r{replicate}.log",
    benchmark:
        BENCHMARKS / "train/{loss}-r{replicate}.tsv"
    priority: 20
    conda:
        "../../envs/tensorflow.yaml"
    threads: threads_of("training")
    resources:
        mem_mb=memory_of("training"),
        runtime=runtime_of("training"),
        gpu=gpus_of("training"),
    params:
        loss=lambda wildcards: ARMS[wildcards.loss].loss,
        class_weights=lambda wildcards: ARMS[wildcards.loss].class_weights,
        classes=config["classes"],
        backbone=config["classification"]["backbone"],
        training=config["classification"]["training"],
        augmentation=config["classification"]["augmentation"],
        segmentation_losses=SEGMENTATION_LOSSES,
        seed=config["seed"],
        tensorflow_threads=threads_of("training"),
        code=code_of(
            "train.py",
            losses=lambda wildcards: [("classification", ARMS[wildcards.loss].loss["name"])],
        ),
    message:
        "Training a classifier with loss {wildcards.loss}, replicate {wildcards.replicate}"
    script:
        "../scripts/train.py"


rule predict:
    input:
        manifest=rules.splits.output.manifest,
        images=training_images,
        model=rules.train.output.model,
        history=rules.train.output.history,
    output:
        predictions=RESULTS / "predictions/{loss}-r{replicate}.csv",
    log:
        LOGS / "predict/{loss}-r{replicate}.log",
    benchmark:
        BENCHMARKS / "predict/{loss}-r{replicate}.tsv"
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
        "Predicting with loss {wildcards.loss}, replicate {wildcards.replicate}"
    script:
        "../scripts/predict.py"
