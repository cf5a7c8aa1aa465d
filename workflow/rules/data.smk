# Download each source, list and check its images, divide the patients, audit the division; fetch
# weights; pack whole images for classifiers that see no crops.


rule download:
    output:
        folder=directory(RESULTS / "data/sources/{source}"),
        record=RESULTS / "data/downloads/{source}.json",
    log:
        LOGS / "download/{source}.log",
    benchmark:
        BENCHMARKS / "download/{source}.tsv"
    conda:
        "../../envs/data.yaml"
    # It has no use for more, and sources can be fetched side by side.
    threads: 1
    resources:
        mem_mb=memory_of("data"),
        runtime=runtime_of("data"),
    params:
        source=fetched,
        content=local_content,
        seed=seed_of_source,
        code=code_of("download.py", instead=what_fetches),
    message:
        "Fetching and unpacking {wildcards.source}"
    script:
        "../scripts/download.py"


# Apart from the division, so that a refusal there leaves the list of reasons behind.
rule manifest:
    input:
        sources=expand(rules.download.output.folder, source=SOURCES),
    output:
        images=RESULTS / "data/checked/images.csv",
        lungs=RESULTS / "data/checked/lungs.csv" if STUDY.segmented else [],
        rejected=RESULTS / "data/rejected.csv",
    log:
        LOGS / "manifest.log",
    benchmark:
        BENCHMARKS / "manifest.tsv"
    conda:
        "../../envs/data.yaml"
    threads: threads_of("data")
    resources:
        mem_mb=memory_of("data"),
        runtime=runtime_of("data"),
    params:
        sources=[reading(source) for source in SOURCES.values()],
        classes=config["classes"],
        rgb=STUDY.rgb,
        code=code_of("manifest.py", also=layouts_of_sources),
    message:
        "Listing and checking all images"
    script:
        "../scripts/manifest.py"


rule splits:
    input:
        images=rules.manifest.output.images,
        lungs=rules.manifest.output.lungs,
        rejected=rules.manifest.output.rejected,
    output:
        manifest=RESULTS / "data/manifest.csv",
        lungs=RESULTS / "data/lungs.csv" if STUDY.segmented else [],
        dropped=RESULTS / "data/dropped.csv",
    log:
        LOGS / "splits.log",
    benchmark:
        BENCHMARKS / "splits.tsv"
    conda:
        "../../envs/data.yaml"
    threads: threads_of("data")
    resources:
        mem_mb=memory_of("data"),
        runtime=runtime_of("data"),
    params:
        roles={name: source["role"] for name, source in SOURCES.items()},
        classes=config["classes"],
        # How the further divisions are drawn leaves this one as it is.
        splits={key: value for key, value in config["splits"].items() if key != "redraw"},
        val_fraction=config["segmentation"]["val_fraction"],
        seed=config["seed"],
        code=code_of("splits.py"),
    message:
        "Assigning the patients to splits"
    script:
        "../scripts/splits.py"


# Apart from the manifest, so that a question about another column trains nothing again.
rule attributes:
    input:
        sources=expand(rules.download.output.folder, source=CLASSIFIED),
        manifest=rules.splits.output.manifest,
    output:
        attributes=RESULTS / "data/attributes.csv",
    log:
        LOGS / "attributes.log",
    benchmark:
        BENCHMARKS / "attributes.tsv"
    # Before anything that takes long, since it may refuse.
    priority: 100
    localrule: True
    conda:
        "../../envs/data.yaml"
    threads: threads_of("data")
    resources:
        mem_mb=memory_of("data"),
        runtime=runtime_of("data"),
    params:
        sources=[reading(source) for source in CLASSIFIED.values()],
        subgroups=config["evaluation"]["subgroups"],
        code=code_of("attributes.py", also=layouts_of_sources),
    message:
        "Collecting what tells groups of patients apart"
    script:
        "../scripts/attributes.py"


# Each in a job of its own, so that an added replicate changes nothing that the others read.
rule redraw:
    input:
        manifest=rules.splits.output.manifest,
    output:
        manifest=RESULTS / "data/manifests/{replicate}.csv",
    log:
        LOGS / "redraw/{replicate}.log",
    benchmark:
        BENCHMARKS / "redraw/{replicate}.tsv"
    wildcard_constraints:
        replicate=alternatives(REDRAWN_RUNS),
    # Before anything that takes long, since it may refuse.
    priority: 100
    localrule: True
    conda:
        "../../envs/data.yaml"
    threads: threads_of("data")
    resources:
        mem_mb=memory_of("data"),
        runtime=runtime_of("data"),
    params:
        ratios=config["splits"]["ratios"],
        folds=STUDY.folds,
        classes=config["classes"],
        seed=config["seed"],
        code=code_of("redraw.py"),
    message:
        "Dividing the patients of run {wildcards.replicate} anew"
    script:
        "../scripts/redraw.py"


rule leakage:
    input:
        manifest=rules.splits.output.manifest,
        dropped=rules.splits.output.dropped,
        lungs=rules.splits.output.lungs,
        checked=rules.manifest.output.images,
        redrawn=expand(rules.redraw.output.manifest, replicate=REDRAWN_RUNS),
    output:
        readings=RESULTS / "tables/patient_readings.csv",
        table=report(
            RESULTS / "tables/leakage.csv",
            caption="../report/leakage.rst",
            category="Tables",
            labels={"table": "Leakage audit"},
        ),
    log:
        LOGS / "leakage.log",
    benchmark:
        BENCHMARKS / "leakage.tsv"
    conda:
        "../../envs/data.yaml"
    threads: threads_of("data")
    resources:
        mem_mb=memory_of("data"),
        runtime=runtime_of("data"),
    params:
        strict=config["data"]["strict_leakage"],
        sources=[reading(source) for source in CLASSIFIED.values()],
        code=code_of("leakage.py", also=layouts_of_sources),
    message:
        "Checking for patients and images in more than one split"
    script:
        "../scripts/leakage.py"


# Where the segmenters and the classifiers start from the same weights, these are fetched once.
rule encoder_weights:
    output:
        weights=RESULTS / "{section}/{weights}",
    log:
        LOGS / "encoder_weights/{section}/{weights}.log",
    benchmark:
        BENCHMARKS / "encoder_weights/{section}/{weights}.tsv"
    wildcard_constraints:
        section="segmentation|classification",
        # Keras tells the two formats of weights apart by the ending.
        weights=r"encoder(\.weights)?\.h5",
    conda:
        "../../envs/data.yaml"
    threads: threads_of("data")
    resources:
        mem_mb=memory_of("data"),
        runtime=runtime_of("data"),
    params:
        backbone=lambda wildcards: config[wildcards.section]["backbone"],
        encoder_weights=lambda wildcards: addresses.identity(
            config[wildcards.section]["encoder_weights"]
        ),
        code=code_of("encoder_weights.py", instead=lambda wildcards: []),
    message:
        "Fetching the weights that encoders start with ({wildcards.section})"
    script:
        "../scripts/encoder_weights.py"


rule pack:
    input:
        manifest=rules.splits.output.manifest,
        audit=audit_if_strict,
    output:
        images=RESULTS / "data/images.npy",
    log:
        LOGS / "pack.log",
    benchmark:
        BENCHMARKS / "pack.tsv"
    conda:
        "../../envs/data.yaml"
    threads: threads_of("data")
    resources:
        mem_mb=memory_of("data"),
        runtime=runtime_of("data"),
    params:
        image_size=config["classification"]["image_size"],
        rgb=STUDY.rgb,
        code=code_of("pack.py"),
    message:
        "Decoding all images once, at the size of the classifiers"
    script:
        "../scripts/pack.py"
