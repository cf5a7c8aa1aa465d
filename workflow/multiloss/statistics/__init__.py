"""Intervals and paired tests on plain arrays, all of which respect that images come in patients."""
