"""Made-up studies whose statistics are computed by the real modules, for tests of the report."""

import copy
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from multiloss import diversity, evaluation
from multiloss import study as identity
from multiloss.ensembles import predictions
from multiloss.evaluation.families import plain_forms
from multiloss.files import write_csv
from synthetic_results import Study

EDGES = [
    ("splits", "download"),
    ("train_segmenter", "splits"),
    ("mask", "train_segmenter"),
    ("crop", "mask"),
    ("train", "crop"),
    ("train", "train_segmenter"),
    ("predict", "train"),
    ("ensemble", "predict"),
    ("evaluate", "ensemble"),
    ("evaluate", "predict"),
    ("significance", "evaluate"),
    ("gradcam", "train"),
    ("figure", "evaluate"),
    ("figure", "gradcam"),
    ("report", "figure"),
    ("report", "significance"),
]
VERSIONS = {"python": "3.11.7", "numpy": "2.3.1"}


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a made-up study as the report gets it."""
    return copy.deepcopy(config)


def statistics(study: Study, config: dict[str, Any]) -> dict[str, Any]:
    """Replace the made-up statistics by real ones; returns the config with its defaults."""
    config = complete(config)
    config["ensembles"]["seed_ensemble"]["further_seeds"] = True
    options = config["evaluation"] | {"resamples": 100}
    tests = config["significance"] | {"permutations": 1000}
    results, seed = study.results, config["seed"]
    planned = identity.Study(config)
    text = identity.models_text(planned.models.values())
    (results / "data" / "models.csv").write_text(text, encoding="utf-8")
    models = identity.entries(planned.models.values())
    paths = {name: results / "predictions" / f"{name}.csv" for name in models}
    models = {
        name: entry
        for name, entry in models.items()
        if paths[name].is_file() or entry["kind"] in ("seed", "seed_ensemble")
    }
    for number, (name, entry) in enumerate(models.items()):
        if entry["kind"] == "seed":
            found = predictions.read(
                [paths[planned.run(entry["variant"], 0).name]], config["classes"]
            )
            other = np.exp(np.random.default_rng(number).normal(0, 0.5, found.p[0].shape))
            p = found.p[0] * other / (found.p[0] * other).sum(axis=1, keepdims=True)
            write_csv(predictions.table(found.rows, p, found.classes), paths[name])
    members = pd.read_csv(results / "ensembles" / "members.csv")
    for name, entry in models.items():
        if entry["kind"] == "seed_ensemble":
            names = list(entry["members"])
            found = predictions.read([paths[member] for member in names], config["classes"])
            averaged = predictions.table(found.rows, found.p.mean(axis=0), found.classes)
            write_csv(averaged, paths[name])
            rows = {"ensemble": name, "method": "seed_average", "k": entry["k"], "member": names}
            more = pd.DataFrame(rows).assign(rank=range(1, len(names) + 1))
            members = pd.concat([members, more])
    write_csv(members, results / "ensembles" / "members.csv")
    found = predictions.read([paths[name] for name in models], config["classes"])
    scaled, entries, _ = evaluation.with_temperatures(found, models)
    everything, entries = evaluation.join(found, scaled), models | entries
    points, thresholds = evaluation.operating_points(everything, entries, options)
    uniform = np.full(len(config["classes"]), 1 / len(config["classes"]))
    variants = {name: asdict(variant) for name, variant in planned.listed.items()}
    scores, calibrated = evaluation.calibration_tables(
        found,
        models,
        options,
        seed,
        dict.fromkeys(models, uniform),
        plain_forms(variants)[0],
        alpha=tests["alpha"],
    )
    spread, crossed = evaluation.replicate_tables(found, models, tests, options, seed, variants)
    singles = found.subset([name for name in models if models[name]["kind"] == "single"])
    tables = {
        "metrics": evaluation.metrics_table(everything, entries, options, seed, thresholds),
        "operating_points": points,
        "rank": evaluation.rank_table(found, models, options, seed),
        "significance": evaluation.significance_table(
            found, models, members, tests, options, seed, variants
        ),
        "calibration_scores": scores,
        "calibration_comparisons": calibrated,
        "replicates": spread,
        "replicate_comparisons": crossed,
        "degenerate": evaluation.degenerate_table(found, models),
        "diversity": diversity.table(
            singles, planned.models, "test", 100, 0.95, np.random.default_rng(0)
        ),
    }
    for name, table in tables.items():
        write_csv(table, results / "tables" / f"{name}.csv")
    return config
