"""The combined lung mask is compared with each network on the same images."""

import numpy as np
import pandas as pd
from multiloss.evaluation.segmentation_scores import summarise

DICE = {"bce": [0.9, 0.8, 0.6], "focal": [0.7, 0.8, 0.9], "and_top2": [0.8, 0.9, 0.7]}


def scores() -> pd.DataFrame:
    rows = [
        (loss, split, f"{split}-{image}", f"p{image}", value - (split == "val") * 0.1, 0.5)
        for split in ("val", "test")
        for loss, values in DICE.items()
        for image, value in enumerate(values)
    ]
    table = pd.DataFrame(rows, columns=["loss", "split", "image_id", "patient_id", "dice", "iou"])
    # The images of a network may be in another order than those of the combined mask.
    return table.iloc[::-1].reset_index(drop=True)


def test_differences_are_paired_by_image() -> None:
    found = summarise(scores(), ["bce", "focal"], ["bce", "focal"], 400, 1, 0.95)
    found = found.set_index(["split", "loss"])
    for split in ("val", "test"):
        assert np.isclose(found.loc[(split, "bce"), "dice_difference"], 0.1 / 3)
        assert np.isclose(found.loc[(split, "focal"), "dice_difference"], 0.0)
    assert found.loc[("test", "and_top2"), "dice_difference":].isna().all()
    assert list(found.columns)[-4:] == [
        "selected",
        "dice_difference",
        "dice_difference_ci_low",
        "dice_difference_ci_high",
    ]


def test_intervals_are_of_the_differences() -> None:
    """From a network of equal Dice everywhere it is the combined mask's own interval, moved."""
    table = scores()
    table.loc[table["loss"] == "bce", "dice"] = 0.25
    found = summarise(table, ["bce"], ["bce"], 400, 1, 0.95).set_index(["split", "loss"])
    for split in ("val", "test"):
        ours, row = found.loc[(split, "and_top2")], found.loc[(split, "bce")]
        for end in ("low", "high"):
            assert np.isclose(row[f"dice_difference_ci_{end}"], ours[f"dice_ci_{end}"] - 0.25)
        assert row["dice_ci_low"] == row["dice_ci_high"] == 0.25


def test_a_failed_network_and_one_alone_have_no_difference() -> None:
    table = scores()
    found = summarise(table, ["bce", "focal", "tversky"], ["bce", "focal"], 50, 1, 0.95)
    assert found.set_index("loss").loc["tversky", "dice_difference"].isna().all()
    alone = table[table["loss"] == "bce"]
    assert summarise(alone, ["bce"], ["bce"], 50, 1, 0.95)["dice_difference"].isna().all()
    # What was there before is what it was.
    before = [name for name in found if not name.startswith("dice_difference")]
    assert np.allclose(
        summarise(alone, ["bce"], ["bce"], 50, 1, 0.95)[before[4:-1]].to_numpy(float),
        found.loc[found["loss"] == "bce", before[4:-1]].to_numpy(float),
    )
