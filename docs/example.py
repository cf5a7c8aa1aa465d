"""What README says of a study of real radiographs, from that study's results.

    .venv/bin/python docs/example.py results/real-mini tests/studies/real-mini.yaml

writes docs/example/: the facts as JSON, the main figure, and, where Chromium is there, the first
screen of the report; and README's paragraph from the facts. Without arguments only the paragraph.
"""

import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))
FOLDER = ROOT / "docs" / "example"
MARKS = ("<!-- example: written by docs/example.py -->", "<!-- /example -->")
BROWSERS = ("chromium", "google-chrome", "chromium-browser")
SCREEN = (1280, 1000)


def facts_of(results: Path, config_path: Path) -> dict[str, Any]:
    """The numbers of the paragraph, from the study's tables."""
    import yaml
    from multiloss import config
    from multiloss.report import templates
    from multiloss.report.facts import Facts
    from multiloss.report.results import Results
    from snakemake.utils import update_config

    given = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    update_config(given, yaml.safe_load(config_path.read_text(encoding="utf-8")))
    settings = config.validate(given)
    facts = Facts(Results(results), settings)
    chosen, able = facts.chosen("single"), facts.detectable("loss")
    mcc = facts.value(chosen)
    return {
        "study": settings["study"],
        "config": config_path.resolve().relative_to(ROOT).as_posix(),
        "size": settings["classification"]["image_size"],
        "images": len(facts.divided),
        "patients": facts.patients(),
        "runs": facts.replicates,
        "epochs": settings["classification"]["training"]["epochs"],
        "answer": (results / "answer.txt").read_text(encoding="utf-8").strip(),
        "chosen": facts.label(chosen),
        "mcc": [round(float(value), 4) for value in (mcc.value, mcc.low, mcc.high)],
        "test": str(templates.words("study.html.j2", "size", facts, "test")),
        "detectable": None if able is None else round(able[0], 4),
    }


def paragraph(facts: dict[str, Any]) -> str:
    """What README says, in Markdown."""
    value, low, high = facts["mcc"]
    runs = "one run" if facts["runs"] == 1 else f"{facts['runs']} runs"
    missed = ""
    if facts["detectable"] is not None and facts["detectable"] > 1:
        missed = " With so few runs no difference, however large, would have been found reliably."
    elif facts["detectable"] is not None:
        missed = (
            f" Differences in MCC below about {facts['detectable']:.2f} would probably have been "
            "missed: a larger test set and more runs see more."
        )
    epochs = "one epoch" if facts["epochs"] == 1 else f"{facts['epochs']} epochs"
    config, test = f"[`{facts['config']}`]({facts['config']})", facts["test"]
    text = (
        f"On {facts['images']:,} real radiographs of {facts['patients']:,} patients at "
        f"{facts['size']} × {facts['size']} pixels, {runs} of each loss of {epochs} ({config}), "
        f"the answer is: **{facts['answer']}** The model chosen before testing, {facts['chosen']}, "
        f"reaches an MCC of {value:.2f} (95% CI {low:.2f} to {high:.2f}) on {test}.{missed}"
    )
    picture = "docs/example/first-screen.png"
    wrapped = textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)
    return f"{wrapped}\n\n[![The first screen of the report]({picture})]({picture})"


def write_readme(facts: dict[str, Any]) -> None:
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    between = re.compile(f"(?<={re.escape(MARKS[0])}\n).*?(?={re.escape(MARKS[1])})", re.DOTALL)
    path.write_text(between.sub(lambda _: f"{paragraph(facts)}\n", text), encoding="utf-8")


def take_pictures(results: Path) -> None:
    shutil.copyfile(results / "figures" / "forest_mcc.png", FOLDER / "forest_mcc.png")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("no Chromium: the first screen stays as it is")
        return
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--force-color-profile=srgb"]
    size = f"--window-size={SCREEN[0]},{SCREEN[1]}"
    picture = f"--screenshot={FOLDER / 'first-screen.png'}"
    page = (results / "report.html").resolve().as_uri()
    subprocess.run([browser, *options, size, picture, page], check=True, capture_output=True)


def main(arguments: list[str]) -> None:
    known = FOLDER / "facts.json"
    if arguments:
        results, config_path = map(Path, arguments)
        FOLDER.mkdir(exist_ok=True)
        facts = facts_of(results, config_path)
        known.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        take_pictures(results)
    write_readme(json.loads(known.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main(sys.argv[1:])
