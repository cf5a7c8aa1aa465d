"""Score every segmenter per image at the image's own size, choose the best, score their AND."""

import numpy as np
import pandas as pd
from multiloss import prediction, segmentation, training
from multiloss.errors import UserError
from multiloss.files import atomic, write_csv
from multiloss.images import read_grey, read_mask_for
from multiloss.progress import progress
from multiloss.script import run
from multiloss.tables import read_array, read_lungs


def main(snakemake) -> None:
    params = snakemake.params
    training.configure_tensorflow(params.tensorflow_threads, snakemake.resources.gpu)
    lungs = read_lungs(snakemake.input.lungs)
    images = read_array(snakemake.input.images, len(lungs))
    sizes = list(zip(lungs["height"], lungs["width"], strict=True))
    failed = [
        loss
        for loss, path in zip(params.losses, snakemake.input.histories, strict=True)
        if training.diverged(pd.read_csv(path))
    ]
    models = {
        loss: prediction.load_model(path)
        for loss, path in zip(params.losses, snakemake.input.models, strict=True)
        if loss not in failed
    }
    if not models:
        raise UserError("segmentation.losses: the training of every segmenter failed; see above")
    segmenter = segmentation.Segmenter(models, images.shape[1], params.batch_size)
    combined = min(params.ensemble_size, len(models))
    ensemble = f"and_top{combined}"

    def scores(split: str, chosen: list[str]) -> pd.DataFrame:
        rows = np.flatnonzero(lungs["split"] == split)
        found = []
        segmented = segmenter.masks(images, rows, sizes)
        for row, masks in progress(segmented, len(rows), f"scoring {split} images"):
            if chosen:
                masks[ensemble] = segmentation.combine_by_and([masks[loss] for loss in chosen])
            image = lungs.iloc[row]
            truth = read_mask_for(sizes[row], image["mask_paths"].split(";"))
            table = pd.DataFrame(segmentation.score(masks, truth))
            found.append(
                table.assign(
                    split=split, image_id=image["image_id"], patient_id=image["patient_id"], row=row
                )
            )
        return pd.concat(found)

    choice = segmentation.choose(scores("val", []), list(models), combined)
    write_csv(choice, snakemake.output.chosen)
    chosen = list(choice["loss"])
    per_image = pd.concat([scores(split, chosen) for split in ("val", "test")])
    columns = ["loss", "split", "image_id", "patient_id", "dice", "iou"]
    write_csv(per_image[columns], snakemake.output.per_image)

    # The best, median and worst test images of the AND mask, for the overlay figure.
    test = per_image[(per_image["split"] == "test") & (per_image["loss"] == ensemble)]
    ranked = test.sort_values(["dice", "image_id"], ascending=[False, True]).reset_index(drop=True)
    thirds = {"best": 0, "median": (len(ranked) - 1) // 2, "worst": len(ranked) - 1}
    cases, arrays = [], {}
    for case, first in thirds.items():
        for offset in range(params.examples):
            position = first - offset if case == "worst" else first + offset
            if not 0 <= position < len(ranked):
                continue
            row = int(ranked.loc[position, "row"])
            _, masks = next(segmenter.masks(images, np.array([row]), sizes))
            index = len(cases)
            arrays[f"image_{index}"] = read_grey(
                lungs.loc[row, "path"], int(lungs.loc[row, "bits"])
            )
            paths = lungs.loc[row, "mask_paths"].split(";")
            arrays[f"truth_{index}"] = read_mask_for(sizes[row], paths)
            arrays[f"prediction_{index}"] = segmentation.combine_by_and(
                [masks[loss] for loss in chosen]
            )
            cases.append(
                {
                    "case": case,
                    "image_id": ranked.loc[position, "image_id"],
                    "dice": ranked.loc[position, "dice"],
                    "index": index,
                }
            )
    with atomic(snakemake.output.example_arrays) as temporary:
        np.savez_compressed(temporary, **arrays)
    write_csv(pd.DataFrame(cases), snakemake.output.examples)


run(main, globals().get("snakemake"))
