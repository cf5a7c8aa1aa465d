"""Lung masks and how good they are. TensorFlow does not run here: see `networks.segmenter`."""
