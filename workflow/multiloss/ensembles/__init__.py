"""Choosing models, combining them, and judging the combinations, all on the `ensemble` split."""
