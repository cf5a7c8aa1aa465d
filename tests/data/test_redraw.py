"""A division for each run: whole groups, the same test split, and nothing seen of its labels."""

import numpy as np
import pandas as pd
import pytest
from multiloss.data import splits
from multiloss.data.redraw import redraw
from multiloss.data.tables import REDRAWN_SPLITS
from multiloss.job.errors import UserError
from test_splits import CLASSES, RATIOS, kermany_like, table


def divisions(manifest: pd.DataFrame, runs: int = 4, seed: int = 1) -> list[pd.DataFrame]:
    """Run 0's division and those of further runs."""
    test = "shipped" if (manifest["shipped_split"] == "test").any() else 0.2
    first, _ = splits.assign(manifest, RATIOS, test, "drop", seed, CLASSES)
    return [first, *(redraw(first, RATIOS, run, seed, CLASSES) for run in range(1, runs))]


@pytest.mark.parametrize("shipped", [True, False])
def test_each_run_divides_whole_groups_and_keeps_the_test(shipped: bool) -> None:
    found = divisions(kermany_like(test=shipped))
    first = found[0]
    for own in found[1:]:
        assert (own.groupby("group")["split"].nunique() == 1).all()
        assert (own["split"] == "test").equals(first["split"] == "test")
        # Apart from the split, rows and their order are those that the arrays of images have.
        assert own.drop(columns="split").equals(first.drop(columns="split"))
        pool = own[own["split"] != "test"]
        counts = pd.crosstab(pool["split"], pool["label"])
        for split, ratio in RATIOS.items():
            assert (np.abs(counts.loc[split] - ratio * counts.sum()) <= 1.5).all()
    patterns = {tuple(own["split"]) for own in found}
    assert len(patterns) == len(found)


def test_divisions_of_two_runs_overlap_no_more_than_by_chance() -> None:
    """Of single images, 0.7^2 + 2 * 0.15^2 = 53.5% stay in their split by chance."""
    rows = [(f"{label}{n}", label, "", 1) for label in CLASSES for n in range(300)]
    found = divisions(table(*rows), runs=6)
    pools = [own.loc[own["split"].isin(REDRAWN_SPLITS), "split"].to_numpy() for own in found]
    same = [np.mean(a == b) for k, a in enumerate(pools) for b in pools[:k]]
    assert np.mean(same) == pytest.approx(0.535, abs=0.02)


def test_exchanged_labels_of_the_test_change_no_division() -> None:
    manifest = kermany_like()
    permuted = manifest.copy()
    test = permuted["shipped_split"] == "test"
    labels = permuted.loc[test, "label"].to_numpy()
    permuted.loc[test, "label"] = np.random.default_rng(0).permutation(labels)
    assert not permuted.equals(manifest)
    for own, other in zip(divisions(manifest), divisions(permuted), strict=True):
        assert own["split"].equals(other["split"])
    # Where the test is drawn, its labels have a say in the first division, and in no further one.
    first, _ = splits.assign(kermany_like(test=False), RATIOS, 0.2, "drop", 1, CLASSES)
    exchanged = first.copy()
    exchanged.loc[first["split"] == "test", "label"] = CLASSES[0]
    again = redraw(exchanged, RATIOS, 1, 1, CLASSES)
    assert again["split"].equals(redraw(first, RATIOS, 1, 1, CLASSES)["split"])


def test_same_run_same_division_whatever_the_order_and_the_first_division() -> None:
    first, second, *_ = divisions(kermany_like())
    assert redraw(first, RATIOS, 1, 1, CLASSES).equals(second)
    # From another division of the same pool the same follows.
    assert redraw(second, RATIOS, 1, 1, CLASSES).equals(second)
    assert not redraw(first, RATIOS, 1, 2, CLASSES).equals(second)
    shuffled = redraw(first.sample(frac=1, random_state=3), RATIOS, 1, 1, CLASSES)
    assert shuffled.sort_index().equals(second)


def test_rows_of_other_splits_stay() -> None:
    first, *_ = divisions(kermany_like())
    outside = first["split"] == "test"
    first.loc[outside & (np.arange(len(first)) % 2 == 0), "split"] = "external_clinic"
    own = redraw(first, RATIOS, 1, 1, CLASSES)
    assert own.loc[outside, "split"].equals(first.loc[outside, "split"])


def test_refusals_name_the_run() -> None:
    rows = [("p0", label, "train", 30) for label in CLASSES]
    rows += [(f"{label}{n}", label, "train", 1) for label in CLASSES for n in range(2)]
    manifest = table(*rows)
    manifest["split"] = "train"
    with pytest.raises(UserError, match="run 3: split 'train' has 90 images of one patient, 'p0'"):
        redraw(manifest, RATIOS, 3, 1, CLASSES)
    few = manifest[~manifest["group"].isin(["viral0", "p0"])].reset_index(drop=True)
    with pytest.raises(UserError, match="redraw: run 2: class '.*' has no image in split"):
        redraw(few, RATIOS, 2, 1, CLASSES)
