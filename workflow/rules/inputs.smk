# Input functions: what a job needs, by its wildcards.


def local_archives(wildcards):
    """A source's files that lie on this machine: changed ones are read, and noticed, again."""
    source = SOURCES[wildcards.source]
    if source["layout"] == "phantom":
        return []
    urls = [source["url"], source.get("masks_url")]
    return list(filter(None, (local_file(url, Path(workflow.basedir)) for url in urls if url)))


def training_images(wildcards):
    """Crops, or the whole images for the ablation without crop."""
    crop = ARMS[wildcards.loss].crop
    return rules.crop.output.images if crop else rules.crop.output.whole


def of_replicate(kinds, levels=(None,)):
    """An input function: predictions of the models of some kinds of one replicate."""
    return lambda wildcards: predictions_of(
        models_of(kinds, replicate=wildcards.replicate, levels=levels)
    )


def ensembles_of(replicate):
    """The ensembles of a replicate by name, as the scripts take them."""
    return {name: MODELS[name] for name in models_of(["ensemble"], replicate=replicate)}


def figure_of(wildcards):
    return FIGURES[wildcards.figure]


def figure_inputs(wildcards):
    """A figure's inputs by name, below the results folder."""

    def below(paths):
        if isinstance(paths, str):
            return f"{RESULTS}/{paths}"
        return [f"{RESULTS}/{path}" for path in paths]

    return {name: below(paths) for name, paths in figure_of(wildcards).inputs.items()}


def code_of(wildcards):
    """Digest of the modules that draw a figure: a change of the drawing redraws it."""
    digest = hashlib.sha256()
    for path in figure_of(wildcards).code:
        digest.update((WORKFLOW / path).read_bytes())
    return digest.hexdigest()


def explained_images(wildcards):
    """What the network saw: crops, or whole images for the arm without the crop."""
    whole = wildcards.model in UNCROPPED
    return rules.crop.output.whole if whole else rules.crop.output.images


def locked_versions():
    """Versions of the installed packages, as the lock file pins them."""
    pin = re.compile(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", re.MULTILINE)
    lock = Path(workflow.basedir) / "requirements.lock"
    return dict(pin.findall(lock.read_text(encoding="utf-8")))


def all_outputs(wildcards):
    """What the study makes: the report's tables and figures, models, crops and masks."""
    return [
        *rules.report.input.tables,
        *rules.report.input.figures,
        *(model_file(model) for model in [*TRAINED, *MODEL_LEVEL]),
        *predictions_of(MODELS),
        rules.mask.output.masks,
    ]
