"""Fetch one data source, verify it, and unpack it (or link to it, if it is a folder)."""

import json
from pathlib import Path

from multiloss.data import layouts
from multiloss.data.sources import addresses, archives, download
from multiloss.data.sources.download import Fetched
from multiloss.job.files import write_text
from multiloss.job.script import run
from multiloss.job.seeds import derive


def main(snakemake) -> None:
    source = snakemake.params.source
    # Snakemake stores the parameters, which therefore have no passwords and tokens in them.
    configured = next(
        entry for entry in snakemake.config["data"]["sources"] if entry["name"] == source["name"]
    )
    layout = layouts.get(source["layout"])
    layout.refuse_other_roles(source)
    record = Path(snakemake.output.record)
    # A '+' is in no source's name, so these files are no other source's.
    wanted = {"": record.with_suffix(".archive")}
    if configured.get("masks_url"):
        wanted["masks_"] = record.with_name(f"{record.stem}+masks.archive")
    parts = {}
    for prefix, destination in wanted.items():
        url, sha256 = configured[f"{prefix}url"], source.get(f"{prefix}sha256")
        if source["layout"] == "phantom":
            part = generated(source, snakemake.params.seed, destination)
        else:
            part = fetched(source, url, sha256, destination)
        parts[prefix] = (url, sha256, part)
    try:
        archives.place(
            source["name"], [part.path for _, _, part in parts.values()], snakemake.output.folder
        )
    except archives.ArchiveError:
        # Kept, it would fail each further run too.
        for destination in wanted.values():
            download.forget(destination)
        raise
    # The layout's own; what the config says besides is the report's to add.
    terms = {key: getattr(layout, key) for key in ("license", "citation", "homepage")}
    provenance = download.provenance(source, terms, parts)
    for prefix, (url, _, part) in parts.items():
        if provenance[f"{prefix}verified"] == "recorded":
            download.record_digest(wanted[prefix], url, part.sha256)
    write_text(json.dumps(provenance, indent=2, ensure_ascii=False) + "\n", record)
    for destination in wanted.values():
        download.forget(destination)


def generated(source: dict, seed: int, destination: Path) -> Fetched:
    """An archive from the phantom generator, made like any other source's."""
    from phantom import write_archive

    destination.parent.mkdir(parents=True, exist_ok=True)
    seed = derive(seed, "phantom", source["name"])
    write_archive(source["phantom"], source["role"], seed, destination)
    return Fetched(destination, download.digest_of(destination), destination.stat().st_size)


def fetched(source: dict, url: str, sha256: str | None, destination: Path) -> Fetched:
    """An archive from the network, or an archive or folder of this machine where it lies."""
    is_table = source["layout"] == "table"
    if is_table:
        url = addresses.of_table(url)
    recorded = download.recorded_digest(destination, url)
    part = download.fetch(url, destination, sha256, recorded, name=source["name"])
    # A table lists what is meant; elsewhere the study's own files would be taken for images.
    if not is_table:
        download.refuse_results_inside(source["name"], part.path)
    return part


run(main, globals().get("snakemake"))
