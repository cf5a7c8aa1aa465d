"""What all simulations share: the command line, the page, the exit status."""

import logging
from pathlib import Path

import pytest
import simulation


@pytest.mark.parametrize(("failures", "status"), [([], 0), (["a claim"], 1)])
def test_main_writes_the_page_and_exits_by_the_claims(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failures: list[str],
    status: int,
) -> None:
    page, seen = tmp_path / "page.md", {}

    def simulate(**given: object) -> tuple[str, list[str]]:
        seen.update(given)
        return "# Page\n", failures

    monkeypatch.setattr("sys.argv", ["x", "--quick", "--jobs", "3", "--out", str(page)])
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit) as ended:
        simulation.main("First line.\nSecond.", simulate, {"--jobs": {"type": int}})
    assert ended.value.code == status
    assert seen == {"quick": True, "jobs": 3}
    assert page.read_text(encoding="utf-8") == "# Page\n"
    assert [record.getMessage() for record in caplog.records] == [
        f"does not hold: {failure}" for failure in failures
    ]


def test_every_simulation_is_run_so_and_says_how_its_page_was_made(root: Path) -> None:
    scripts = sorted((root / "benchmarks").glob("*_simulation.py"))
    assert len(scripts) >= 9
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        assert "main(__doc__, simulate_all" in text, script.name
        assert "argparse" not in text and "write_text" not in text, script.name
    line = simulation.written_by("benchmarks/seeds_simulation.py", quick=True)
    wanted = "python benchmarks/seeds_simulation.py --quick --out docs/seeds-simulation.md"
    assert line == f"Written by `{wanted}`; not edited by hand."


def test_numbers_and_tables() -> None:
    assert (simulation.percent(0.0512), simulation.percent(float("nan"))) == ("5.1", "")
    assert simulation.table(["a", "b"], [["1", "2"]]) == ["| a | b |", "|---|---|", "| 1 | 2 |", ""]
