"""Tables in, tables out: groups compared, heads mapped, verdicts decided, the wrong line found. No torch, no words."""

from attnent.analysis import across, difficulty, locating, recorded, wrong_line
from attnent.analysis.comparison import auroc, compare, compare_paired
from attnent.analysis.grades import accuracy, agreement, outcome_shares
from attnent.analysis.heads import head_levels, head_map, head_maps, stands_out
from attnent.analysis.intervals import FEWEST, Interval, StatsError, wilson
from attnent.analysis.pooling import disjoint_sets
from attnent.analysis.regression import compare_adjusted
from attnent.analysis.verdicts import BASELINES, COMPARED, PRIMARY, Comparison, Verdict, controlled, pooled
from attnent.analysis.windows import curve, curves, difference, in_window, last_steps, matched_window, response_means

__all__ = [
    "BASELINES",
    "COMPARED",
    "FEWEST",
    "PRIMARY",
    "Comparison",
    "Interval",
    "StatsError",
    "Verdict",
    "accuracy",
    "across",
    "agreement",
    "auroc",
    "compare",
    "compare_adjusted",
    "compare_paired",
    "controlled",
    "curve",
    "curves",
    "difference",
    "difficulty",
    "disjoint_sets",
    "head_levels",
    "head_map",
    "head_maps",
    "in_window",
    "last_steps",
    "locating",
    "matched_window",
    "outcome_shares",
    "pooled",
    "recorded",
    "response_means",
    "stands_out",
    "wilson",
    "wrong_line",
]
