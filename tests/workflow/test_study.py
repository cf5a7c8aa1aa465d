"""The smallest study end to end: same bytes twice, whatever interrupts it, and no leak.

The first test runs it straight through. The others run it again in ways that must not change
its results: killed at several moments and taken up again, with the labels of all test images
exchanged, and with an external test beside it.
"""

import functools
import hashlib
import http.server
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

pytestmark = pytest.mark.slow
STUDY = "tests/studies/smallest.yaml"


def command(root: Path, folder: Path, *targets: str) -> list[str]:
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile"),
        "--configfile", str(root / STUDY), "--directory", str(folder), "--cores", "2",
        "--quiet", "rules", "--rerun-incomplete", *targets,
    ]  # fmt: skip


def snakemake(root: Path, folder: Path, *targets: str) -> Path:
    """Run the study to its end in a folder of its own; returns its results."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        command(root, folder, *targets), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "results" / "smallest"


def weights(path: Path) -> str:
    """Digest of a model's weights; the file around them holds its date."""
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as stored:
        import h5py

        digest = hashlib.sha256()
        with h5py.File(stored, "r") as file:
            file.visititems(
                lambda name, item: (
                    digest.update(name.encode() + np.asarray(item).tobytes())
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
        return digest.hexdigest()


def digests(results: Path, *folders: str) -> dict[str, str]:
    """Digest of every file that must be the same twice, by its path below the results."""
    found = {}
    for folder in folders:
        for path in sorted((results / folder).rglob("*")):
            if not path.is_file():
                continue
            whole = weights(path) if path.suffix == ".keras" else None
            name = path.relative_to(results).as_posix()
            found[name] = whole or hashlib.sha256(path.read_bytes()).hexdigest()
    return found


REPRODUCIBLE = (
    "data", "segmentation", "masks", "crops", "models", "ensembles", "predictions", "gradcam",
    "tables", "figures",
)  # fmt: skip


@pytest.fixture(scope="module")
def straight(root, tmp_path_factory) -> Path:
    """The results of an undisturbed run."""
    return snakemake(root, tmp_path_factory.mktemp("straight"))


def test_every_output_of_the_contract_is_there(straight):
    manifest = pd.read_csv(straight / "data/manifest.csv")
    assert set(manifest["split"]) == {"train", "val", "ensemble", "test"}
    for image_id in manifest["image_id"]:
        assert (straight / f"masks/{image_id}.png").exists()
        assert (straight / f"crops/{image_id}.png").exists()
    boxes = pd.read_csv(straight / "crops/boxes.csv")
    columns = ["image_id", "xmin", "ymin", "width", "height", "lung_fraction", "fallback"]
    assert list(boxes) == columns and list(boxes["image_id"]) == list(manifest["image_id"])
    models = [f"{loss}-r0" for loss in ("cce", "focal", "calibrated_cce")]
    methods = ["majority_vote", "simple_average", "weighted_average", "stacking", "model_level"]
    ensembles = [f"{method}-top2-r0" for method in methods] + ["weighted_average-model_level-r0"]
    for model in models + ensembles:
        table = pd.read_csv(straight / f"predictions/{model}.csv")
        probabilities = table[["p_normal", "p_bacterial", "p_viral"]]
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-8)
        assert set(table["split"]) == {"val", "ensemble", "test"}
    metrics = pd.read_csv(straight / "tables/metrics.csv")
    assert set(models + ensembles) <= set(metrics["model"])
    # After two epochs a model may predict one class only, and its MCC is then undefined.
    binomial = metrics[metrics["ci_method"] == "binomial"]
    assert set(binomial["metric"]) <= {"mcc"}
    undefined = metrics[metrics["value"].isna()]
    assert undefined["reason"].notna().all() and not (undefined["reason"] == "").any()
    for model in [*models, "model_level-top2-r0"]:
        assert (straight / f"figures/gradcam_{model}.png").stat().st_size > 5000
    report = (straight / "report.html").read_text(encoding="utf-8")
    assert all(model in report for model in models)
    assert not list(straight.rglob(".*.tmp*")), "temporary files left behind"


def test_few_arrays_are_kept_beside_the_crops(straight):
    crops = (straight / "crops/images.npy").stat().st_size
    assert sum(path.stat().st_size for path in straight.rglob("*.npy")) <= 3 * crops
    assert not (straight / "ensembles/r0/features").exists()


def test_one_image_has_one_patient_in_one_split(straight):
    manifest = pd.read_csv(straight / "data/manifest.csv", dtype=str)
    assert manifest.groupby("patient_id")["split"].nunique().max() == 1
    assert manifest["image_id"].is_unique
    assert manifest.groupby("sha256")["split"].nunique().max() == 1


def test_killed_at_any_moment_the_study_ends_with_the_same_bytes(root, straight, tmp_path):
    """SIGKILL to Snakemake and all its jobs, several times, then one run to the end."""
    seen = []
    for seconds in (9, 14, 20, 26, 33):
        process = subprocess.Popen(
            command(root, tmp_path),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        seen.append(len(list(tmp_path.rglob("*"))))
        unlock = [*command(root, tmp_path), "--unlock"]
        subprocess.run(unlock, capture_output=True, check=True)
    assert seen[0] < seen[-1], "the kills hit nothing"
    again = snakemake(root, tmp_path)
    assert digests(straight, *REPRODUCIBLE) == digests(again, *REPRODUCIBLE)


def test_labels_of_test_images_reach_nothing_but_the_evaluation(root, straight, tmp_path):
    """With the test labels exchanged, models, members, weights and probabilities stay."""
    manifest_file = "results/smallest/data/manifest.csv"
    snakemake(root, tmp_path, manifest_file)
    path = tmp_path / manifest_file
    manifest = pd.read_csv(path, dtype=str, keep_default_na=False)
    test = manifest["split"] == "test"
    turned = manifest.loc[test, "label"].map(
        {"normal": "viral", "viral": "bacterial", "bacterial": "normal"}
    )
    assert (turned != manifest.loc[test, "label"]).all()
    manifest.loc[test, "label"] = turned
    manifest.to_csv(path, index=False, lineterminator="\n")
    results = snakemake(root, tmp_path, "results/smallest/ensembles/chosen.csv")
    same = ("segmentation", "masks", "crops", "models", "ensembles")
    ours, theirs = digests(straight, *same), digests(results, *same)
    assert theirs and theirs == {name: ours[name] for name in theirs}
    assert pd.read_csv(path)["label"].tolist() == manifest["label"].tolist()
    for file in sorted((results / "predictions").glob("*.csv")):
        mine, other = (
            pd.read_csv(folder / "predictions" / file.name) for folder in (straight, results)
        )
        assert not mine["label"].equals(other["label"])
        pd.testing.assert_frame_equal(mine.drop(columns="label"), other.drop(columns="label"))


def test_external_tests_reach_nothing_of_the_study(root, straight, tmp_path):
    """With an external test, its labels exchanged, the study is the one without any."""
    study = yaml.safe_load((root / STUDY).read_text(encoding="utf-8"))
    phantom = {"images": 18, "size": [64, 96], "noise": 8.0}
    outside = {"name": "outside", "role": "external_test", "layout": "phantom", "url": "phantom"}
    study["data"]["sources"].insert(0, outside | {"phantom": phantom})
    config = tmp_path / "external.yaml"
    config.write_text(yaml.safe_dump(study), encoding="utf-8")
    given = ["--configfile", str(config)]
    manifest_file = "results/smallest/data/manifest.csv"
    snakemake(root, tmp_path, manifest_file, *given)
    path = tmp_path / manifest_file
    alone = (straight / "data/manifest.csv").read_text(encoding="utf-8")
    assert path.read_text(encoding="utf-8").startswith(alone)
    manifest = pd.read_csv(path, dtype=str, keep_default_na=False)
    own = manifest["split"] == "external_outside"
    assert own.sum() == 18
    manifest.loc[own, "label"] = manifest.loc[own, "label"].map(
        {"normal": "viral", "viral": "bacterial", "bacterial": "normal"}
    )
    manifest.to_csv(path, index=False, lineterminator="\n")
    made = ("ensembles/chosen.csv", "tables/external.csv", "tables/operating_points.csv",
            "tables/significance.csv", "tables/calibration_scores.csv")  # fmt: skip
    results = snakemake(root, tmp_path, *(f"results/smallest/{name}" for name in made), *given)
    same = ("segmentation", "masks", "models", "ensembles")
    ours, theirs = digests(straight, *same), digests(results, *same)
    # Those of the outside images come behind: the tables of predictions are compared below.
    longer = {name for name in theirs if name.endswith(".probabilities.npy")}
    assert {name for name in ours if ours[name] != theirs.get(name, ours[name])} == longer
    assert set(ours) - set(theirs) <= {name for name in ours if name.startswith("segmentation/")}
    for name in made[2:]:
        assert (straight / name).read_bytes() == (results / name).read_bytes(), name
    for file in sorted((straight / "predictions").glob("*.csv")):
        before = file.read_text(encoding="utf-8")
        after = (results / "predictions" / file.name).read_text(encoding="utf-8")
        assert after.startswith(before) and after.count("external_outside") == 18
    table = pd.read_csv(results / "tables/external.csv")
    assert set(table["source"]) == {"outside"} and (table["n"] == 18).all()


def test_one_figure_again_is_one_job(root, straight, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(straight.parents[1], folder, symlinks=True)
    figure = folder / "results/smallest/figures/forest_mcc.png"
    before = figure.read_bytes()
    figure.unlink()
    dry = subprocess.run(
        [*command(root, folder, "results/smallest/figures/forest_mcc.png"), "--dry-run"],
        capture_output=True,
        text=True,
        check=True,
    )
    # The table of jobs stands in a plan twice.
    jobs = [line.split() for line in dry.stdout.splitlines() if line.split()[1:2] == ["1"]]
    assert jobs == 2 * [["figure", "1"], ["total", "1"]], dry.stdout
    snakemake(root, folder, "results/smallest/figures/forest_mcc.png")
    assert figure.read_bytes() == before


def test_diverging_losses_leave_gaps_and_the_rest_goes_on(root, tmp_path):
    """A segmenter and a classifier whose loss overflows: named, stopped, shown as gaps."""
    study = yaml.safe_load((root / STUDY).read_text(encoding="utf-8"))
    study["segmentation"]["losses"] += [{"name": "bce_dice", "bce_weight": 1e39}]
    study["classification"]["losses"] = ["cce", "focal", "hinge"]
    study["classification"]["losses"] += [{"name": "calibrated_cce", "beta": 1e39}]
    config = tmp_path / "diverging.yaml"
    config.write_text(yaml.safe_dump(study), encoding="utf-8")
    results = snakemake(root, tmp_path, "--configfile", str(config))
    metrics = pd.read_csv(results / "tables/metrics.csv")
    gap = metrics[metrics["model"] == "calibrated_cce-r0"]
    assert len(gap) and gap["value"].isna().all() and gap["reason"].str.contains("failed").all()
    others = metrics[(metrics["metric"] == "accuracy") & (metrics["model"] != "calibrated_cce-r0")]
    assert others["value"].notna().all()
    members = pd.read_csv(results / "ensembles/members.csv").to_string()
    assert "calibrated_cce-r0" not in members or "training failed" in members
    scores = pd.read_csv(results / "segmentation/scores.csv").set_index(["loss", "split"])
    assert scores.loc[("bce_dice", "test"), "n"] == 0
    assert scores["selected"].sum() == 4  # the two others, on two splits
    assert "calibrated_cce-r0" in (results / "report.html").read_text(encoding="utf-8")
    log = (results / "logs/train/calibrated_cce-r0.log").read_text(encoding="utf-8")
    assert "Error: calibrated_cce-r0: the loss became" in log


def smaller(study: dict, changes: dict) -> dict:
    """A study with values replaced; mappings are replaced key by key."""
    return study | {
        key: smaller(study[key], value) if isinstance(value, dict) else value
        for key, value in changes.items()
    }


def test_published_study_at_a_small_size(root, tmp_path):
    """All settings of the published study but its sizes: each path of its code is taken.

    Encoder weights from a server, sizes that differ between the networks, SGD with decay,
    plateau and early stopping, EfficientNet's own BatchNorm momentum, GPUs asked for. Half
    precision, which it names as a choice, is on.
    """
    from multiloss.backend import keras
    from multiloss.networks import backbones

    keras.utils.set_random_seed(1)
    network = backbones.unet("efficientnetb0", 32, None, (8, 8, 8, 8, 8))
    top = network.get_layer("top_activation").output
    served = tmp_path / "served"
    served.mkdir()
    encoder = keras.Model(network.input, top, name="efficientnet-b0")
    encoder.save_weights(served / "b0.weights.h5")
    handler = functools.partial(QuietServer, directory=str(served))
    phantoms = yaml.safe_load((root / STUDY).read_text(encoding="utf-8"))
    paper = yaml.safe_load((root / "workflow/studies/paper.yaml").read_text(encoding="utf-8"))
    step = {"threads": 1, "mem_mb": 2500}
    short = {"epochs": 2, "mixed_precision": True}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/b0.weights.h5"
        study = smaller(paper, {
            "study": "paper-small",
            "data": {"sources": phantoms["data"]["sources"]},
            "segmentation": {
                "losses": ["bce", "focal_tversky"], "ensemble_size": 2, "image_size": 32,
                "decoder_filters": [16, 16, 8, 8, 8], "encoder_weights": address,
                "training": {"epochs": 2},
            },
            "crop": {"png_size": 64},
            "classification": {
                "losses": ["cce", "focal", "calibrated_negative_entropy"], "image_size": 64,
                "training": short,
            },
            "ensembles": {
                "top_k": [2, 3], "model_level": {"filters": 16, "training": short},
            },
            "evaluation": {"resamples": 100},
            "significance": {"permutations": 1000},
            "resources": {name: step for name in paper["resources"]},
        })  # fmt: skip
        config = tmp_path / "paper-small.yaml"
        config.write_text(yaml.safe_dump(study), encoding="utf-8")
        results = tmp_path / "results/paper-small"
        targets = ["ensembles/chosen.csv", "gradcam/model_level-top2-r0.npz"]
        targets = [f"results/paper-small/{target}" for target in targets]
        snakemake(root, tmp_path, *targets, "--configfile", str(config), "--resources", "gpu=1")
        server.shutdown()
    assert (results / "segmentation/encoder.weights.h5").read_bytes() == (
        served / "b0.weights.h5"
    ).read_bytes()
    log = (results / "logs/train/focal-r0.log").read_text(encoding="utf-8")
    assert "a GPU was asked for" in log and "mixed precision" in log
    history = pd.read_csv(results / "models/focal/0.history.csv")
    # The rate of the last step of each epoch: base / (1 + decay * step).
    manifest = pd.read_csv(results / "data/manifest.csv")
    steps = int((manifest["split"] == "train").sum()) // 16
    expected = [1e-4 / (1 + 1e-6 * (epoch * steps - 1)) for epoch in (1, 2)]
    np.testing.assert_allclose(history["learning_rate"], expected, rtol=1e-8)
    model = backbones.load_model(results / "models/focal/0.keras")
    assert model.input_shape[1:3] == (64, 64)
    assert model.get_layer("block3a_expand_conv").compute_dtype == "float16"
    assert model.get_layer("stem_bn").momentum == 0.99
    assert not list(results.rglob("*.checkpoint.npz"))


class QuietServer(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and says nothing of it."""

    def log_message(self, *arguments):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_with_a_read_only_checkout_and_odd_paths(root, straight, tmp_path):
    """No HOME, umask 077, a PYTHONPATH of the site, blanks and letters beyond ASCII."""
    nobody = 65534
    try:
        subprocess.run([sys.executable, "-c", ""], user=nobody, group=nobody, check=True)
    except PermissionError:
        pytest.skip(f"another user cannot run {sys.executable}")
    folder = Path(tempfile.mkdtemp(prefix="étude de nœuds ", dir=tmp_path.parents[2]))
    try:
        checkout, results = folder / "read only", folder / "results of naïve users"
        ignored = shutil.ignore_patterns(".git", ".venv", ".snakemake", "results", "__pycache__")
        shutil.copytree(root, checkout, ignore=ignored)
        results.mkdir()
        os.chown(results, nobody, nobody)
        for parent in [folder, *folder.parents]:
            if parent.owner() == "root" and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o055)
        site = folder / "site"
        site.mkdir(mode=0o755)
        (site / "multiloss_site.py").write_text("")
        # Snakemake has a cache, and this user no home to keep it in.
        paths = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(results / "cache")}
        done = subprocess.run(
            [*command(checkout, results, "results/smallest/tables/metrics.csv")],
            user=nobody,
            group=nobody,
            extra_groups=[],
            umask=0o077,
            env={**paths, "PYTHONPATH": str(site)},
            cwd=results,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        made = results / "results/smallest"
        assert (made / "tables/metrics.csv").stat().st_mode & 0o077 == 0
        same = ("data", "segmentation", "masks", "crops", "models", "ensembles", "predictions")
        theirs = digests(made, *same)
        ours = digests(straight, *same)
        # The manifest names the place of each image, and so does the table of lung images.
        places = {"data/manifest.csv", "data/lungs.csv"}
        assert {name: d for name, d in theirs.items() if name not in places} == {
            name: ours[name] for name in theirs if name not in places
        }
    finally:
        shutil.rmtree(folder)
