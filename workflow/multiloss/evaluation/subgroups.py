"""How the key models do in groups of the test patients: tables/subgroups.csv, subgroup_gaps.csv.

Groups report and decide nothing. Values of few patients are not given: they say little, and may say
something of a person.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multiloss.data.groups import UNKNOWN, Groups, groups
from multiloss.evaluation.intervals import intervals, near_one
from multiloss.evaluation.resamples import Models, Options, failed, missing, resample
from multiloss.evaluation.scores import method_note
from multiloss.job.errors import UserError
from multiloss.job.seeds import derive
from multiloss.predictions import Predictions
from multiloss.statistics import metrics, paired, subgroups
from multiloss.statistics.metrics import CLASS_METRICS

# What gaps are measured by: it does not depend on the shares of the classes.
OF_GAPS = "balanced_accuracy"
OF_ALL = (OF_GAPS, "auroc_macro", "brier")
# Means over the classes, each of which needs its patients.
OVER_CLASSES = ("balanced_accuracy", "f1_macro", "auroc_macro")
OF_CLASS = "recall"
SHARE = "share_"
GAP, AGAINST = "largest gap", "against the rest"
FAMILY_OF = {GAP: "subgroup_gap", AGAINST: "subgroup_against_rest"}
NOT_KNOWN = "not known: counted, not compared"

COLUMNS = [
    "model", "kind", "role", "column", "group", "metric", "value", "ci_low", "ci_high",
    "ci_method", "n", "n_patients", "reason",
]  # fmt: skip
GAP_COLUMNS = [
    "model", "kind", "role", "column", "comparison", "group", "other", "metric", "difference",
    "ci_low", "ci_high", "test", "statistic", "p_value", "p_adjusted", "reject", "family",
    "hypotheses", "correction", "primary", "permutations", "classes", "n", "n_patients", "reason",
]  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column of the test images, and how many patients values take."""

    name: str
    groups: Groups
    minimum: int

    @property
    def of_class(self) -> int:
        """Patients of a class: half as many as of a group."""
        return -(-self.minimum // 2)


def columns_of(
    test: Predictions,
    attributes: pd.DataFrame,
    wanted: Sequence[Mapping[str, Any]],
    minimum: int,
) -> list[Column]:
    """The columns of `evaluation.subgroups` for the test images.

    `attributes`: data/attributes.csv, whose values (text) may be of further images; `wanted`: the
    key's entries. Groups are those of all images, so that one without test images is told of.
    """
    places = pd.Index(attributes["image_id"]).get_indexer(test.rows["image_id"])
    if (places < 0).any():
        image = test.rows["image_id"][places < 0].iloc[0]
        raise UserError(
            f"data/attributes.csv has no image '{image}': delete the file and run again"
        )
    found = []
    for entry in wanted:
        every = groups(attributes[entry["column"]], entry["column"], entry["bands"])
        of_test = Groups(every.names, every.of[places])
        found.append(Column(entry["column"], of_test, minimum))
    return found


def subgroup_table(
    test: Predictions,
    models: Models,
    of: Mapping[str, str],
    columns: Sequence[Column],
    options: Options,
    metric: str,
    seed: int,
) -> pd.DataFrame:
    """Values of some models in every group with their intervals: tables/subgroups.csv.

    `test`: the test images; `of`: the models with their roles, as from `external_roles`; `metric`:
    `significance.metric`. Rows without a model tell the classes' shares of a group, counts that
    have no interval. A value that rests on fewer patients than the minimum is NaN with the reason:
    those of the group, and of each class for a class's recall and for means over the classes.
    A patient whose value changes counts in each group with the images there. Intervals resample
    the patients of the group.
    """
    rows: list[dict[str, Any]] = []
    names = [CLASS_METRICS[OF_CLASS].of(label) for label in test.classes]
    wanted = list(dict.fromkeys([metric, *OF_ALL, *names]))
    for column in columns:
        for place, group in [*enumerate(column.groups.names), (-1, UNKNOWN)]:
            inside = column.groups.of == place
            if place < 0 and not inside.any():
                continue
            patients = set(test.patients[inside].tolist())
            about = {"column": column.name, "group": group, "n": int(inside.sum())}
            about["n_patients"] = len(patients)
            few = NOT_KNOWN if place < 0 else _few(len(patients), column.minimum)
            for k, label in enumerate(test.classes):
                share = nan if few else float((test.y[inside] == k).mean())
                told = {"model": "", "kind": "", "role": "class share", "metric": SHARE + label}
                told |= {"value": share, "reason": few or "a count: no interval"}
                rows.append(about | told)
            part = test.where(inside) if not few else None
            for model, role in of.items():
                known = {"model": model, "kind": models[model]["kind"], "role": role} | about
                if part is None:
                    rows += [known | {"metric": name, "reason": few} for name in wanted]
                    continue
                split = f"test/{column.name}/{group}"
                rows += [
                    known | row
                    for row in _values(
                        part.subset([model]), models[model], wanted, column, options, seed, split
                    )
                ]
    return pd.DataFrame(rows, columns=COLUMNS)


def subgroup_tables(
    found: Predictions,
    models: Models,
    of: Mapping[str, str],
    attributes: pd.DataFrame,
    options: Options,
    significance: Options,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Both tables by name, for the columns that `options` (the config's `evaluation`) asks for.

    `of`: the models with their roles, as from `external_roles`; `attributes`:
    data/attributes.csv, its columns as text.
    """
    test = found.only("test").subset(list(of))
    columns = columns_of(test, attributes, options["subgroups"], options["subgroup_minimum"])
    metric = significance["metric"]
    return {
        "subgroups": subgroup_table(test, models, of, columns, options, metric, seed),
        "subgroup_gaps": gaps_table(test, models, of, columns, options, significance, seed),
    }


def _few(patients: int, minimum: int, of: str = "") -> str:
    if patients >= minimum:
        return ""
    return f"{patients} patient{'s' * (patients != 1)}{of}, fewer than {minimum}: no value is given"


def _values(
    part: Predictions,
    entry: Mapping[str, Any],
    wanted: Sequence[str],
    column: Column,
    options: Options,
    seed: int,
    split: str,
) -> list[dict[str, Any]]:
    """The metrics of one model in one group."""
    (p,) = part.p
    if failed(p):
        return [{"metric": name, "reason": missing(entry)} for name in wanted]
    resamples = resample(part, options, seed, split)
    sample = metrics.Sample(part.y, p, bins=options["ece_bins"])
    values = metrics.compute_many(wanted, sample, None, part.classes)[0]
    drawn = metrics.compute_many(wanted, sample, resamples.weights, part.classes)
    low, high, methods, reasons = intervals(
        wanted, sample, values, drawn, resamples, options, part.classes
    )
    of_class = [len(set(part.patients[part.y == k].tolist())) for k in range(len(part.classes))]
    rows = []
    for place, name in enumerate(wanted):
        known = metrics.lookup(name, part.classes)
        needed = [known.index] if known.index is not None else range(len(part.classes))
        few = ""
        if known.index is not None or known.metric.name in OVER_CLASSES:
            least = min(needed, key=lambda k: of_class[k])
            few = _few(of_class[least], column.of_class, f" of class '{part.classes[least]}'")
        row = {"metric": name, "value": values[place], "ci_low": low[place], "ci_high": high[place]}
        row |= {"ci_method": methods[place]}
        if few:
            rows.append({"metric": name, "reason": few})
            continue
        notes = [reasons[place]]
        if not np.isnan(values[place]):
            notes.append(method_note(known.metric.of_probabilities, entry))
            if methods[place] not in ("", "wilson"):
                notes.append(near_one(known, values[place], part.y, part.patients))
        rows.append(row | {"reason": "; ".join(filter(None, notes))})
    return rows


def gaps_table(
    test: Predictions,
    models: Models,
    of: Mapping[str, str],
    columns: Sequence[Column],
    options: Options,
    significance: Options,
    seed: int,
) -> pd.DataFrame:
    """Gaps between the groups of each column, of some models: tables/subgroup_gaps.csv.

    Arguments as of `subgroup_table`. The largest gap of balanced accuracy between any two groups,
    one hypothesis a model and column, Holm over all of them; and each group against all others of
    its column together, corrected by max-T over the groups and by Bonferroni over models and
    columns. Never primary. See `statistics.subgroups.gap_tests`; intervals are simultaneous over
    the groups of a column. Where no two groups can be compared there is a row with the reason.
    """
    judged = [model for model in of if not failed(test.of([model])[0])]
    hypotheses = max(1, len(columns) * len(judged))
    permutations = paired.permutations_needed(
        hypotheses, significance["alpha"], significance["permutations"]
    )
    rows: list[dict[str, Any]] = []
    for column in columns:
        size = len(test.classes), len(column.groups.names)
        compared, classes = subgroups.comparable(
            test.y, test.patients, column.groups.of, *size, column.minimum, column.of_class
        )
        inside = np.isin(column.groups.of, compared) & np.isin(test.y, classes)
        labels = "; ".join(test.classes[k] for k in classes)
        about = {"column": column.name, "metric": OF_GAPS, "classes": labels, "primary": False}
        if len(compared) < 2:
            why = _not_comparable(column, test)
            rows += [
                _known(model, models, of) | about | {"comparison": GAP, "reason": why}
                for model in of
            ]
            continue
        about |= _size(test, inside)
        lost = [model for model in of if model not in judged]
        rows += [
            _known(model, models, of)
            | about
            | {"comparison": GAP, "reason": missing(models[model])}
            for model in lost
        ]
        gaps = subgroups.gap_tests(
            test.y,
            test.of(judged).argmax(axis=2),
            test.patients,
            column.groups.of,
            compared,
            classes,
            permutations,
            np.random.default_rng(derive(seed, "permutation", "subgroups", column.name)),
            options["confidence"],
        )
        left = [name for g, name in enumerate(column.groups.names) if g not in compared]
        note = f"too few patients, not compared: {', '.join(left)}" if left else ""
        for model, gap in zip(judged, gaps, strict=True):
            told = _known(model, models, of) | about
            told |= {"test": "permutation", "permutations": permutations, "reason": note}
            rows += _of_model(told, gap, [column.groups.names[g] for g in compared], test, column)
    return _corrected(pd.DataFrame(rows, columns=GAP_COLUMNS), significance["alpha"])


def _known(model: str, models: Models, of: Mapping[str, str]) -> dict[str, Any]:
    return {"model": model, "kind": models[model]["kind"], "role": of[model]}


def _size(test: Predictions, inside: npt.NDArray[np.bool_]) -> dict[str, int]:
    return {"n": int(inside.sum()), "n_patients": len(set(test.patients[inside].tolist()))}


def _not_comparable(column: Column, test: Predictions) -> str:
    """Why no two groups of a column can be compared."""
    counts = subgroups.patient_counts(
        test.y, test.patients, column.groups.of, len(test.classes), len(column.groups.names)
    )
    if len(counts) < 2:
        return "one group only" if len(counts) else "no value is known"
    large = int((counts[:, -1] >= column.minimum).sum())
    if large < 2:
        return (
            f"{'one group' if large else 'no group'} of {len(counts)} has {column.minimum} test "
            "patients or more"
        )
    return f"no two groups have {column.of_class} patients of the same classes"


def _of_model(
    told: dict[str, Any],
    gap: subgroups.Gap,
    names: Sequence[str],
    test: Predictions,
    column: Column,
) -> list[dict[str, Any]]:
    """The row of the largest gap, and one for each group."""
    note = told["reason"]
    if not gap.movable:
        note = "; ".join(filter(None, ["no two patients could be exchanged", note]))
    rows = [
        told
        | {
            "comparison": GAP,
            "group": names[gap.best],
            "other": names[gap.worst],
            "difference": gap.gap,
            "ci_low": gap.gap_low,
            "ci_high": gap.gap_high,
            "statistic": gap.statistic,
            "p_value": gap.p_value,
            "reason": note,
        }
    ]
    for g, name in enumerate(names):
        rows.append(
            told
            | {
                "comparison": AGAINST,
                "group": name,
                "other": "all others",
                "difference": gap.against[g],
                "ci_low": gap.against_low[g],
                "ci_high": gap.against_high[g],
                "statistic": gap.against_statistic[g],
                "p_value": gap.against_p[g],
                "p_adjusted": gap.against_adjusted[g],
                "reason": note,
            }
        )
    return rows


def _corrected(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """The table with p values adjusted over the family of each comparison."""
    table["p_adjusted"] = table["p_adjusted"].astype(float)
    table["family"] = table["comparison"].map(FAMILY_OF)
    gaps, single = table["comparison"] == GAP, table["comparison"] == AGAINST
    table.loc[gaps, "p_adjusted"] = paired.holm(table.loc[gaps, "p_value"].to_numpy(float))
    families = int(table.loc[gaps, "p_value"].notna().sum())
    table.loc[single, "p_adjusted"] = np.minimum(1.0, families * table.loc[single, "p_adjusted"])
    table["hypotheses"] = np.where(gaps, families, int(single.sum()))
    table["correction"] = np.where(gaps, "Holm", "max-T, Bonferroni over models and columns")
    known = table["p_adjusted"].notna()
    table["reject"] = (table["p_adjusted"] <= alpha).astype(object).where(known, "")
    return table
