"""Rules that stand in for a judge where none is at hand; their one door is `judge.judge_offline`."""

from typing import Literal

Outcome = Literal["correct", "incorrect", "not_attempted"]
