"""Made-up studies whose statistics are computed by the real modules, for tests of the report."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from multiloss import predictions
from multiloss import study as identity
from multiloss.job.files import write_csv
from synthetic_results import Study, tables

CITATION = (Path(__file__).resolve().parents[1] / "CITATION.cff").read_text(encoding="utf-8")
VERSIONS = {"python": "3.11.7", "numpy": "2.3.1"}


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a made-up study as the report gets it."""
    return copy.deepcopy(config)


def statistics(study: Study, config: dict[str, Any]) -> dict[str, Any]:
    """Add further seeds, and compute the tables of them all; returns the study's config."""
    config = complete(config)
    config["ensembles"]["seed_ensemble"]["further_seeds"] = True
    results, classes = study.results, config["classes"]
    planned = identity.Study(config)
    text = identity.models_text(planned.models.values())
    (results / "data" / "models.csv").write_text(text, encoding="utf-8")
    paths = {name: results / "predictions" / f"{name}.csv" for name in planned.models}
    members = [pd.read_csv(results / "ensembles" / "members.csv")]
    for number, model in enumerate(planned.models.values()):
        if model.kind == "seed":
            found = predictions.read([paths[planned.run(model.variant, 0).name]], classes)
            other = np.exp(np.random.default_rng(number).normal(0, 0.5, found.p[0].shape))
            p = found.p[0] * other / (found.p[0] * other).sum(axis=1, keepdims=True)
            write_csv(predictions.table(found.rows, p, found.classes), paths[model.name])
        if model.kind == "seed_ensemble":
            found = predictions.read([paths[member] for member in model.members], classes)
            averaged = predictions.table(found.rows, found.p.mean(axis=0), found.classes)
            write_csv(averaged, paths[model.name])
            rows = {"ensemble": model.name, "method": model.method, "k": model.k}
            more = pd.DataFrame(rows | {"member": model.members, "rank": range(1, model.k + 1)})
            members.append(more)
    write_csv(pd.concat(members).drop_duplicates(["ensemble", "member"]),
              results / "ensembles" / "members.csv")  # fmt: skip
    tables(results, config, 100, 1000)
    return config
