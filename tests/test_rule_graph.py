"""The rule graph that the report draws is the one that Snakemake runs."""

import ast
import re
import subprocess
import sys

import networkx
import pytest


def drawn(root, further: list[tuple[str, str] | str]) -> set[tuple[str, str]]:
    """RULE_EDGES of report.smk: (rule, rule it depends on), with those of some studies alone.

    `further` are such, or the name of a list of them.
    """
    text = (root / "workflow/rules/report.smk").read_text(encoding="utf-8")

    def listed(name: str) -> set[tuple[str, str]]:
        found = re.search(rf"^{name} = (\[.*?^\])", text, re.MULTILINE | re.DOTALL)
        return set(ast.literal_eval(found[1]))

    named = set().union(*(listed(name) for name in further if isinstance(name, str)))
    further = [edge for edge in further if not isinstance(edge, str)]
    added = {ast.literal_eval(edge) for edge in re.findall(r"RULE_EDGES\.append\((.*)\)", text)}
    assert set(further) <= added
    return listed("RULE_EDGES") | named | set(further)


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
        ("", ["OF_LUNGS", *SEEDS]),
        (
            "segmentation: {encoder_weights: imagenet}",
            ["OF_LUNGS", *SEEDS, ("train_segmenter", "encoder_weights")],
        ),
        ("data: {strict_leakage: true}", ["OF_LUNGS", *SEEDS, ("lungs", "leakage")]),
        ("ensembles: {seed_ensemble: {further_seeds: false}}", ["OF_LUNGS"]),
        ("ablations: [without_crop]", ["OF_LUNGS", "OF_WHOLE_IMAGES", *SEEDS]),
        (
            "data: {strict_leakage: true, sources: [{name: a, role: classification, "
            "layout: folders, url: a}]}",
            ["OF_WHOLE_IMAGES", *SEEDS, ("pack", "leakage"), ("train", "encoder_weights")],
        ),
    ],
    ids=["default", "weights", "strict", "no seeds", "whole images too", "without lungs"],
)
def test_drawn_graph_is_the_real_one_without_detours(root, tmp_path, study, further):
    (tmp_path / "study.yaml").write_text(study)
    options = ["--configfile", str(tmp_path / "study.yaml")] if study else []
    graph = actual(root, tmp_path, options)
    edges = drawn(root, further)
    missing = [edge for edge in edges if not graph.has_edge(*edge)]
    assert not missing, f"no such dependencies: {missing}"
    rules = set(graph) - {"all"}
    assert rules == {name for edge in edges for name in edge}
    # What is left out must follow from what is drawn.
    reachable = networkx.transitive_closure(networkx.DiGraph(edges))
    hidden = [edge for edge in graph.edges if "all" not in edge and not reachable.has_edge(*edge)]
    assert not hidden, f"dependencies that the drawing does not tell: {hidden}"
