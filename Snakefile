# The workflow is in workflow/; from here `snakemake` finds it, and the profiles.
include: "workflow/Snakefile"


# What is included does not set the default target.
workflow.default_target = workflow.default_target or rules.all.rule.name
