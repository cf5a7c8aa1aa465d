# One lung segmenter per loss, scored on images of their own. Each finds the lungs of these while it
# is in memory: another job would start TensorFlow and load it for a second's work.


rule lungs:
    input:
        lungs=rules.splits.output.lungs,
        audit=audit_if_strict,
    output:
        images=RESULTS / "segmentation/images.npy",
        masks=RESULTS / "segmentation/masks.npy",
    log:
        LOGS / "lungs.log",
    benchmark:
        BENCHMARKS / "lungs.tsv"
    # All trainings wait for it; figures of the images do not matter yet.
    priority: 20
    conda:
        "../../envs/data.yaml"
    threads: threads_of("data")
    resources:
        mem_mb=memory_of("data"),
        runtime=runtime_of("data"),
    params:
        size=config["segmentation"]["image_size"],
        code=code_of("lungs.py"),
    message:
        "Decoding the lung images and masks"
    script:
        "../scripts/lungs.py"


rule train_segmenter:
    input:
        lungs=rules.splits.output.lungs,
        images=rules.lungs.output.images,
        masks=rules.lungs.output.masks,
        weights=initial_weights("segmentation"),
    output:
        model=RESULTS / "segmentation/models/{segmentation_loss}.keras",
        history=RESULTS / "segmentation/models/{segmentation_loss}.history.csv",
        versions=RESULTS / "segmentation/models/{segmentation_loss}.versions.json",
        # Of the val and test images, at their own size.
        masks=RESULTS / "segmentation/models/{segmentation_loss}.masks.npz",
        # The network as far as classifiers go.
        encoder=RESULTS / "segmentation/models/{segmentation_loss}.encoder.keras",
    log:
        LOGS / "train_segmenter/{segmentation_loss}.log",
    benchmark:
        BENCHMARKS / "train_segmenter/{segmentation_loss}.tsv"
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
        loss=segmentation_loss,
        backbone=config["segmentation"]["backbone"],
        decoder_filters=config["segmentation"]["decoder_filters"],
        image_size=config["segmentation"]["image_size"],
        training=config["segmentation"]["training"],
        augmentation=config["segmentation"]["augmentation"],
        seed=config["seed"],
        tensorflow_threads=threads_of("training"),
        code=code_of("train_segmenter.py", losses=loss_of_segmenter),
    message:
        "Training the lung segmenter with loss {wildcards.segmentation_loss}"
    script:
        "../scripts/train_segmenter.py"


rule score_segmenters:
    input:
        unpack(segmenter_results),
        lungs=rules.splits.output.lungs,
    output:
        chosen=RESULTS / "segmentation/chosen.csv",
        # Of the best segmenter: all classifiers start from this one file.
        encoder=RESULTS / "segmentation/encoder.keras",
        per_image=RESULTS / "segmentation/scores_per_image.csv",
        examples=RESULTS / "segmentation/examples.csv",
        example_arrays=RESULTS / "segmentation/examples.npz",
    log:
        LOGS / "score_segmenters.log",
    benchmark:
        BENCHMARKS / "score_segmenters.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        losses=SEGMENTATION_LOSSES,
        ensemble_size=config["segmentation"]["ensemble_size"],
        examples=2,
        code=code_of("score_segmenters.py"),
    message:
        "Scoring the lung segmenters and choosing the best"
    script:
        "../scripts/score_segmenters.py"


# Apart from the choice, so that other intervals train and mask nothing again.
rule segmentation_scores:
    input:
        per_image=rules.score_segmenters.output.per_image,
        chosen=rules.score_segmenters.output.chosen,
    output:
        scores=RESULTS / "segmentation/scores.csv",
    log:
        LOGS / "segmentation_scores.log",
    benchmark:
        BENCHMARKS / "segmentation_scores.tsv"
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        losses=SEGMENTATION_LOSSES,
        resamples=config["evaluation"]["resamples"],
        confidence=config["evaluation"]["confidence"],
        seed=config["seed"],
        code=code_of("segmentation_scores.py"),
    message:
        "Summarising the scores of the lung segmenters"
    script:
        "../scripts/segmentation_scores.py"
