"""Tables in, tables out: groups compared, heads mapped, verdicts decided, the wrong line found. No torch, no words."""

from attnent.analysis.comparison import *  # noqa: F403
