"""Rule `cases`: the test images that the page shows one by one."""

import json
from typing import Any

import pandas as pd
from multiloss import cases, predictions
from multiloss.data.tables import read_manifest
from multiloss.job.files import by_name, write_text
from multiloss.job.script import run


def main(snakemake: Any) -> None:
    given, params = snakemake.input, snakemake.params
    manifest = read_manifest(given.manifest, params.classes)
    boxes = None
    if given.boxes:
        boxes = pd.read_csv(
            given.boxes, dtype={"image_id": str}, keep_default_na=False, na_values=""
        )
    maps = by_name(given.maps)
    made = cases.cases(
        manifest[manifest["split"] == "test"],
        predictions.read(given.predictions, params.classes, ["test"]),
        params.labels,
        {name: cases.read_heat(path) for name, path in maps.items()},
        boxes,
        given.masks or None,
        most=params.most,
        seed=params.seed,
        rgb=params.rgb,
    )
    write_text(
        json.dumps(made, ensure_ascii=False, separators=(",", ":")) + "\n", snakemake.output[0]
    )


run(main, globals().get("snakemake"))
