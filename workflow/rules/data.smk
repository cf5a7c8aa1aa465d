# Download each source, list and check its images, divide the patients, audit the division.


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
    threads: threads_of("data")
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
        lungs=RESULTS / "data/checked/lungs.csv",
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
        lungs=RESULTS / "data/lungs.csv",
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
        splits=config["splits"],
        val_fraction=config["segmentation"]["val_fraction"],
        seed=config["seed"],
        code=code_of("splits.py"),
    message:
        "Assigning the patients to splits"
    script:
        "../scripts/splits.py"


rule leakage:
    input:
        manifest=rules.splits.output.manifest,
        dropped=rules.splits.output.dropped,
        lungs=rules.splits.output.lungs,
    output:
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
        code=code_of("leakage.py"),
    message:
        "Checking for patients and images in more than one split"
    script:
        "../scripts/leakage.py"
