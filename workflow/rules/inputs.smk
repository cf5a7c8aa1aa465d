# Input functions: what a job needs, by its wildcards.


def seed_of_source(wildcards):
    """Generated images alone depend on the seed; another one downloads nothing again."""
    return config["seed"] if SOURCES[wildcards.source]["layout"] == "phantom" else None


def local_content(wildcards):
    """What lies on this machine of a source: other archives and images are noticed, and read.

    No inputs, since their place and date are not what counts. A declared digest says it all.
    """
    source = SOURCES[wildcards.source]
    if source["layout"] == "phantom":
        return []
    parts = [(source["url"], source["sha256"]), (source["masks_url"], source["masks_sha256"])]
    paths = [
        addresses.local_path(url)
        for url, sha256 in parts
        if url and not sha256 and not addresses.is_remote(url)
    ]
    return [listing.fingerprint(path) for path in paths if path.exists()]


def fetched(wildcards):
    """What decides on the content of a source; how it is read or cited fetches nothing again.

    A password or token is no part of it: Snakemake stores what this returns.
    """
    keys = ["name", "role", "layout", "sha256", "masks_sha256"]
    source = SOURCES[wildcards.source]
    masks = source["masks_url"]
    found = {key: source[key] for key in keys} | {
        "url": addresses.identity(source["url"], source["sha256"]),
        "masks_url": masks and addresses.identity(masks, source["masks_sha256"]),
    }
    if source["layout"] == "phantom":
        found["phantom"] = configuration.generator_options(source["phantom"])
    return found


def reading(source):
    """What decides on how the files of a source are read."""
    source = addresses.without_secrets(source)
    return {
        key: source[key]
        for key in ("name", "role", "layout", "url", "table", "patient_pattern", "patients", "bits")
    }


def audit_if_strict(wildcards):
    """With `strict_leakage` no training starts before the audit has passed."""
    return rules.leakage.output.table if config["data"]["strict_leakage"] else []


def fetched_weights(section):
    """The name of the weights that a job fetches for an encoder of this section; None if none."""

    def start(name):
        return config[name]["backbone"], config[name]["encoder_weights"]

    if not encoder_weights.address(*start(section)):
        return None
    shared = STUDY.segmented and start("segmentation") == start("classification")
    ending = encoder_weights.ending(config[section]["encoder_weights"])
    return f"{RESULTS}/{'segmentation' if shared else section}/encoder{ending}"


def initial_weights(section):
    """The file that the weights of a section's encoder come from; a random start has none."""
    if fetched := fetched_weights(section):
        return fetched
    path = encoder_weights.local_weights(config[section]["encoder_weights"])
    if path is None:
        return []
    # Below the checkout as Snakemake tells the results, so that both can be moved together.
    return os.path.relpath(path) if path.is_relative_to(addresses.CHECKOUT) else path


# What belongs to a loss or a model is named by it, so that no other order can exchange two.
def segmenters(wildcards):
    """The trained lung segmenters by loss."""
    return {loss: segmenter_file(loss) for loss in SEGMENTATION_LOSSES}


def segmenter_results(wildcards):
    """What the lung segmenters found and their encoders: `LOSS.masks` and `LOSS.encoder`."""
    return {
        f"{loss}.{part}": segmenter_file(loss).removesuffix(".keras") + ending
        for loss in SEGMENTATION_LOSSES
        for part, ending in (("masks", ".masks.npz"), ("encoder", ".encoder.keras"))
    }


def single_models(wildcards):
    """The trained classifiers of a replicate by name, without ablations and further seeds."""
    names = models_of(["single"], replicate=wildcards.replicate)
    return {name: trained_model(name) for name in names}


def segmentation_loss(wildcards):
    """A lung segmenter's loss with its parameters."""
    losses = {loss["name"]: loss for loss in config["segmentation"]["losses"]}
    return losses[wildcards.segmentation_loss]


def of_variant(part):
    """A params function: one part of what a variant is, such as its loss."""
    return lambda wildcards: getattr(STUDY.variants[wildcards.variant], part)


def manifest_of_run(wildcards):
    """The images with the splits of a run: the first division, or one of its own."""
    of_run = STUDY.redrawn and int(wildcards.replicate) > 0
    return rules.redraw.output.manifest if of_run else rules.splits.output.manifest


def run_name(wildcards):
    """The name of a training run."""
    return study.OF_VARIANT.format(**wildcards)


def packed(cropped):
    """The array of what classifiers see: crops, or whole images."""
    return rules.crop.output.images if cropped else rules.pack.output.images


def initial_encoder(wildcards):
    """What classifiers start from: the best segmenter, a file of weights, or nothing."""
    if STUDY.from_segmenter:
        return rules.score_segmenters.output.encoder
    return initial_weights("classification")


def training_images(wildcards):
    """Crops, or the whole images of a variant that sees these."""
    return packed(STUDY.variants[wildcards.variant].crop)


def evaluation_keys(*keys):
    """Those keys of `evaluation` that a rule needs; others must not compute it again."""
    return {key: config["evaluation"][key] for key in keys}


def of_replicate(kinds, levels=(None,)):
    """An input function: predictions of the models of some kinds of one replicate."""
    return lambda wildcards: predictions_of(
        models_of(kinds, replicate=wildcards.replicate, levels=levels)
    )


def entries_of_replicate(kind):
    """A params function: what the models of a kind and replicate are, by name."""
    return lambda wildcards: entries_of(models_of([kind], replicate=wildcards.replicate))


def averaged_seeds(wildcards):
    """The predictions that an ensemble of seeds averages."""
    return predictions_of(STUDY.models[study.OF_SEEDS.format(**wildcards)].members)


def figure_of(wildcards):
    return FIGURES[wildcards.figure]


def of_figure(part):
    """A params function: one part of a figure's entry in the catalogue."""
    return lambda wildcards: getattr(figure_of(wildcards), part)


def figure_inputs(wildcards):
    """A figure's inputs by name, below the results folder."""
    return figure_of(wildcards).files(RESULTS)


def explained_images(wildcards):
    """What the network saw."""
    return packed(STUDY.models[wildcards.model].cropped)


def locked_versions():
    """The lock file's pins by package; a few have several, for different versions of Python."""
    pin = re.compile(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", re.MULTILINE)
    lock = WORKFLOW.parent / "requirements.lock"
    pins = {}
    for package, version in pin.findall(lock.read_text(encoding="utf-8")):
        pins.setdefault(package, []).append(version)
    return pins


@functools.cache
def warn_of_gaps(output):
    """Say which masks or crops somebody deleted: Snakemake watches their folder as a whole."""
    folder = Path(output) if Path(output).is_dir() else Path(output).parent
    gaps = listing.missing(folder, Path(rules.splits.output.manifest))
    if gaps:
        logger.warning(
            f"{folder} lacks {gaps[0]}.png ({len(gaps)} missing in all). With the same options: "
            f"`snakemake --force {output}` makes them again, and `snakemake --touch` then keeps "
            "what was made from them."
        )


def all_outputs(wildcards):
    """What the study makes: the report and cards, tables and figures, models, crops and masks."""
    masks = [rules.mask.output.masks] if STUDY.segmented else []
    for output in [*masks, rules.crop.output.boxes] if masks else []:
        warn_of_gaps(output)
    return [
        *rules.report.output,
        *rules.report.input.tables,
        *rules.report.input.figures,
        *(model_file(model) for model in [*TRAINED, *MODEL_LEVEL]),
        *predictions_of(STUDY.models),
        *masks,
    ]
