"""What the tables say, asked in the words of the study. Nothing here writes sentences."""

from multiloss.report.facts.findings import FindingFacts
from multiloss.report.facts.values import (
    PRIMARY_TEST,
    Comparison,
    Degenerate,
    Estimate,
    Floor,
    Heat,
    Hit,
    Optimism,
    PrimaryFamily,
    Ranking,
    Spread,
    count_of,
    differences,
    ends_of,
    is_remark,
    loss_parameters,
    watched,
)

__all__ = [
    "PRIMARY_TEST",
    "Estimate",
    "Comparison",
    "Floor",
    "Hit",
    "Degenerate",
    "Spread",
    "PrimaryFamily",
    "Optimism",
    "Heat",
    "Ranking",
    "loss_parameters",
    "count_of",
    "ends_of",
    "watched",
    "is_remark",
    "differences",
    "Facts",
]


class Facts(FindingFacts):
    """One study's config and tables."""
