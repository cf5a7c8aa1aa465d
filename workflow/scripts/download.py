"""Fetch one data source, verify it, and unpack it (or link to it, if it is a folder)."""

import json
import logging
import os
from pathlib import Path

from multiloss import addresses, archives, download, layouts
from multiloss.download import Fetched
from multiloss.errors import UserError
from multiloss.files import write_text
from multiloss.script import run
from multiloss.seeds import derive

logger = logging.getLogger(__name__)


def main(snakemake) -> None:
    source = snakemake.params.source
    # Snakemake stores the parameters, which therefore have no passwords and tokens in them.
    configured = next(
        entry for entry in snakemake.config["data"]["sources"] if entry["name"] == source["name"]
    )
    layout = layouts.get(source["layout"])
    layout.refuse_other_roles(source)
    folder, record = Path(snakemake.output.folder), Path(snakemake.output.record)
    # A '+' is in no source's name, so these files are no other source's.
    stems = [record.stem] + [f"{record.stem}+masks"] * bool(configured.get("masks_url"))
    wanted = [record.with_name(f"{stem}.archive") for stem in stems]
    urls = [configured["url"], configured.get("masks_url")]
    digests = [source.get("sha256"), source.get("masks_sha256")]
    parts = []
    for destination, url, sha256 in zip(wanted, urls, digests, strict=False):
        if source["layout"] == "phantom":
            parts.append(generated(source, snakemake.params.seed, destination))
            continue
        if source["layout"] == "table" and not addresses.is_remote(url):
            path = addresses.local_path(url)
            url = str(path.parent) if path.suffix.lower() == ".csv" and path.is_file() else url
        recorded = download.recorded_digest(destination, url)
        parts.append(download.fetch(url, destination, sha256, recorded, name=source["name"]))
        target = parts[-1].path
        # A table lists what is meant; elsewhere the study's own files would be taken for images.
        if source["layout"] != "table" and Path.cwd().is_relative_to(target.resolve()):
            raise UserError(
                f"source '{source['name']}': the results would lie inside its folder {target}: "
                "run in another folder (`snakemake --directory`)"
            )
    try:
        place(source["name"], parts, folder)
    except archives.ArchiveError as error:
        # Kept, it would fail each further run too.
        for destination in wanted:
            download.forget(destination)
        raise UserError(f"source '{source['name']}': {error}") from None
    provenance = {key: source[key] for key in ("name", "role", "layout")}
    # The layout's own; what the config says besides is the report's to add.
    provenance |= {key: getattr(layout, key) for key in ("license", "citation", "homepage")}
    for prefix, destination, url, sha256, part in zip(
        ("", "masks_"), wanted, urls, digests, parts, strict=False
    ):
        verified = "folder" if part.path.is_dir() else "known" if sha256 else "recorded"
        if source["layout"] == "phantom":
            verified = "generated"
        if verified == "recorded":
            download.record_digest(destination, url, part.sha256)
        provenance |= {
            f"{prefix}url": addresses.public(url),
            f"{prefix}sha256": part.sha256,
            f"{prefix}size": part.size,
            f"{prefix}verified": verified,
        }
    write_text(json.dumps(provenance, indent=2, ensure_ascii=False) + "\n", record)
    for destination in wanted:
        download.forget(destination)


def generated(source: dict, seed: int, destination: Path) -> Fetched:
    """An archive from the phantom generator, made like any other source's."""
    from multiloss.phantom import write_archive

    destination.parent.mkdir(parents=True, exist_ok=True)
    seed = derive(seed, "phantom", source["name"])
    write_archive(source["phantom"], source["role"], seed, destination)
    return Fetched(destination, download.digest_of(destination), destination.stat().st_size)


def place(name: str, parts: list[Fetched], folder: Path) -> None:
    """Unpack archives, or link to folders that stay where they are."""
    folders = [part.path for part in parts if part.path.is_dir()]
    if not folders:
        archives.unpack([part.path for part in parts], folder)
        return
    if len(folders) < len(parts):
        raise UserError(
            f"source '{name}': `url` and `masks_url` must both be archives or both be folders"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for link, target in zip(("linked", "linked_masks"), folders, strict=False):
        (folder / link).unlink(missing_ok=True)
        os.symlink(target.resolve(), folder / link, target_is_directory=True)
        logger.info("%s: linked to the folder %s", name, target)


run(main, globals().get("snakemake"))
