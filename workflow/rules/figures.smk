# One rule draws every figure of the catalogue from its own inputs and nothing else.


rule figure:
    input:
        unpack(figure_inputs),
    output:
        png=report(
            RESULTS / "figures/{figure}.png",
            caption="../report/figure.rst",
            category=lambda wildcards: figure_of(wildcards).category,
            labels=lambda wildcards: {"figure": figure_of(wildcards).title},
        ),
        svg=RESULTS / "figures/{figure}.svg",
        facts=RESULTS / "figures/{figure}.json",
    log:
        LOGS / "figure/{figure}.log",
    benchmark:
        BENCHMARKS / "figure/{figure}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: threads_of("analysis")
    resources:
        mem_mb=memory_of("analysis"),
        runtime=runtime_of("analysis"),
    params:
        figure=lambda wildcards: vars(figure_of(wildcards)),
        style=config["figures"],
    message:
        "Drawing {wildcards.figure}"
    script:
        "../scripts/figure.py"
