"""What notebook 06 asks of every model that is recorded: the questions of notebooks 01 to 03."""

from attnent.analysis.recorded import Contrast
from attnent.tasks import gsm8k, simpleqa

OFFLINE = "offline"  # the rules that stand in for a judge


def contrasts(judge: str) -> dict[str, Contrast]:
    """The contrast of each question; `judge` is whose grades of answers count, OFFLINE or a model of notebook 02."""
    return {
        "creative over factual": Contrast(
            "factual_creative",
            "creative",
            "factual",
            column="kind",
            by=lambda table: table[table["kind"] == "creative"].set_index("response_id")["genre"],
        ),
        "wrong over right answers": Contrast(
            "simpleqa",
            "incorrect",
            "correct",
            column=f"grade by {simpleqa.OFFLINE if judge == OFFLINE else judge}",
            surface=simpleqa.surface,
            outcomes=simpleqa.OUTCOMES,
            by=lambda table: table.set_index("response_id").get("tier"),
        ),
        "wrong over right solutions": Contrast(
            "gsm8k",
            "incorrect",
            "correct",
            column=f"grade by {gsm8k.JUDGE}",
            lengths=gsm8k.LENGTHS,
            surface=gsm8k.surface,
            outcomes=gsm8k.OUTCOMES,
            by=gsm8k.strata,
        ),
    }
