# Heat maps of every single model and model-level ensemble, and how well they point.

EXPLAINED = [model.name for model in SHOWN.explained]


rule gradcam:
    input:
        manifest=rules.splits.output.manifest,
        images=explained_images,
        model=lambda wildcards: model_file(wildcards.model),
        history=lambda wildcards: history_file(wildcards.model),
    output:
        maps=RESULTS / "gradcam/{model}.npz",
    log:
        LOGS / "gradcam/{model}.log",
    benchmark:
        BENCHMARKS / "gradcam/{model}.tsv"
    wildcard_constraints:
        model=alternatives(EXPLAINED),
    conda:
        "../../envs/tensorflow.yaml"
    threads: threads_of("prediction")
    resources:
        mem_mb=memory_of("prediction"),
        runtime=runtime_of("prediction"),
        gpu=gpus_of("prediction"),
        jobs_per_gpu=JOBS_PER_GPU,
    params:
        layer=lambda wildcards: STUDY.models[wildcards.model].explained_layer,
        # Only what the maps depend on: a changed threshold of a figure must not rerun them.
        gradcam={
            key: config["gradcam"][key]
            for key in (
                "batch_size",
                "faithfulness_images",
                "faithfulness_steps",
                "randomised_images",
            )
        },
        seed=config["seed"],
        tensorflow_threads=threads_of("prediction"),
        code=code_of("gradcam.py"),
    message:
        "Computing Grad-CAM maps of {wildcards.model}"
    script:
        "../scripts/gradcam.py"


rule localisation:
    input:
        manifest=rules.splits.output.manifest,
        masks=rules.mask.output.masks if STUDY.segmented else [],
        boxes=rules.crop.output.boxes if STUDY.segmented else [],
        maps=expand(rules.gradcam.output.maps, model=EXPLAINED),
    output:
        table=report(
            RESULTS / "tables/localisation.csv",
            caption="../report/localisation.rst",
            category="Tables",
            labels={"table": "Grad-CAM localisation"},
        ),
    log:
        LOGS / "localisation.log",
    benchmark:
        BENCHMARKS / "localisation.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        models=entries_of(EXPLAINED),
        classes=config["classes"],
        gradcam={
            key: config["gradcam"][key]
            for key in ("localisation_thresholds", "pointing_tolerance")
        },
        evaluation={key: config["evaluation"][key] for key in ("resamples", "confidence")},
        baseline=STUDY.baseline,
        seed=config["seed"],
        code=code_of("localisation.py"),
    message:
        "Measuring the localisation of Grad-CAM maps"
    script:
        "../scripts/localisation.py"
