"""Which rows of a table a figure and the report both speak of, so that they agree."""

import pandas as pd


def calibration_pairs(table: pd.DataFrame, version: str, measure: str) -> pd.DataFrame:
    """Comparisons by one measure of one version of the probabilities, a row a calibrated loss.

    `table`: tables/calibration_comparisons.csv. With several seeds it is the row for their mean,
    with one the row of that seed.
    """
    table = table[(table["metric"] == measure) & (table["version"] == version)]
    mean = table["replicate"].astype(str) == "mean"
    table = table[mean | ~table["loss"].isin(table.loc[mean, "loss"])]
    return table.set_index("loss")
