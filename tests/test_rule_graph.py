"""The rule graph that the report draws is the one that Snakemake runs."""

import ast
import re
import subprocess
import sys

import networkx


def drawn(root) -> set[tuple[str, str]]:
    """RULE_EDGES of report.smk: (rule, rule it depends on)."""
    text = (root / "workflow/rules/report.smk").read_text(encoding="utf-8")
    found = re.search(r"^RULE_EDGES = (\[.*?^\])", text, re.MULTILINE | re.DOTALL)
    return set(ast.literal_eval(found[1]))


def actual(root, folder) -> networkx.DiGraph:
    """Snakemake's own graph of the default study, from a rule to what it depends on."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", root / "Snakefile"]
    command += ["--directory", folder, "--rulegraph", "dot"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = dict(re.findall(r'(\d+)\[label = "(\w+)"', text))
    edges = re.findall(r"(\d+) -> (\d+)", text)
    return networkx.DiGraph((names[after], names[before]) for before, after in edges)


def test_drawn_graph_is_the_real_one_without_detours(root, tmp_path):
    graph = actual(root, tmp_path)
    edges = drawn(root)
    missing = [edge for edge in edges if not graph.has_edge(*edge)]
    assert not missing, f"no such dependencies: {missing}"
    rules = set(graph) - {"all"}
    assert rules == {name for edge in edges for name in edge}
    # What is left out must follow from what is drawn.
    reachable = networkx.transitive_closure(networkx.DiGraph(edges))
    hidden = [edge for edge in graph.edges if "all" not in edge and not reachable.has_edge(*edge)]
    assert not hidden, f"dependencies that the drawing does not tell: {hidden}"
