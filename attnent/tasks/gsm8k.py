"""GSM8K: word problems whose answer is one number (Cobbe et al. 2021, arXiv:2110.14168). Load, ask, read, grade.

Knows nothing of where a solution went wrong; that is the critic's.
"""

import json
import re
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from attnent import tasks
from attnent.rules.numbers import Number, amounts, find_numbers, plain, words_to_digits
from attnent.rules.sums import find_values
from attnent.runs import Run
from attnent.tasks import (
    TaskError,
    choose,
    from_hub,
    from_world,
    local_file,
    need_columns,
    refuse,
    solutions,
    text_ids,
)

CLUSTER = "group"  # the column of the problem: samples of one problem belong together
LENGTHS = ("n_prompt", "n_steps", "n_gold_steps", "n_children", "level")  # held fixed where responses have them
OUTCOMES = ("correct", "incorrect", "truncated")
JUDGE, LABELLED = "answer read", "label in the file"
Outcome = Literal["correct", "incorrect", "truncated"]
How = Literal["final answer", "####", "boxed", "the answer is", "answer:", "A:", "last", "none"]

INSTRUCTION = (
    "Work out the following problem. Reason step by step, and end your response with a line of the form: "
    '"The final answer is N", where N is just the number.'
)
_HUB = "openai/gsm8k"
_TOO_HARD_FOR = ("smollm2",)  # it solves next to none
_LOCAL = "a jsonl file whose lines hold `question` and `answer` (the solution, `#### 29` at its end)"

# Eight worked problems, written for this project: (problem, solution).
EXEMPLARS: tuple[tuple[str, str], ...] = tuple(
    (one["problem"], one["solution"])
    for one in json.loads(files("attnent.tasks").joinpath("exemplars.json").read_text(encoding="utf-8"))
)


class Answer(NamedTuple):
    """The number that a response gives, None when there is none, and how it was found."""

    value: Fraction | None
    how: How


# ------------------------------------------------------------------------------------------------------------- examples


def prompt_for(question: str, *, shots: int = 0) -> str | list[dict[str, str]]:
    """The prompt for one problem: a string without exemplars, else `shots` (at most 8) solved turns and the problem."""
    if not 0 <= shots <= len(EXEMPLARS):
        raise TaskError(
            f"shots is {shots}, but there are {len(EXEMPLARS)} exemplars; pass shots between 0 and {len(EXEMPLARS)}"
        )
    asked = f"{INSTRUCTION}\n\nProblem: {question}"
    if shots == 0:
        return asked
    turns: list[dict[str, str]] = []
    for problem, solution in EXEMPLARS[:shots]:
        turns.append({"role": "user", "content": f"{INSTRUCTION}\n\nProblem: {problem}"})
        turns.append({"role": "assistant", "content": solution})
    return [*turns, {"role": "user", "content": asked}]


def load(source: str | Path = "tiny", *, n: int, seed: int = 0, shots: int = 0) -> pd.DataFrame:
    """`n` problems, a row each; the problems for a smaller `n` are the beginning of those for a larger.

    `source` is "tiny" (the bundled world, whose problems are asked as they are, without instruction or exemplars),
    "plain" (arithmetic in plain English, two solved problems before each: see `tasks.plain`), "hub" (`openai/gsm8k`,
    configuration main) or the path of a jsonl file with `question` and `answer`, or of one with solutions by other
    models: then a row is a solution (see `solutions.unfolded`), with the `text` to be read, its `label`, and `writer`.

    Columns: `id`, `prompt` (a string, or messages when `shots` > 0), `gold` (the number as text), `group` (the
    problem), `question`, `n_gold_steps` (lines of the gold solution before its answer line), `gold_solution`; of the
    bundled world also `n_children`, how many children do something, which is what makes its problems hard; of plain
    ones `level`, 1 to 4.
    """
    if source == "tiny":
        return _from_world(n, seed, shots)
    if source == "plain":
        return _plain(n, seed, shots)
    where = f"the source {str(source)!r}"
    if source == "hub":
        table = from_hub(_HUB, config="main", split="test", instead=_LOCAL)
    else:
        table = _read_jsonl(local_file(source, names=("tiny", "plain", "hub"), instead=_LOCAL))
    is_read = solutions.holds(table)
    table = solutions.unfolded(table, where=where) if is_read else table
    examples = _examples(table, where=where)
    if is_read:
        examples = examples.join(table[list(solutions.COLUMNS)])
    chosen = choose(examples, n, seed=seed, what="solutions" if is_read else "problems")
    chosen.insert(
        1, "prompt", pd.Series([prompt_for(question, shots=shots) for question in chosen["question"]], dtype=object)
    )
    return chosen


def source_of(source: str, model: str) -> str:
    """What "auto" means for a model: its world, GSM8K, or where that cannot be fetched or is too hard "plain"."""
    return tasks.source_of(source, model, dataset=_HUB, offline="plain", too_hard_for=_TOO_HARD_FOR)


def _plain(n: int, seed: int, shots: int) -> pd.DataFrame:
    from attnent.tasks import plain

    if shots:
        raise TaskError(f"shots is {shots}, but plain problems bring solved ones of their kind; pass shots=0")
    return plain.load(n, seed)


def _from_world(n: int, seed: int, shots: int) -> pd.DataFrame:
    from attnent.tiny import world

    if shots:
        raise TaskError(f"shots is {shots}, but the bundled model answers plain questions only; pass shots=0")
    columns = {"id": "id", "prompt": "question", "gold": "answer", "group": "id", "question": "question"}
    columns |= {"n_gold_steps": "n_steps", "n_children": "n_children", "gold_solution": "solution"}
    return from_world(world.problems, n, seed, columns, what="problems").astype({"gold": str})


def _read_jsonl(path: Path) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise TaskError(f"line {number} of {path} is not JSON ({error.msg}); pass {_LOCAL}") from error
            if not isinstance(row, dict):
                raise TaskError(f"line {number} of {path} is not a JSON object; pass {_LOCAL}")
            rows.append(row)
    return pd.DataFrame(rows)


_ANSWER_LINE = re.compile(r"####|^A:", re.MULTILINE)


def _examples(table: pd.DataFrame, *, where: str) -> pd.DataFrame:
    """Problems as a table without prompts; gold answers that cannot be read are an error that lists them all."""
    need_columns(table, ("question", "answer"), where)
    questions, golds = ([str(text) for text in table[name]] for name in ("question", "answer"))
    ids, groups = text_ids("gsm8k", questions)
    answers = [read_answer(gold).value for gold in golds]
    unread = (row for row, answer in enumerate(answers) if answer is None)
    refuse((f"{ids[row]} (row {row})" for row in unread), f"gold answers of {where} hold no number")
    lines = [[line for line in _ANSWER_LINE.split(gold)[0].splitlines() if line.strip()] for gold in golds]
    return pd.DataFrame(
        {
            "id": ids,
            "gold": [str(answer) for answer in answers],
            "group": groups,
            "question": questions,
            "n_gold_steps": [len(of_gold) for of_gold in lines],
            "gold_solution": golds,
        }
    )


# -------------------------------------------------------------------------------------------- what a problem looks like

_OPERATORS = {"n_plus": "+", "n_minus": "-", "n_times": "*x×", "n_divided": "/÷"}
_BETWEEN_NUMBERS = re.compile(r"(?<=[\d)%])\s*([-+*x×/÷])\s*(?=[$(.\d])")
_TIMES_WORDS = re.compile(
    r"\b(?:twice|thrice|doubl|tripl|quadrupl|hal(?:f|ves)|third|quarter|dozen|percent|times)", re.I
)


def surface(examples: pd.DataFrame) -> pd.DataFrame:
    """What a problem and its gold solution show before anything is answered: a row an example, a column a number.

    `examples` has `id` or `response_id`, which is the index then, and `question`: its lengths (`n_characters`,
    `n_words`, `n_sentences`) and its numbers (`n_numbers`, `largest_number`, `n_digits` and `digit_sum` of all,
    `n_number_words`, `n_times_words` such as twice or half). Where there is a `gold_solution`, its operators (`n_plus`,
    `n_minus`, `n_times`, `n_divided`) and `largest_result`; `n_gold_steps`, `n_children` and `level` where they are
    known, and of solutions by others who wrote them, a column of 0 and 1 a `writer`.
    """
    name = "response_id" if "response_id" in examples else "id"
    need_columns(examples, (name, "question"), "the table of problems")
    features = pd.DataFrame(map(_shown, examples["question"]))
    if "gold_solution" in examples:
        features = features.join(pd.DataFrame(map(_worked, examples["gold_solution"])))
    for known in ("n_gold_steps", "n_children", "level"):
        if known in examples:
            features[known] = examples[known].to_numpy()
    if "writer" in examples:
        features = features.join(pd.get_dummies(examples["writer"].reset_index(drop=True), prefix="writer"))
    return features.set_index(pd.Index(examples[name])).astype(float)


def strata(responses: pd.DataFrame) -> pd.Series:
    """What problems of like difficulty share, by response_id: the `level` of plain ones, else steps of the gold."""
    known = responses.set_index("response_id")
    if "level" in known:
        return "level " + known["level"].astype(str)
    edges = [0, 2, 3, 4, float("inf")]
    return pd.cut(known["n_gold_steps"], edges, labels=["1-2 steps", "3 steps", "4 steps", "5 or more"])


def _shown(question: str) -> dict[str, int | float]:
    text = plain(question)
    numbers = find_numbers(text)
    digits = [int(sign) for number in numbers for sign in text[number.start : number.stop] if sign.isdigit()]
    return {
        "n_characters": len(question),
        "n_words": len(question.split()),
        "n_sentences": len(re.findall(r"[.!?](?:\s|$)", question)),
        "n_numbers": len(numbers),
        "largest_number": float(max((abs(number.value) for number in numbers), default=0)),
        "n_digits": len(digits),
        "digit_sum": sum(digits),
        "n_number_words": len(find_numbers(words_to_digits(text, ordinals=False))) - len(numbers),
        "n_times_words": len(_TIMES_WORDS.findall(text)),
    }


def _worked(solution: str) -> dict[str, int | float]:
    """The operators of a gold solution, of its marked calculations (`<<48/2=24>>`) alone where it has any."""
    text = " ".join(_CALCULATION.findall(solution)) or solution
    signs = _BETWEEN_NUMBERS.findall(text)
    results = [abs(number.value) for part in text.split("=")[1:] for number in find_numbers(part.lstrip())[:1]]
    return {
        **{name: sum(sign in written for sign in signs) for name, written in _OPERATORS.items()},
        "largest_result": float(max(results, default=0)),
    }


# ------------------------------------------------------------------------------------------------------ reading answers

_CALCULATION = re.compile(r"<<[^<>\n]{0,200}>>")
_FRACTION = re.compile(r"(\d)?\\[dt]?frac\s?(?:\{\s?(-?\d{1,30})\s?\}\s?\{\s?(-?\d{1,30})\s?\}|(\d)(\d))")
_LATEX_SEPARATOR = re.compile(r"(?<=\d)(?:\{,\}|\\[,!]|,\\!)(?=\d{3}(?!\d))")
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mathit|operatorname)\s?\{([^{}\n]{0,200})\}")
_LATEX_SIGN = re.compile(r"\\([$%#&_])")
_LATEX_SPACE = re.compile(r"\\[()\[\],;:! ]|\\q?quad|~")
_LATEX_WORD = re.compile(r"\\(approx|times|cdot|div|left|right|displaystyle)\b")
_LATEX_WORDS = {"approx": "=", "times": "*", "cdot": "*", "div": "/"}
_EMPHASIS = re.compile(r"\*\*|__|~~|`")
_RAISED = re.compile(r"(?<=\d)\s?\^\s?(?:\{\s?(-?\d+)\s?\}|(-?\d+))")

_IS = r"\b(?:is|are|was|equals|would[ ]be|comes[ ]to)\b"
_ANCHOR = re.compile(
    rf"""(?P<boxed>\\(?:boxed|fbox)\s?\{{)
        |(?P<hashes>\#{{4,}})
        |(?P<final>\b(?:(?:the|my|our|so|therefore)[ ]+){{0,2}}final[ ]+answer\b
            (?:[^.!?\n\d=]{{0,60}}?{_IS}|[^.!?\n\d=:]{{0,40}}[:=]|[ *_]{{0,9}}\n))
        |(?P<statement>\b(?:the|my|our|correct)[ ]+(?:\w{{1,20}}[ ]+)?answer\b[^.!?\n\d=]{{0,60}}?{_IS})
        |(?P<label>\banswer[ *_]{{0,3}}[:=])
        |(?P<letter>^[ \t]{{0,9}}A[ ]?:)""",
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
_HOW: dict[str, How] = {
    "boxed": "boxed",
    "hashes": "####",
    "final": "final answer",
    "statement": "the answer is",
    "label": "answer:",
    "letter": "A:",
}
_MOST_ANCHORS = 20
_LONGEST = 30_000
_SENTENCE_END = re.compile(
    r"\n|(?<!\bapprox)(?<!\bRs)(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bMs)(?<!\bno)[.!?](?=\s|$)", re.IGNORECASE
)
_BRACKETS = re.compile(r"\([^()\n]{0,300}\)")
_DENIED = re.compile(r"\bnot[ ][$€£]?[\d.,]{1,30}\d?\b,?", re.IGNORECASE)
_HEADING = re.compile(r"\d+\.[ ]+[A-Za-z]")
_NEGATIVE = re.compile(r"\bnegative[ ]+(?=[$€£]?\d)|^\W{0,5}minus[ ]+(?=[$€£]?\d)", re.IGNORECASE)
_AND_A_PART = re.compile(r"(?<![\d.])\d+ and (?:a|one) (?:half|quarter|third)\b")
_OR = re.compile(r"\s?(?P<unit>[A-Za-z%]*),?\s+or\s+")


def read_answer(text: str) -> Answer:
    r"""The number that a response gives as its answer, exact, and how it was found.

    Markdown and LaTeX are taken off first. Then, from the last anchor of the text backwards (`final answer`, `####`,
    `\boxed{`, `the answer is`, `answer:`, a line `A:`), the rest of the sentence is read: right of its last `=` when
    there is one outside brackets, there the first number. Without any anchor that leads to a number, the last number
    of the text (outside brackets if there is one) counts, with `how="last"`; with no number at all, or with two to
    choose from (`18 or 20`), the value is None and `how="none"`.

    Percent signs, currencies and units are left off: `50%` is 50. `\frac{3}{4}`, `½`, `1 1/2` and `half` are exact
    fractions; what is left to calculate (`2 * 9`, `10^3`) is calculated. Of a text the last 30,000 characters are read.
    """
    text = _without_markup(text[-_LONGEST:])
    for anchor in reversed(list(_ANCHOR.finditer(text))[-_MOST_ANCHORS:]):
        if stated := _stated(_statement(text, anchor)):
            return _answer(stated[0], _HOW[anchor.lastgroup or "label"])
    said = _values(_BRACKETS.sub(" ", text)) or _values(text)
    return _answer(said[-1] if said else None, "last")


def same_answer(question: str, one: str, other: str) -> bool:
    """Whether two responses to a problem give the same number."""
    value = read_answer(one).value
    return value is not None and value == read_answer(other).value


def _answer(value: Fraction | None, how: How) -> Answer:
    return Answer(value, "none" if value is None else how)


def _without_markup(text: str) -> str:
    text = _CALCULATION.sub("", plain(text))
    text = _LATEX_SEPARATOR.sub(",", text)
    if "\\" in text:
        text = _FRACTION.sub(_slashed, text)
        text = _LATEX_TEXT.sub(r" \1", text)
        text = _LATEX_SIGN.sub(r"\1", text)
        text = _LATEX_WORD.sub(lambda match: _LATEX_WORDS.get(match[1], " "), text)
        text = _LATEX_SPACE.sub(" ", text)
    text = _EMPHASIS.sub("", text).replace("≈", "=")
    text = _RAISED.sub(lambda match: f"**{match[1] or match[2]}", text)
    return _AND_A_PART.sub(lambda match: amounts(match[0]), text)


def _slashed(match: re.Match[str]) -> str:
    before, top, bottom = match[1] or "", int(match[2] or match[4]), int(match[3] or match[5])
    if bottom < 0:
        top, bottom = -top, -bottom
    return f"{before}{' ' if before else ''}{top}/{bottom}"


def _statement(text: str, anchor: re.Match[str]) -> str:
    """What stands after an anchor: the content of the box, or the rest of the sentence; empty for a mere heading."""
    if anchor.lastgroup == "boxed":
        return _braced(text, anchor.end())
    start = anchor.end()
    while start < len(text) and text[start] in " \t\r\n:*_":
        start += 1
    end = _SENTENCE_END.search(text, start)
    statement = text[start : end.start() if end else len(text)][:2_000]
    starts_with_number = re.match(r"\W{0,5}\d", statement)
    if anchor.lastgroup == "hashes":
        return statement if (starts_with_number and not _HEADING.match(text, start)) or "=" in statement else ""
    opens_reasoning = anchor.lastgroup in ("label", "letter") and not text[: anchor.start()].strip()
    if opens_reasoning and not starts_with_number and end and text[end.end() :].strip():
        return ""
    return statement


def _braced(text: str, start: int) -> str:
    depth = 1
    for position in range(start, min(len(text), start + 1_000)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position]
    return text[start : start + 200].split("\n")[0]


def _stated(statement: str) -> list[Fraction | None]:
    statement = _NEGATIVE.sub("-", _DENIED.sub("", statement))
    outside = _BRACKETS.sub(" ", statement)
    right = outside.rsplit("=", 1)[1] if "=" in outside else ""
    return _values(right) or _values(outside) or _values(statement)


def _values(text: str) -> list[Fraction | None]:
    """The numbers of a text in order, in words where none is in digits; None for two to choose from."""
    numbers = find_values(text)
    if not numbers:
        text = amounts(words_to_digits(text, ordinals=False))
        numbers = find_values(text)
    values: list[Fraction | None] = []
    for place, number in enumerate(numbers):
        if place and _to_choose(text, numbers[place - 1], number):
            values[-1] = None
        else:
            values.append(number.value)
    return values


def _to_choose(text: str, one: Number, other: Number) -> bool:
    """Whether two numbers that are not the same are offered, in the same unit: `18 or 20 dollars`."""
    between = _OR.fullmatch(text, one.stop, other.start)
    if between is None or one.value in (other.value, 100 * other.value, other.value / 100):
        return False
    return text[other.stop : other.stop + 40].lstrip().startswith(between["unit"])


# -------------------------------------------------------------------------------------------------------------- grading


def grade(response: str, gold: str, *, finish_reason: str = "eos") -> Outcome:
    """Grade a response by `read_answer`; one that was cut at the token limit is truncated, whatever it says so far.

    `gold` is a number as text or a whole gold solution; `finish_reason` is "length" for a response that was cut.
    """
    wanted = read_answer(gold).value
    if wanted is None:
        raise TaskError(f"the gold answer {gold[:80]!r} holds no number; correct it")
    if finish_reason == "length":
        return "truncated"
    return "correct" if read_answer(response).value == wanted else "incorrect"


def grade_run(run: Run) -> pd.Series:
    """The grade of every response of a Run, by response_id; kept in it as grades of the judge that `judge_of` names.

    Solutions that were read from a file have the grade that it gives them; all others are graded by `read_answer`.
    """
    return run.grade(lambda row: outcome(row), judge=judge_of(run.responses))


def outcome(row: Any) -> Outcome:
    """The grade of one row of the table of responses."""
    if judge_of(row) == LABELLED:
        return row["label"]
    return grade(row["response"], row["gold"], finish_reason=row["finish_reason"])


def judge_of(responses: pd.DataFrame | pd.Series) -> str:
    """Who grades these responses: the file they come from, or this module."""
    return LABELLED if "label" in responses else JUDGE


_STRICT = {
    "####": re.compile(r"#### (-?[0-9.,]+)"),
    "final answer": re.compile(r"The final answer is ((?:-?[$0-9.,]{2,})|(?:-?[0-9]+))"),
}
_FLEXIBLE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_IGNORED = re.compile(r",|\$|\.$")


def _same_text(found: str | None, gold: str) -> Outcome:
    wanted = gold.rsplit("#### ", 1)[-1]
    same = found is not None and _IGNORED.sub("", found) == _IGNORED.sub("", wanted)
    return "correct" if same else "incorrect"


def grade_strict(response: str, gold: str, *, form: Literal["####", "final answer"] = "####") -> Outcome:
    """The field's strict rule: the first match of `#### (-?[0-9.,]+)`, compared with the gold answer as text.

    As in lm-evaluation-harness (task gsm8k, filter strict-match); `,`, `$` and a final `.` are left off. A prompt
    that asks for "The final answer is N" fails it by construction: compare with `form="final answer"` then, the
    strict rule of the harness's gsm8k_cot_llama. Either rule knows nothing of truncation.
    """
    match = _STRICT[form].search(response)
    return _same_text(match[1] if match else None, gold)


def grade_flexible(response: str, gold: str) -> Outcome:
    """The field's flexible rule: the last match of `(-?[$0-9.,]{2,})|(-?[0-9]+)`, compared with the gold answer as
    text.

    As in lm-evaluation-harness (task gsm8k, filter flexible-extract). It knows nothing of truncation.
    """
    matches = _FLEXIBLE.findall(response)
    return _same_text(matches[-1] if matches else None, gold)


def grades_by_rule(responses: pd.DataFrame) -> pd.DataFrame:
    """The grades of this module's reading and of the field's two rules: a row a response_id, a column a rule.

    `responses` has the columns `response_id`, `response`, `gold`, `finish_reason`. The strict rule looks for `####`
    where any response has it, else for "The final answer is".
    """
    form = "####" if responses["response"].str.contains("####", regex=False).any() else "final answer"
    rules = {
        "this reading": lambda row: grade(row.response, row.gold, finish_reason=row.finish_reason),
        f"strict ({form})": lambda row: grade_strict(row.response, row.gold, form=form),
        "flexible": lambda row: grade_flexible(row.response, row.gold),
    }
    grades = {rule: [judge(row) for row in responses.itertuples()] for rule, judge in rules.items()}
    return pd.DataFrame(grades, index=pd.Index(responses["response_id"], name="response_id"))
