"""Chest radiographs of Montgomery County with left and right lung masks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multiloss.layouts import Found, Layout
from multiloss.layouts._scan import bundle_part, images, paired, public_patient


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
        return found
