"""Which rows of a table a figure and the report both speak of, so that they agree."""

import pandas as pd

from multiloss.statistics.paired import holm


def calibration_pairs(table: pd.DataFrame, version: str) -> pd.DataFrame:
    """Comparisons by ECE of one version of the probabilities, one row for each calibrated loss.

    `table`: tables/calibration_comparisons.csv. With several seeds it is the row for their mean,
    with one the row of that seed. The column `holm` is the p value corrected over these rows.
    """
    table = table[(table["metric"] == "ece") & (table["version"] == version)]
    mean = table["replicate"].astype(str) == "mean"
    table = table[mean | ~table["loss"].isin(table.loc[mean, "loss"])]
    return table.assign(holm=holm(table["p_value"].to_numpy(float))).set_index("loss")
