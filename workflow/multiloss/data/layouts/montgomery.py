"""Chest radiographs of Montgomery County with left and right lung masks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multiloss.data.layouts import Found, Layout
from multiloss.data.layouts._scan import bundle_part, images, paired, public_patient


class Montgomery(Layout):
    """`CXR_png/X.png` with `ManualMask/leftMask/X.png` and `ManualMask/rightMask/X.png`.

    Of the bundle doi:10.17632/8gf9vpkhgy.2 its part `Montgomery/img`, `Montgomery/mask` counts.
    """

    title = "Chest radiographs of Montgomery County"
    cites = ("jaeger2014",)
    license = "free with citation (U.S. National Library of Medicine)"
    homepage = "https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/"

    def lungs(self, root: Path, source: Mapping[str, Any]) -> Found:
        paths, notes = bundle_part(images(root), root, "montgomery")
        found = paired(paths, root, public_patient)
        found.notes += notes
        return found
