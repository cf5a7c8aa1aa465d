"""From the sources to arrays: layouts, images, the manifest, splits, their audit, crops."""
