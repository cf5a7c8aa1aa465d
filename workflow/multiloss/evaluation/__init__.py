"""The tables of the study: every metric of every model with its interval, and what plots need.

All functions take `Predictions` (many models on the same images) and parts of the config, and
return data frames; nothing here reads or writes files. Resamples of patients are common to all
models of a split, so differences between rows are paired. The statistics themselves, on plain
arrays, are in `multiloss.statistics`.
"""

from multiloss.evaluation.against_baseline import against_baseline_table
from multiloss.evaluation.calibration_curves import curve_tables, reliability_table
from multiloss.evaluation.calibration_tables import (
    calibration_tables,
    class_shares,
    trained_shares,
)
from multiloss.evaluation.comparisons import significance_table
from multiloss.evaluation.curves import curves_table
from multiloss.evaluation.degenerate import degenerate_table
from multiloss.evaluation.ensembles_over_seeds import ensemble_comparisons_table
from multiloss.evaluation.external import external_comparisons, external_roles, external_table
from multiloss.evaluation.folds import (
    Folds,
    fold_comparisons_table,
    fold_runs,
    folds_table,
    of_one_fold,
    pooled_table,
)
from multiloss.evaluation.intervals import NEAR_ONE
from multiloss.evaluation.planning import planning_table
from multiloss.evaluation.prediction_sets import prediction_set_tables
from multiloss.evaluation.ranks import rank_shares, rank_table
from multiloss.evaluation.replicates import replicate_comparisons_table, replicates_table
from multiloss.evaluation.resamples import FAILED, failed
from multiloss.evaluation.runs import runs_on_test
from multiloss.evaluation.scores import (
    FLATTERED,
    confusion_table,
    flattered_models,
    metrics_table,
)
from multiloss.evaluation.seed_spread import seed_spread_table
from multiloss.evaluation.subgroups import subgroup_tables
from multiloss.evaluation.thresholds import (
    by_patient,
    join,
    operating_points,
    with_scaled,
    with_temperatures,
)
from multiloss.evaluation.usefulness import roles, usefulness_tables
from multiloss.evaluation.verdicts import primary_comparisons, verdicts_table

__all__ = [
    "FAILED",
    "FLATTERED",
    "Folds",
    "NEAR_ONE",
    "against_baseline_table",
    "by_patient",
    "calibration_tables",
    "class_shares",
    "confusion_table",
    "curve_tables",
    "curves_table",
    "degenerate_table",
    "external_comparisons",
    "external_roles",
    "external_table",
    "ensemble_comparisons_table",
    "failed",
    "flattered_models",
    "fold_comparisons_table",
    "fold_runs",
    "folds_table",
    "join",
    "of_one_fold",
    "metrics_table",
    "operating_points",
    "planning_table",
    "pooled_table",
    "primary_comparisons",
    "prediction_set_tables",
    "rank_shares",
    "rank_table",
    "reliability_table",
    "roles",
    "replicate_comparisons_table",
    "replicates_table",
    "runs_on_test",
    "seed_spread_table",
    "significance_table",
    "subgroup_tables",
    "trained_shares",
    "verdicts_table",
    "usefulness_tables",
    "with_scaled",
    "with_temperatures",
]
