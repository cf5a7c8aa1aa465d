"""Chest radiographs of Shenzhen with lung masks in one file each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multiloss.data.layouts import Found, Layout
from multiloss.data.layouts._scan import bundle_part, images, paired, public_patient


class Shenzhen(Layout):
    """`CXR_png/X.png` and masks `mask/X_mask.png` (or `masks/`, `X.png`), at any depth.

    The masks may come as an archive of their own (`masks_url`), and the bundle of
    doi:10.17632/8gf9vpkhgy.2 is understood too: of its parts (`Shenzhen/img`, `Shenzhen/mask`,
    `Montgomery/...`, `Darwin/...`) only Shenzhen counts, since Montgomery is the usual test set
    and Darwin holds images of the classification set. An image that is there twice is taken
    from beside its mask.
    """

    title = "Chest radiographs of Shenzhen"
    cites = ("jaeger2014", "stirenko2018")
    license = "images: free with citation (National Library of Medicine); masks: CC BY-NC-SA 4.0"
    homepage = "https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/"

    def lungs(self, root: Path, source: Mapping[str, Any]) -> Found:
        paths, notes = bundle_part(images(root), root, "shenzhen")
        found = paired(paths, root, public_patient)
        found.notes += notes
        return found
