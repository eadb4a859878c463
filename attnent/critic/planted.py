"""Right solutions read again, each as it was and with one planted error: where it went wrong is known to the character.

examples = planted_examples(run)                                         # of a recorded gsm8k run
again = record(model, tokenizer, examples, task="gsm8k", reads="text")
mark_planted(again)                                                      # its labels "grades" and "errors"
"""

from itertools import cycle, islice

import pandas as pd

from attnent.critic.critics import found_at
from attnent.critic.labels import COLUMNS, keep, located
from attnent.critic.planting import MISTAKES, plant_error
from attnent.critic.quotes import CriticError
from attnent.runs import Run
from attnent.tasks import gsm8k

JUDGE = "planted"


def planted_examples(run: Run, *, seed: int = 0) -> pd.DataFrame:
    """Two examples of each right response of a gsm8k run: `<id>-right`, as it was, and `<id>-planted`.

    The columns of the run's examples, with `text`, the response to be read; its `label`, "correct" or "incorrect";
    `mistake`, one of MISTAKES in turn, or the next that can be made; `start`, the first character that is wrong,
    `stop`, and what was `there`. As it was, `mistake` is "" and the span is empty. A response in which none can be
    planted stands as it was alone. Raises CriticError where no response is right.
    """
    responses = run.responses
    if "gold" not in responses:
        raise CriticError(f"{run.folder} is no run of gsm8k (its examples lack gold); give one of task gsm8k")
    of = responses.set_index("response_id")["response"]
    is_right = [gsm8k.outcome(row) == "correct" for _, row in responses.iterrows()]
    right = run.examples[run.examples["id"].isin(of.index[is_right])]
    if right.empty:
        raise CriticError(f"no response of {run.folder} is right, so that no error can be planted; record more")
    rows = []
    for number, example in enumerate(right.to_dict(orient="records")):
        response = str(of[example["id"]])
        as_it_was = {"text": response, "label": "correct", "mistake": "", "start": 0, "stop": 0, "there": ""}
        in_turn = islice(cycle(MISTAKES), number, number + len(MISTAKES))
        planted = next(filter(None, (_planted(response, mistake, seed) for mistake in in_turn)), None)
        rows.append(example | as_it_was | {"id": f"{example['id']}-right"})
        if planted:
            rows.append(example | planted | {"id": f"{example['id']}-planted"})
    return pd.DataFrame(rows)


def _planted(response: str, mistake: str, seed: int) -> dict[str, object] | None:
    planted = plant_error(response, mistake, seed)
    if planted is None:
        return None
    wrong = planted.solution[planted.start : planted.stop]
    differ = [place for place, pair in enumerate(zip(wrong, planted.right, strict=True)) if pair[0] != pair[1]]
    about = {"text": planted.solution, "label": "incorrect", "mistake": mistake, "there": planted.right}
    return about | {"start": planted.start + differ[0], "stop": planted.start + differ[-1] + 1}


def mark_planted(run: Run) -> pd.DataFrame:
    """Where the error of each planted response is, as in `attnent.critic.labels`; kept in the run with its grades.

    The judge is "planted"; `kind` is the mistake, and the quote the characters that differ. Raises CriticError for a
    run that was not recorded from `planted_examples`.
    """
    responses = run.responses
    if missing := {"text", "label", "mistake", "start", "stop", "there"} - set(responses.columns):
        raise CriticError(
            f"{run.folder} holds no planted errors (its examples lack {', '.join(sorted(missing))}); "
            'record the table of planted_examples with reads="text"'
        )
    for name, response, text, stop in responses[["response_id", "response", "text", "stop"]].itertuples(index=False):
        if not response.startswith(text[:stop]):
            raise CriticError(f"the tokens of {name} do not write its text, so that its error has no place among them")
    run.grade(lambda row: row["label"], judge=JUDGE)
    wrong = responses[responses["mistake"] != ""]
    findings = [
        found_at(text, start, stop, mistake, f"{there} should stand here")
        for text, start, stop, mistake, there in wrong[["text", "start", "stop", "mistake", "there"]].to_numpy()
    ]
    return pd.DataFrame(keep(run, JUDGE, located(run, wrong, findings)), columns=list(COLUMNS))
