#!/usr/bin/env python3
"""How fast the workflow is, against the limits that it should keep: docs/benchmarks.md.

    python benchmarks/speed.py                       # all parts
    python benchmarks/speed.py statistics planning   # some; the page keeps what others found

A part is a module of `speed_parts`, found by being there: its docstring says what is measured and
its `measure() -> list[Measurement]` does so, in a process of its own, so that one part's libraries
and memory are no other's. A part that needs what not every machine has tells by `lacks() -> str |
None` what this one lacks: it is then left out. Results are kept in docs/benchmarks.json, with the
machine that each part was measured on; the page is written from it alone. Exits with 1 where a
limit is not kept, or a part that was asked for is left out.
"""

import argparse
import datetime
import importlib
import importlib.metadata
import inspect
import json
import os
import platform
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PARTS, STORE = ROOT / "benchmarks" / "speed_parts", ROOT / "docs" / "benchmarks.json"
VERSIONS = ("snakemake", "numpy", "scipy", "pandas", "tensorflow", "keras")
HEAD = """\
# How fast it is

Written by `make bench` from benchmarks.json beside it, which holds what was measured; nothing here
is typed. Seconds are of CPU unless the unit says otherwise.
"""


@dataclass(frozen=True)
class Measurement:
    """One measured number: `name` says of what, in words; `unit`: `s of CPU`, `GB`, `times`.

    `limit`: what it should be, in the same unit, None for a number that is only told.
    `passed`: whether it is, None without a limit; see `at_most` and `at_least`.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    passed: bool | None = None


class NotHere(Exception):
    """What this machine lacks for a part, in words."""


def at_most(name: str, value: float, unit: str, limit: float) -> Measurement:
    """A number that should not be above a limit."""
    return Measurement(name, value, unit, limit, value <= limit)


def at_least(name: str, value: float, unit: str, limit: float) -> Measurement:
    """A number that should not be below a limit."""
    return Measurement(name, value, unit, limit, value >= limit)


def parts() -> list[str]:
    """The names of all parts."""
    return sorted(path.stem for path in PARTS.glob("[!_]*.py"))


def gpu() -> str | None:
    """The first GPU's name, driver and memory as nvidia-smi tells; None where it tells none."""
    command = [
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.total",
        "--format=csv,noheader",
    ]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return gpu_in_words(told.stdout)


def gpu_in_words(told: str) -> str | None:
    """`NVIDIA T4, 15360 MiB, driver 580.1` from nvidia-smi's lines; None where there are none."""
    lines = [line for line in told.splitlines() if line.count(",") == 2]
    if not lines:
        return None
    name, driver, memory = (fact.strip() for fact in lines[0].split(","))
    return f"{name}, {memory}, driver {driver}"


def machine() -> dict[str, Any]:
    """What the numbers were measured on, and of which version."""
    from multiloss import __version__

    cpu = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        lines = facts.read_text(encoding="utf-8").splitlines()
        named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        cpu = named[0] if named else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {"multiloss": __version__, "Python": platform.python_version()}
    for package in VERSIONS:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = {"cpu": cpu, "cores": cores, "memory_gb": round(memory), "versions": versions}
    card = gpu()
    return found | {"gpu": card} if card else found


def run(name: str) -> dict[str, Any]:
    """What a part measures, from a process of its own.

    Raises NotHere where the machine lacks something for it, RuntimeError where it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "measured.json")
        done = subprocess.run([sys.executable, __file__, name, "--into", str(out)], check=False)
        if not out.is_file():
            raise RuntimeError(f"part {name} ended with status {done.returncode} and no result")
        result = json.loads(out.read_text(encoding="utf-8"))
    if "lacks" in result:
        raise NotHere(result["lacks"])
    return result


def _measure(name: str, out: Path) -> None:
    """Run a part in this process."""
    sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "benchmarks")]
    part = importlib.import_module(f"speed_parts.{name}")
    lacks = part.lacks() if hasattr(part, "lacks") else None
    if lacks:
        out.write_text(json.dumps({"lacks": lacks}), encoding="utf-8")
        return
    result = {
        "what": inspect.cleandoc(part.__doc__),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": f'make bench ARGS="{name}"',
        "machine": machine(),
        "measurements": [asdict(measured) for measured in part.measure()],
    }
    out.write_text(json.dumps(result), encoding="utf-8")


def _number(value: float) -> str:
    """Three figures that count; large numbers whole."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _rows(result: Mapping[str, Any]) -> list[list[str]]:
    verdict = {True: "kept", False: "**not kept**", None: ""}
    return [
        [
            row["name"],
            _number(row["value"]),
            row["unit"],
            "" if row["limit"] is None else _number(row["limit"]),
            verdict[row["passed"]],
        ]
        for row in result["measurements"]
    ]


def _table(result: Mapping[str, Any]) -> str:
    header = ["", "Measured", "Unit", "Limit", ""]
    lines = [header, ["---", "---:", "---", "---:", "---"], *_rows(result)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(stored: Mapping[str, Mapping[str, Any]]) -> str:
    """docs/benchmarks.md from the stored results by part."""
    text = [HEAD]
    for name, result in sorted(stored.items()):
        on = result["machine"]
        versions = ", ".join(f"{package} {v}" for package, v in sorted(on["versions"].items()))
        text += [
            f"## {name.replace('_', ' ').capitalize()}\n\n{result['what']}\n\n{_table(result)}\n",
            f"`{result['command']}` on {result['date']}: {on['cpu']}, {on['cores']} cores, "
            f"{on['memory_gb']} GB{on.get('gpu', '') and ', ' + on['gpu']}; {versions}.\n",
        ]
    return "\n".join(text)


def main() -> int:
    """Measure the parts that are asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts())}")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in parts()]
    if unknown:
        parser.error(f"no part {unknown[0]}: choose of {', '.join(parts())}")
    if options.into:
        _measure(options.parts[0], options.into)
        return 0
    stored = json.loads(STORE.read_text(encoding="utf-8")) if STORE.is_file() else {}
    # A part that is no longer there has no result either.
    stored = {name: result for name, result in stored.items() if name in parts()}
    broken = False
    for name in options.parts or parts():
        try:
            stored[name] = run(name)
        except NotHere as lacks:
            print(f"{name}: left out, {lacks}\n", flush=True)
            broken |= name in options.parts
            continue
        except RuntimeError:
            traceback.print_exc()
            broken = True
            continue
        print(f"{name}\n{_table(stored[name])}\n", flush=True)
        STORE.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        STORE.with_suffix(".md").write_text(page(stored), encoding="utf-8")
    asked = [stored[name] for name in options.parts or parts() if name in stored]
    missed = any(row["passed"] is False for result in asked for row in result["measurements"])
    return int(broken or missed)


if __name__ == "__main__":
    sys.exit(main())
