"""Chest radiographs of Montgomery County with left and right lung masks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multiloss.layouts import Found, Layout, Rejection
from multiloss.layouts._scan import bundle_part, images, paired, public_patient

_SIDES = ("leftmask", "rightmask")


class Montgomery(Layout):
    """`CXR_png/X.png` with `ManualMask/leftMask/X.png` and `ManualMask/rightMask/X.png`.

    Of the bundle doi:10.17632/8gf9vpkhgy.2 its part `Montgomery/img`, `Montgomery/mask` counts.
    """

    counts = "138 images, all with masks"
    labels = "lung masks (left and right in two files)"
    citation = (
        "Jaeger S, Candemir S, Antani S, Wang YXJ, Lu PX, Thoma G (2014). Two public chest X-ray "
        "datasets for computer-aided screening of pulmonary diseases. Quant Imaging Med Surg "
        "4(6):475-477. doi:10.3978/j.issn.2223-4292.2014.11.20"
    )
    license = "free with citation (U.S. National Library of Medicine)"
    homepage = "https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/"

    def lungs(self, root: Path, source: Mapping[str, Any]) -> Found:
        paths, notes = bundle_part(images(root), root, "montgomery")
        found = paired(paths, root, public_patient)
        found.notes += notes
        if any(_side(path) for path in paths):
            halves = [own for own in found.records if {*map(_side, own.mask_paths)} != {*_SIDES}]
            found.records = [own for own in found.records if own not in halves]
            found.rejections += [
                Rejection(own.image_id, path, "left or right mask missing")
                for own in halves
                for path in (own.path, *own.mask_paths)
            ]
        return found


def _side(path: Path) -> str:
    name = path.parent.name.lower()
    return name if name in _SIDES else ""
