# Lung masks of the classification images, and the crops that the classifiers see.


rule mask:
    input:
        unpack(segmenters),
        manifest=rules.splits.output.manifest,
        chosen=rules.score_segmenters.output.chosen,
    output:
        masks=directory(RESULTS / "masks"),
    log:
        LOGS / "mask.log",
    benchmark:
        BENCHMARKS / "mask.tsv"
    conda:
        "../../envs/tensorflow.yaml"
    threads: threads_of("prediction")
    resources:
        mem_mb=memory_of("prediction"),
        runtime=runtime_of("prediction"),
        gpu=gpus_of("prediction"),
        jobs_per_gpu=JOBS_PER_GPU,
    params:
        image_size=config["segmentation"]["image_size"],
        batch_size=config["segmentation"]["training"]["batch_size"],
        tensorflow_threads=threads_of("prediction"),
        code=code_of("mask.py"),
    message:
        "Segmenting the lungs of all classification images"
    script:
        "../scripts/mask.py"


rule crop:
    input:
        manifest=rules.splits.output.manifest,
        masks=rules.mask.output.masks,
    output:
        boxes=RESULTS / "crops/boxes.csv",
        images=RESULTS / "crops/images.npy",
    log:
        LOGS / "crop.log",
    benchmark:
        BENCHMARKS / "crop.tsv"
    conda:
        "../../envs/data.yaml"
    threads: threads_of("data")
    resources:
        mem_mb=memory_of("data"),
        runtime=runtime_of("data"),
    params:
        margin=config["crop"]["margin"],
        png_size=config["crop"]["png_size"],
        image_size=config["classification"]["image_size"],
        rgb=STUDY.rgb,
        code=code_of("crop.py"),
    message:
        "Cropping all images to the lungs"
    script:
        "../scripts/crop.py"


# Apart from the crops, so that another check crops and trains nothing again.
rule check_masks:
    input:
        manifest=rules.splits.output.manifest,
        masks=rules.mask.output.masks,
        boxes=rules.crop.output.boxes,
    output:
        checks=RESULTS / "tables/mask_checks.csv",
        summary=RESULTS / "tables/crops.csv",
    log:
        LOGS / "check_masks.log",
    benchmark:
        BENCHMARKS / "check_masks.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        code=code_of("check_masks.py"),
    message:
        "Checking the lung masks and crops"
    script:
        "../scripts/check_masks.py"
