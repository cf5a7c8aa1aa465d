"""The rule graph that the report draws is the one that Snakemake runs."""

import json
import re
import subprocess
import sys

import networkx
import pytest


def drawn(root, folder, options: list[str]) -> set[tuple[str, str]]:
    """RULE_EDGES of report.smk: (rule, rule it depends on)."""
    snakefile, edges = folder / "Snakefile", folder / "edges.json"
    snakefile.write_text(
        f'import json\n\n\ninclude: "{root}/Snakefile"\n\n\n'
        f'with open("{edges}", "w") as file:\n    json.dump(RULE_EDGES, file)\n'
    )
    command = [sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--list-rules"]
    subprocess.run([*command, "--directory", folder, *options], capture_output=True, check=True)
    return {tuple(edge) for edge in json.loads(edges.read_text())}


def actual(root, folder, options: list[str]) -> networkx.DiGraph:
    """Snakemake's own graph of a study, from a rule to what it depends on."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", root / "Snakefile"]
    command += ["--directory", folder, "--rulegraph", "dot", *options]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = dict(re.findall(r'(\d+)\[label = "(\w+)"', text))
    edges = re.findall(r"(\d+) -> (\d+)", text)
    return networkx.DiGraph((names[after], names[before]) for before, after in edges)


SEEDS = [("seed_ensemble", "predict")] + [
    (rule, "seed_ensemble") for rule in ("evaluate", "significance", "calibration", "replicates")
]


@pytest.mark.parametrize(
    ("study", "further"),
    [
        ("", SEEDS),
        (
            "segmentation: {encoder_weights: imagenet}",
            [*SEEDS, ("train_segmenter", "encoder_weights")],
        ),
        ("data: {strict_leakage: true}", [*SEEDS, ("lungs", "leakage")]),
        ("replicates: 2", [*SEEDS, ("figure", "replicates")]),
        ("ensembles: {seed_ensemble: {further_seeds: false}}", []),
    ],
    ids=["default", "weights", "strict", "two runs", "no seeds"],
)
def test_drawn_graph_is_the_real_one_without_detours(root, tmp_path, study, further):
    (tmp_path / "study.yaml").write_text(study)
    options = ["--configfile", str(tmp_path / "study.yaml")] if study else []
    graph = actual(root, tmp_path, options)
    edges = drawn(root, tmp_path, options)
    assert set(further) <= edges
    missing = [edge for edge in edges if not graph.has_edge(*edge)]
    assert not missing, f"no such dependencies: {missing}"
    rules = set(graph) - {"all"}
    assert rules == {name for edge in edges for name in edge}
    # What is left out must follow from what is drawn.
    reachable = networkx.transitive_closure(networkx.DiGraph(edges))
    hidden = [edge for edge in graph.edges if "all" not in edge and not reachable.has_edge(*edge)]
    assert not hidden, f"dependencies that the drawing does not tell: {hidden}"
