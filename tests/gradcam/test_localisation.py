"""Localisation measures by hand, their table with intervals, and stored maps that are wrong."""

import runpy
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jobs import Named
from multiloss.gradcam import heat, localisation
from multiloss.job.errors import UserError
from scipy.stats import rankdata, t, ttest_1samp

HEAT = np.array([[1.0, 0.5], [0.5, 0.0]], np.float32)
LEFT = np.array([[1, 0], [1, 0]], bool)


def test_shares_points_and_overlaps_by_hand():
    assert localisation.heat_share(HEAT, LEFT) == 0.75
    assert localisation.heat_share(HEAT, ~LEFT) == 0.25
    assert localisation.pointing_game(HEAT, LEFT) == 1
    assert localisation.pointing_game(HEAT, ~LEFT) == 0
    # One pixel away.
    assert localisation.pointing_game(HEAT, ~LEFT, tolerance=1) == 1
    assert localisation.pointing_game(HEAT, ~LEFT, tolerance=0.9) == 0
    # Three pixels of at least 0.5, two of them among the two on the left.
    assert localisation.overlap(HEAT, LEFT, 0.5) == (2 / 3, 4 / 5)
    assert localisation.overlap(HEAT, LEFT, 0.6) == (1 / 2, 2 / 3)
    assert localisation.overlap(HEAT, ~LEFT, 1.0) == (0, 0)


def test_a_map_without_heat_has_no_measure():
    flat = np.zeros((2, 2), np.float32)
    assert np.isnan(localisation.heat_share(flat, LEFT))
    assert np.isnan(localisation.pointing_game(flat, LEFT))
    assert np.isnan(localisation.overlap(flat, LEFT, 0.2)).all()


def test_hottest_pixels_share_the_point():
    ones = np.ones((2, 2), np.float32)
    assert localisation.pointing_game(ones, LEFT) == 0.5
    assert localisation.heat_share(ones, LEFT) == 0.5
    assert localisation.overlap(ones, LEFT, 0.2) == (0.5, 2 / 3)


def test_cut_acts_on_the_0_1_map():
    np.testing.assert_array_equal(heat.cut(HEAT, 0.5), HEAT)
    np.testing.assert_array_equal(heat.cut(HEAT, 0.6), [[1, 0], [0, 0]])
    assert heat.cut(HEAT, 0.6).dtype == np.float32


def test_map_is_laid_on_the_crop_box_of_the_original():
    image = heat.to_original(HEAT, (3, 1, 4, 2), (5, 9))
    assert image.shape == (5, 9) and image.dtype == np.float32
    inside = image[1:3, 3:7]
    assert image.sum() == pytest.approx(inside.sum())
    # Linear between the centres of the cells: 1, 0.875, 0.625, 0.5 in the first row.
    np.testing.assert_allclose(inside, [[1, 0.875, 0.625, 0.5], [0.5, 0.375, 0.125, 0]])
    for box in [(6, 1, 4, 2), (0, 4, 4, 2), (-1, 0, 2, 2), (0, 0, 0, 2)]:
        with pytest.raises(ValueError, match="does not lie in an image of 9x5"):
            heat.to_original(HEAT, box, (5, 9))


@given(
    heat=hnp.arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32)),
    region=hnp.arrays(bool, (3, 4)),
    threshold=st.floats(0.0625, 1),
    tolerance=st.floats(0, 5),
)
def test_measures_keep_their_bounds(heat, region, threshold, tolerance):
    if not region.any() or heat.max() <= 0:
        return
    share = localisation.heat_share(heat, region)
    assert 0 <= share <= 1
    assert share + localisation.heat_share(heat, ~region) == pytest.approx(1)
    iou, dice = localisation.overlap(heat, region, threshold)
    assert dice == pytest.approx(2 * iou / (1 + iou))
    near, exact = (localisation.pointing_game(heat, region, t) for t in (tolerance, 0))
    assert 0 <= exact <= near <= 1
    for mirror in (np.fliplr, np.flipud):
        assert localisation.overlap(mirror(heat), mirror(region), threshold) == (iou, dice)


def test_distance_to_a_region_is_euclidean():
    region = np.zeros((9, 9), bool)
    region[4, 4] = True
    yy, xx = np.mgrid[:9, :9]
    for distance in (1, 1.5, 2.3, 3):
        expected = np.hypot(yy - 4, xx - 4) <= distance
        np.testing.assert_array_equal(localisation.within(region, distance), expected)


def test_area_under_curves_by_hand():
    curves = [[1, 0.5, 0], [1, 1, 1], [0, 0, 1]]
    np.testing.assert_allclose(localisation.area_under(curves), [0.5, 1, 0.25])


def test_rank_correlation_is_that_of_the_ranks():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 5, 3, 3))
    a[1] = 0
    b[2] = 3 * a[2] ** 2
    b[3] = 1 - a[3]
    found = localisation.rank_correlations(a.astype(np.float16), b.astype(np.float16))
    assert np.isnan(found[1])
    assert found[2] == pytest.approx(1) and found[3] == pytest.approx(-1)
    ranks = rankdata(a[0].astype(np.float16)), rankdata(b[0].astype(np.float16))
    assert found[0] == pytest.approx(np.corrcoef(*ranks)[0, 1])


# ---- the table -----------------------------------------------------------------------


SIZE = 40
BOX = (10, 10, 20, 20)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Six test images of five patients: the lungs are the left half of the crop box; images 1,
    2 and 3 have a lesion in its upper left quarter."""
    monkeypatch.chdir(tmp_path)
    for folder in ("masks", "lesions", "gradcam"):
        (tmp_path / folder).mkdir()
    lungs = np.zeros((SIZE, SIZE), np.uint8)
    lungs[10:30, 10:20] = 255
    lesion = np.zeros((SIZE, SIZE), np.uint8)
    lesion[10:20, 10:20] = 255
    cv2.imwrite("lesions/some.png", lesion)
    cv2.imwrite("lesions/none.png", np.zeros_like(lesion))
    names = [f"image{k}" for k in range(6)]
    for name in names:
        cv2.imwrite(f"masks/{name}.png", lungs)
    images = pd.DataFrame(
        {
            "image_id": names,
            "label": ["normal", "viral", "viral", "viral", "normal", "normal"],
            "patient_id": ["a", "b", "b", "c", "d", "e"],
            "split": "test",
            "width": str(SIZE),
            "height": str(SIZE),
            "lung_mask": "",
            "lesion_mask": ["", *["lesions/some.png"] * 3, "lesions/none.png", ""],
        }
    )
    boxes = pd.DataFrame(
        [(name, *BOX) for name in names], columns=["image_id", "xmin", "ymin", "width", "height"]
    )
    boxes.to_csv("boxes.csv", index=False)
    images.to_csv("manifest.csv", index=False)
    return SimpleNamespace(images=images, boxes=boxes, folder=tmp_path)


def store(path, images: pd.DataFrame, maps: np.ndarray, classes, **others) -> None:
    """The file of one model; without others, nothing was measured on subsets."""
    maps = np.asarray(maps, np.float16)
    arrays = {
        "maps": maps,
        "class_index": np.array(classes),
        "flat": maps.max(axis=(1, 2)) == 0,
        "image_id": images["image_id"].to_numpy(str),
        "faithfulness_rows": np.empty(0, int),
        **{curve: np.empty((0, 3)) for curve in localisation.CURVES},
        "randomised_rows": np.empty(0, int),
        **{f"randomised_{stage}": np.empty((0, 2, 2)) for stage in localisation.STAGES},
    }
    np.savez(path, **{**arrays, **others})


def table_of(
    study, paths: dict[str, str], resamples: int = 200, baselines=None, **load
) -> pd.DataFrame:
    models = [localisation.load(p, name, "single", **load) for name, p in paths.items()]
    options = localisation.Options([0.2, 0.5], 0.0, resamples, 0.95)
    return localisation.table(
        models, study.images, study.boxes, study.folder / "masks", ["normal", "viral"], options, 3,
        baselines=baselines,
    )  # fmt: skip


def row(table: pd.DataFrame, model: str, metric: str, threshold: float | None = None) -> pd.Series:
    chosen = table[(table["model"] == model) & (table["metric"] == metric)]
    if threshold is not None:
        chosen = chosen[chosen["threshold"] == threshold]
    assert len(chosen) == 1
    return chosen.iloc[0]


# Heat in one quarter of the crop alone; 2x2 cells blend into each other over half the box, so
# 4x4 cells with two hot ones each way keep the heat's place.
QUARTER = np.zeros((20, 20))
QUARTER[:10, :10] = 1
OTHER = np.fliplr(QUARTER)


def test_interval_of_a_mean_by_hand():
    # 1, 2, 3, 6 of four patients: mean 3, s = sqrt(14 / 3), t(3) = 3.182446.
    low, high = localisation.mean_interval(np.array([1.0, 2, 3, 6]), np.arange(4), 0.95)
    half = 3.182446 * np.sqrt(14 / 3 / 4)
    assert (low, high) == (pytest.approx(3 - half, abs=1e-5), pytest.approx(3 + half, abs=1e-5))
    # Two patients of two images each: deviations -3 and 3, s^2 = 2 / 1 * 18 / 16, t(1) = 12.7062.
    low, high = localisation.mean_interval(np.array([1.0, 2, 3, 6]), np.array([0, 0, 1, 1]), 0.95)
    assert high - 3 == pytest.approx(12.7062 * 1.5, rel=1e-5)
    assert np.isnan(localisation.mean_interval(np.ones(3), np.zeros(3), 0.95)).all()


def test_p_value_of_a_mean_is_that_of_the_t_test_and_inverts_the_interval():
    values = np.random.default_rng(3).normal(0.4, 1, 25)
    found = localisation.mean_p_value(values, np.arange(25))
    assert found == pytest.approx(ttest_1samp(values, 0).pvalue)
    patients = np.repeat(np.arange(5), 5)
    p = localisation.mean_p_value(values, patients)
    low, high = localisation.mean_interval(values, patients, 1 - p)
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-9)
    assert np.isnan(localisation.mean_p_value(np.array([1.0, 2]), np.zeros(2)))
    assert np.isnan(localisation.mean_p_value(np.ones(4), np.arange(4)))


def test_models_are_compared_with_the_baseline_image_by_image(study):
    # Heat of a on the left in all but one of six images, of b in two, of c nowhere.
    store("gradcam/a.npz", study.images, [QUARTER] * 5 + [OTHER], [0] * 6)
    store("gradcam/b.npz", study.images, [QUARTER] * 2 + [OTHER] * 4, [0] * 6)
    store("gradcam/c.npz", study.images, np.zeros((6, 2, 2)), [0] * 6)
    paths = {name: f"gradcam/{name}.npz" for name in "abc"}
    baselines = {"a": "a", "b": "a", "c": "a"}
    table = table_of(study, paths, baselines=baselines)
    metric = "lung_share" + localisation.AGAINST_BASELINE
    found = table[table["metric"] == metric].set_index("model")
    # Not with itself; images 2, 3 and 4 of patients b, c and d differ by 1.
    assert list(found.index) == ["b", "c"]
    assert found.loc["b", "value"] == pytest.approx(-3 / 6)
    assert (found.loc["b", "n"], found.loc["b", "n_patients"]) == (6, 5)
    # Sums of deviations by patient, a to e: 1/2, 0, -1/2, -1/2, 1/2.
    error = np.sqrt(5 / 4 * 4 * 0.25) / 6
    p = 2 * t.sf(0.5 / error, 4)
    assert found.loc["b", "p_value"] == pytest.approx(p)
    half = t.ppf(0.975, 4) * error
    assert found.loc["b", "ci_high"] == pytest.approx(-0.5 + half)
    assert found.loc["b", "ci_low"] == -1.0
    assert (found.loc["b", "ci_method"], found.loc["b", "correction"]) == ("t", "Holm")
    # c has no heat, so one hypothesis is left.
    assert (found.loc["b", "hypotheses"], found.loc["b", "p_adjusted"]) == (1, pytest.approx(p))
    assert np.isnan(found.loc["c", "p_value"])
    assert found.loc["c", "reason"] == "all maps are flat"
    gains = table[table["metric"] == "lung_share" + localisation.GAIN].set_index("model")
    assert list(gains["hypotheses"]) == [2, 2, 2] and np.isnan(gains.loc["c", "p_adjusted"])
    raw = gains.loc[["a", "b"], "p_value"]
    assert gains.loc[["a", "b"], "p_adjusted"].min() == pytest.approx(2 * raw.min())
    # Without baselines, or with one that was not explained, there are no such rows.
    for others in (None, {"b": "elsewhere"}):
        assert metric not in set(table_of(study, paths, baselines=others)["metric"])


def test_paired_differences_have_the_interval_of_their_test_with_many_patients(study):
    rng = np.random.default_rng(0)
    count = 40
    images = pd.concat([study.images.iloc[:1]] * count, ignore_index=True)
    images = images.assign(image_id=[f"i{k}" for k in range(count)], patient_id=range(count))
    boxes = pd.DataFrame([(name, *BOX) for name in images["image_id"]], columns=study.boxes.columns)
    lungs = cv2.imread("masks/image0.png", 0)
    for name in images["image_id"]:
        cv2.imwrite(f"masks/{name}.png", lungs)
    many = SimpleNamespace(images=images, boxes=boxes, folder=study.folder)
    store("gradcam/a.npz", images, rng.random((count, 4, 4)), [0] * count)
    table = table_of(many, {"a": "gradcam/a.npz"})
    gain = row(table, "a", "lung_share" + localisation.GAIN)
    assert gain["ci_method"] == "t" and row(table, "a", "lung_share")["ci_method"] == "percentile"
    assert (gain["p_value"] <= 0.05) == (gain["ci_low"] > 0 or gain["ci_high"] < 0)


def test_few_patients_are_covered_as_often_as_said():
    rng = np.random.default_rng(0)
    found = [localisation.mean_interval(rng.random(6), np.arange(6), 0.95) for _ in range(1000)]
    assert 0.93 <= np.mean([low <= 0.5 <= high for low, high in found]) <= 0.98


def test_table_by_hand(study):
    maps = [QUARTER, QUARTER, OTHER, OTHER, 0 * QUARTER, QUARTER]
    store("gradcam/a.npz", study.images, maps, [0, 1, 1, 0, 0, 0])
    table = table_of(study, {"a": "gradcam/a.npz"})
    assert list(table.columns) == localisation.COLUMNS
    # Five maps with heat, three of them in the left half.
    share = row(table, "a", "lung_share")
    assert share["value"] == pytest.approx(3 / 5)
    assert (share["n"], share["n_patients"], share["n_flat"]) == (5, 4, 1)
    assert 0 <= share["ci_low"] < 0.6 < share["ci_high"] <= 1
    assert share["ci_method"] == "t" and share["reason"] == ""
    # Of three images with a lesion one is hit; of two classified rightly one.
    for metric in ("pointing_game", "energy_pointing_game"):
        assert row(table, "a", metric)["value"] == pytest.approx(1 / 3)
        assert row(table, "a", metric)["n"] == 3
        assert row(table, "a", metric + "_correct")["value"] == pytest.approx(1 / 2)
        assert row(table, "a", metric + "_correct")["n"] == 2
    for threshold in (0.2, 0.5):
        assert row(table, "a", "iou", threshold)["value"] == pytest.approx(1 / 3)
        assert row(table, "a", "dice", threshold)["value"] == pytest.approx(1 / 3)
    assert row(table, "a", "flat_share")["value"] == pytest.approx(1 / 6)
    # Chance: half of the box is lung, a quarter lesion.
    for metric, value in [("lung_share", 0.5), ("pointing_game", 0.25)]:
        chance = row(table, localisation.UNIFORM, metric)
        assert chance["value"] == pytest.approx(value) and chance["kind"] == "baseline"
        assert np.isnan(chance["ci_low"]) and "the same for all patients" in chance["reason"]
    assert row(table, localisation.UNIFORM, "dice", 0.2)["value"] == pytest.approx(0.4)
    # The paired difference from chance, over the images that have both.
    for metric, value, n in [("lung_share", 3 / 5 - 1 / 2, 5), ("energy_pointing_game", 1 / 12, 3)]:
        gain = row(table, "a", metric + localisation.GAIN)
        assert gain["value"] == pytest.approx(value) and gain["n"] == n
        assert gain["ci_low"] < value < gain["ci_high"]
    assert set(table.loc[table["model"] == "a", "grid"]) == {"20 x 20"}


def test_what_is_not_known_is_empty_with_a_reason(study):
    study.images["lesion_mask"] = ""
    store("gradcam/a.npz", study.images, [QUARTER] * 6, [0] * 6)
    store("gradcam/flat.npz", study.images, np.zeros((6, 2, 2)), [0] * 6)
    table = table_of(study, {"a": "gradcam/a.npz", "flat": "gradcam/flat.npz"})
    for metric in ("pointing_game", "energy_pointing_game", "lung_share_reference"):
        found = row(table, "a", metric)
        assert np.isnan(found["value"]) and found["n"] == 0
        assert found["reason"] == "no reference masks are known"
    assert row(table, "a", "deletion_auc")["reason"].startswith("not measured")
    assert row(table, "flat", "lung_share")["reason"] == "all maps are flat"
    assert row(table, "flat", "flat_share")["value"] == 1
    assert table.loc[table["value"].isna(), "reason"].ne("").all()
    assert table.loc[table["ci_low"].isna(), "reason"].ne("").all()


def test_reference_lungs_are_measured_where_known_and_missing_lungs_left_out(study):
    study.images.loc[0, "lung_mask"] = "lesions/some.png"
    cv2.imwrite("masks/image5.png", np.zeros((SIZE, SIZE), np.uint8))
    store("gradcam/a.npz", study.images, [QUARTER] * 6, [0] * 6)
    table = table_of(study, {"a": "gradcam/a.npz"})
    known = row(table, "a", "lung_share_reference")
    assert known["n"] == 1 and known["value"] == pytest.approx(1)
    assert row(table, "a", "lung_share")["n"] == 5


def test_map_of_an_uncropped_model_covers_the_whole_image(study):
    store("gradcam/a.npz", study.images, np.ones((6, 2, 2)), [0] * 6)
    cropped = table_of(study, {"a": "gradcam/a.npz"})
    whole = table_of(study, {"a": "gradcam/a.npz"}, cropped=False)
    assert row(cropped, "a", "lung_share")["value"] == pytest.approx(200 / 400)
    assert row(whole, "a", "lung_share")["value"] == pytest.approx(200 / 1600)


def test_curves_and_randomised_maps_are_summarised(study):
    rng = np.random.default_rng(4)
    maps = rng.random((6, 3, 3))
    curves = rng.random((3, 2, 5))
    store(
        "gradcam/a.npz",
        study.images,
        maps,
        [0] * 6,
        faithfulness_rows=np.array([1, 3]),
        **dict(zip(localisation.CURVES, curves, strict=True)),
        randomised_rows=np.array([0, 2, 5]),
        randomised_head=maps[[0, 2, 5]].astype(np.float16),
        randomised_weights=1 - maps[[0, 2, 5]].astype(np.float16),
    )
    table = table_of(study, {"a": "gradcam/a.npz"})
    for curve, values in zip(localisation.CURVES, curves, strict=True):
        found = row(table, "a", f"{curve}_auc")
        area = (values[:, 1:] + values[:, :-1]).mean(axis=1) / 2
        assert found["value"] == pytest.approx(area.mean()) and found["n"] == 2
        for step, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
            point = row(table, "a", f"{curve}_curve", share)
            assert point["value"] == pytest.approx(values[:, step].mean())
            assert point["ci_low"] <= point["value"] <= point["ci_high"]
    assert row(table, "a", "randomised_head_correlation")["value"] == pytest.approx(1)
    assert row(table, "a", "randomised_weights_correlation")["value"] == pytest.approx(-1)
    assert row(table, "a", "randomised_weights_correlation")["n"] == 3


def test_patients_are_resampled_as_a_whole():
    """Interval of a mean over 30 patients of 4 equal images: that of 30 images, not of 120."""
    rng = np.random.default_rng(0)
    values = rng.random(30)
    strata = np.zeros(120)
    patients = np.repeat(np.arange(30), 4)
    weights = localisation.bootstrap.patient_weights(patients, strata, 4000, rng)
    mean, low, high = localisation._means(np.repeat(values, 4)[:, None], weights, 0.95)
    assert mean[0] == pytest.approx(values.mean())
    error = values.std() / np.sqrt(30)
    assert high[0] - low[0] == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_same_seed_same_table_in_any_number_of_threads(study):
    store("gradcam/a.npz", study.images, np.random.default_rng(1).random((6, 4, 4)), [1] * 6)
    model = localisation.load("gradcam/a.npz", "a", "single")
    options = localisation.Options([0.2], 0.1, 100, 0.9)
    one, two = (
        localisation.table(
            [model], study.images, study.boxes, study.folder / "masks", ["normal", "viral"],
            options, 3, threads,
        )
        for threads in (1, 3)
    )  # fmt: skip
    pd.testing.assert_frame_equal(one, two)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("mask gone", "image3.png: .*make the masks again"),
        ("mask of another size", "image3.png: .*10x10.*40x40"),
        ("box gone", "boxes.csv has no box of 'image3'"),
        ("other images", "maps of a are of other images"),
        ("damaged", "a.npz: not the stored maps of a model .*delete it and run again"),
        ("incomplete", "a.npz: not the stored maps of a model"),
    ],
)
def test_faults_are_told_in_one_line(study, fault, message):
    store("gradcam/a.npz", study.images, [QUARTER] * 6, [0] * 6)
    if fault == "mask gone":
        (study.folder / "masks/image3.png").unlink()
    elif fault == "mask of another size":
        cv2.imwrite("masks/image3.png", np.ones((10, 10), np.uint8) * 255)
    elif fault == "box gone":
        study.boxes = study.boxes.drop(index=3)
    elif fault == "other images":
        study.images = study.images.iloc[::-1].reset_index(drop=True)
    elif fault == "damaged":
        (study.folder / "gradcam/a.npz").write_bytes(b"PK\x03\x04 cut off")
    else:
        np.savez("gradcam/a.npz", maps=np.zeros((6, 2, 2)))
    with pytest.raises(UserError, match=message) as caught:
        table_of(study, {"a": "gradcam/a.npz"})
    assert "\n" not in str(caught.value)


def test_script(study, root):
    def whose(variant):
        return {"variant": variant, "replicate": 0}

    store("gradcam/cce-r0.npz", study.images, [QUARTER] * 6, [0, 1, 1, 0, 0, 0])
    store("gradcam/bare-r0.npz", study.images, [QUARTER] * 6, [0, 1, 1, 0, 0, 0])
    others = study.images.iloc[:3].assign(
        image_id=["t0", "t1", "t2"], split=["train", "val", "ensemble"]
    )
    manifest = pd.concat([others, study.images]).assign(path="image.png", sha256="0" * 64)
    manifest.to_csv("manifest.csv", index=False)
    fake = SimpleNamespace(
        rule="localisation",
        wildcards=[],
        log=["log.txt"],
        threads=2,
        input=Named(
            maps=["gradcam/cce-r0.npz", "gradcam/bare-r0.npz"],
            manifest="manifest.csv",
            boxes="boxes.csv",
            masks="masks",
        ),
        output=Named(table="localisation.csv"),
        params=SimpleNamespace(
            models={
                "cce-r0": {"name": "cce-r0", "kind": "single", "cropped": True, **whose("cce")},
                "bare-r0": {
                    "name": "bare-r0",
                    "kind": "ablation",
                    "cropped": False,
                    **whose("bare"),
                },
            },
            baseline="cce",
            classes=["normal", "viral"],
            gradcam={"localisation_thresholds": [0.2], "pointing_tolerance": 0.03},
            evaluation={"resamples": 100, "confidence": 0.95},
            seed=1,
        ),
    )
    runpy.run_path(str(root / "workflow/scripts/localisation.py"), init_globals={"snakemake": fake})
    found = pd.read_csv("localisation.csv", keep_default_na=False)
    assert list(found.columns) == localisation.COLUMNS
    assert list(found["model"].unique()) == ["cce-r0", "bare-r0", "uniform"]
    assert set(found.loc[found["model"] == "bare-r0", "kind"]) == {"ablation"}
    shares = found[found["metric"] == "lung_share"].set_index("model")["value"].astype(float)
    assert shares["cce-r0"] == pytest.approx(1)
    assert shares["bare-r0"] < 0.5
    compared = found[found["metric"] == "lung_share_minus_baseline"]
    assert list(compared["model"]) == ["bare-r0"]
    difference = shares["bare-r0"] - shares["cce-r0"]
    assert float(compared["value"].iloc[0]) == pytest.approx(difference)
