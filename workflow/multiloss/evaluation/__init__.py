"""The tables of the study: every metric of every model with its interval, and what plots need.

All functions take `Predictions` (many models on the same images) and parts of the config, and
return data frames; nothing here reads or writes files. Resamples of patients are common to all
models of a split, so differences between rows are paired. The statistics themselves, on plain
arrays, are in `multiloss.statistics`.
"""

from multiloss.evaluation.calibration_tables import (
    calibration_tables,
    class_shares,
    reliability_table,
    trained_shares,
)
from multiloss.evaluation.comparisons import significance_table
from multiloss.evaluation.curves import curves_table
from multiloss.evaluation.degenerate import degenerate_table
from multiloss.evaluation.prediction_sets import prediction_set_tables
from multiloss.evaluation.ranks import rank_shares, rank_table
from multiloss.evaluation.replicates import replicate_tables
from multiloss.evaluation.resamples import FAILED, failed
from multiloss.evaluation.scores import (
    FLATTERED,
    NEAR_ONE,
    confusion_table,
    flattered_models,
    metrics_table,
)
from multiloss.evaluation.thresholds import join, operating_points, with_scaled, with_temperatures
from multiloss.evaluation.usefulness import roles, usefulness_tables

__all__ = [
    "FAILED",
    "FLATTERED",
    "NEAR_ONE",
    "calibration_tables",
    "class_shares",
    "confusion_table",
    "curves_table",
    "degenerate_table",
    "failed",
    "flattered_models",
    "join",
    "metrics_table",
    "operating_points",
    "prediction_set_tables",
    "rank_shares",
    "rank_table",
    "reliability_table",
    "replicate_tables",
    "roles",
    "significance_table",
    "trained_shares",
    "usefulness_tables",
    "with_scaled",
    "with_temperatures",
]
