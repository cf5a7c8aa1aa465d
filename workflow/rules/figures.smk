# One rule draws every figure of the catalogue from its own inputs and nothing else.


rule figure:
    input:
        unpack(figure_inputs),
    output:
        **({"tiff": RESULTS / "figures/{figure}.tif"} if JOURNAL.tiff else {}),
        png=report(
            RESULTS / "figures/{figure}.png",
            caption="../report/figure.rst",
            category=of_figure("category"),
            labels=lambda wildcards: {"figure": figure_of(wildcards).title},
        ),
        svg=RESULTS / "figures/{figure}.svg",
        pdf=RESULTS / "figures/{figure}.pdf",
        data=RESULTS / "figures/{figure}.csv",
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
        draw=of_figure("draw"),
        params=of_figure("params"),
        style=config["figures"],
        # For `snakemake --report`. What is derived of an output is no reason to draw it again.
        caption=lambda wildcards, output: figure_of(wildcards).caption,
        code=code_of("figure.py", also=what_draws),
    message:
        "Drawing {wildcards.figure}"
    script:
        "../scripts/figure.py"
