"""Critics at work on Runs whose responses are made by hand from problems of the bundled world."""

import json

import pandas as pd
import pytest
from fake_openai import KEY, completion, error
from spelt import spelt_trace, written

from attnent.analysis.intervals import wilson
from attnent.critic import (
    CriticError,
    agreement_over_repeats,
    agreement_with,
    mark,
    planted_errors,
    process_bench,
    read_process_bench,
)
from attnent.critic.critics import Case, examine
from attnent.critic.labels import wrong_responses
from attnent.critic.planting import plant_error
from attnent.llm import LLM
from attnent.runs import Run
from attnent.tasks import gsm8k
from attnent.tiny import world
from attnent.tiny.chance import WorldError
from attnent.tiny.reading import read_problem

PROBLEMS = world.problems(7, seed=3)
EXAMPLES = gsm8k.load("tiny", n=7, seed=3)


def with_other_answer(solution: str) -> str:
    return solution + "1"


RESPONSES = [
    PROBLEMS[0].solution,
    *(with_other_answer(plant_error(problem.solution, "slip", 0).solution) for problem in PROBLEMS[1:4]),
    "\n".join([*PROBLEMS[4].solution.split("\n")[1:-1], "#### 7777"]),
    "#### 7777",
    "",
]


def run_of(folder, examples: pd.DataFrame, responses: list[str]) -> Run:
    run = Run.start(folder / "run", identity={"task": "gsm8k"}, examples=examples)
    for name, response in zip(examples["id"], responses, strict=True):
        run.save(name, spelt_trace(response).assign_attrs(finish_reason="eos"))
    return run


@pytest.fixture
def run(tmp_path) -> Run:
    return run_of(tmp_path, EXAMPLES, RESPONSES)


@pytest.fixture
def one_wrong(tmp_path) -> Run:
    return run_of(tmp_path, EXAMPLES[1:2], RESPONSES[1:2])


def honest(body: dict) -> dict:
    """A model that knows the world: it reads problem and lines from what it was asked, and answers as the gold does."""
    asked = body["messages"][-1]["content"].split("\n\nAnswer with one JSON object")[0]
    problem, rest = asked.removeprefix("Problem:\n").split("\n\nRight solution:\n")
    gold, lines = rest.split("\n\nStudent's solution:\n")
    solution = "\n".join(line.split("] ", 1)[1] for line in lines.split("\n"))
    [found] = examine("exact", [Case(problem, gold, solution)])
    kind = {"slip": "arithmetic", "wrong operand": "misread"}.get(found.kind, found.kind)
    quote = solution[found.start : found.stop] if found.outcome == "found" else ""
    verdict = {"explanation": "so", "line": found.line or 0, "quote": quote, "kind": kind or "none found"}
    return completion(json.dumps(verdict))


@pytest.fixture
def llm(server, tmp_path) -> LLM:
    server.answer = honest
    return LLM("fake-1", cache=tmp_path / "cache.sqlite", base_url=server.base_url)


def verdict(**said) -> dict:
    return completion(json.dumps({"explanation": "so", "line": 0, "quote": "", "kind": "none found"} | said))


# ---- reading problems back


def test_a_problem_is_read_back_from_its_texts_with_the_source_of_every_operand():
    for problem in world.problems(60, seed=11):
        again = read_problem(problem.question, problem.solution)
        assert (again.id, again.steps, again.answer) == (problem.id, problem.steps, problem.answer)
        assert again.n_children == problem.n_children


@pytest.mark.parametrize("solution", ["", "3 + 4 = 7\n#### 7", PROBLEMS[0].solution + "1"])
def test_other_texts_are_no_problems_of_the_bundled_world(solution):
    with pytest.raises(WorldError, match="no problem of the bundled world"):
        read_problem(PROBLEMS[0].question, solution)


# ---- exact and arithmetic


def test_only_wrong_responses_are_marked(run):
    assert wrong_responses(run)["response_id"].tolist() == EXAMPLES["id"].tolist()[1:]
    assert mark(run, "exact")["response_id"].tolist() == EXAMPLES["id"].tolist()[1:]


def test_the_exact_critic_marks_the_tokens_of_the_wrong_equation_and_of_its_line(run):
    for row, response in zip(mark(run, "exact").itertuples(), RESPONSES[1:4], strict=False):
        trace, line = run.trace(row.response_id), response.split("\n")[int(row.line)]
        assert (row.outcome, row.kind, row.how) == ("found", "slip", "exact")
        assert written(trace, row.token_start, row.token_stop) == row.quote
        assert written(trace, row.line_start, row.line_stop) == line
        assert row.quote in line
        assert row.explanation in [f"{step} should stand here" for step in gold_equations(row.response_id)]


def gold_equations(response_id: str) -> list[str]:
    [problem] = [problem for problem in PROBLEMS if problem.id == response_id]
    return [f"{step.left}{step.operator}{step.right}={step.result}" for step in problem.steps]


def test_of_a_response_without_equations_the_answer_line_is_marked_as_the_missing_step(run):
    row = mark(run, "exact").iloc[4]
    assert (row["kind"], row["quote"], row["line"]) == ("missing step", "#### 7777", 0)


def test_an_empty_response_has_no_moment_to_mark(run):
    row = mark(run, "exact").iloc[5]
    assert (row["outcome"], row["explanation"]) == ("none found", "the solution is empty")
    assert pd.isna(row["token_start"])


def test_the_exact_critic_refuses_a_run_of_another_source(tmp_path):
    question = "Ida has 3 plums and buys 2 more. How many?"
    examples = EXAMPLES.head(1).assign(question=question, gold_solution="She has five.\n#### 5", gold="5")
    with pytest.raises(CriticError, match=r"knows only the bundled world.*use the arithmetic checker"):
        mark(run_of(tmp_path, examples, ["#### 6"]), "exact")


def test_a_run_of_another_task_is_refused(tmp_path):
    examples = pd.DataFrame({"id": ["a"], "prompt": ["Why?"]})
    with pytest.raises(CriticError, match=r"is no run of gsm8k .its examples lack gold, gold_solution, question"):
        mark(run_of(tmp_path, examples, ["So."]), "arithmetic")


def test_the_arithmetic_critic_marks_the_first_false_equation_and_says_where_there_is_none(run):
    rows = mark(run, "arithmetic")
    assert rows["outcome"].tolist() == ["found"] * 3 + ["none found"] * 3
    exact = mark(run, "exact")
    assert rows["quote"].tolist()[:3] == exact["quote"].tolist()[:3]


def test_what_is_known_is_not_written_again(run):
    first = mark(run, "exact")
    size = (run.folder / "labels" / "errors.jsonl").stat().st_size
    pd.testing.assert_frame_equal(mark(run, "exact"), first)
    assert (run.folder / "labels" / "errors.jsonl").stat().st_size == size


# ---- a language model


def test_an_honest_model_marks_what_the_exact_critic_marks(run, llm):
    said, exact = mark(run, llm), mark(run, "exact")
    for name in ("response_id", "outcome", "line", "quote", "token_start", "token_stop", "line_start", "line_stop"):
        pd.testing.assert_series_equal(said[name], exact[name])
    assert set(said["judge"]) == {"fake-1"}


def test_the_right_solution_and_numbered_lines_are_shown_and_no_key(one_wrong, llm, server):
    mark(one_wrong, llm)
    asked = server.asked[0]["messages"][-1]["content"]
    numbered = [f"[{number}] {line}" for number, line in enumerate(RESPONSES[1].split("\n"))]
    assert "Student's solution:\n" + "\n".join(numbered) + "\n\n" in asked
    assert f"Problem:\n{PROBLEMS[1].question}\n\nRight solution:\n{PROBLEMS[1].solution}" in asked
    assert not [path for path in one_wrong.folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_repeats_are_judges_of_their_own_and_cost_nothing_the_second_time(run, llm, server):
    rows = mark(run, llm, repeats=3)
    assert set(rows["judge"]) == {"fake-1", "fake-1#1", "fake-1#2"}
    n_asked = len(server.asked)
    assert n_asked == 3 * 5  # the empty response is not asked about
    mark(run, llm, repeats=3)
    assert len(server.asked) == n_asked


REFUSAL = completion(None, message={"refusal": "I would rather not."})


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (REFUSAL, "refused"),
        (completion("I think that it is line 2."), "malformed"),
        (completion('{"explanation": "wh', finish_reason="length"), "cut off"),
        (completion(None, finish_reason="content_filter"), "filtered"),
        (error(400, "no"), "failed"),
        (verdict(kind="arithmetic", quote="a quote from nowhere", line=99), "malformed"),
        (verdict(kind="arithmetic", quote="a quote from nowhere", line=-1), "malformed"),
        (verdict(kind="format only"), "format only"),
        (verdict(), "none found"),
    ],
)
def test_every_outcome_is_kept_and_marks_no_tokens(one_wrong, llm, server, answer, outcome):
    server.answer = lambda body: answer
    mark(one_wrong, llm)
    [row] = one_wrong.labels("errors").to_dict(orient="records")
    assert row["outcome"] == outcome
    assert pd.isna(row["token_start"])


def test_what_the_budget_does_not_cover_is_kept_as_not_asked(one_wrong, server, tmp_path):
    price = {"usd_per_million": (1e6, 1e6), "max_usd": 0.0}
    llm = LLM("fake-1", cache=tmp_path / "cache.sqlite", base_url="http://example.org/v1", **price)
    rows = mark(one_wrong, llm)
    assert rows["outcome"].tolist() == ["not asked"]


def test_a_quote_of_another_line_marks_that_line_and_keeps_the_claim(one_wrong, llm, server):
    lines = RESPONSES[1].split("\n")
    server.answer = lambda body: verdict(kind="copying", quote=lines[1], line=0)
    [row] = mark(one_wrong, llm).to_dict(orient="records")
    assert (row["line"], row["claimed_line"], row["quote"], row["how"]) == (1, 0, lines[1], "exact")


def test_a_quote_that_is_nowhere_marks_the_whole_line(one_wrong, llm, server):
    server.answer = lambda body: verdict(kind="copying", quote="the number of the beast", line=1)
    [row] = mark(one_wrong, llm).to_dict(orient="records")
    assert (row["how"], row["quote"]) == ("line", RESPONSES[1].split("\n")[1])
    assert (row["token_start"], row["token_stop"]) == (row["line_start"], row["line_stop"])


def test_an_answer_that_calls_the_line_a_step_is_understood(one_wrong, llm, server):
    said = {"explanation": "so", "step": 1, "quote": "the number of the beast", "kind": "copying"}
    server.answer = lambda body: completion(json.dumps(said))
    assert mark(one_wrong, llm)["claimed_line"].tolist() == [1]


def test_an_unknown_critic_is_refused(run):
    with pytest.raises(CriticError, match=r"no critic 'gpt-4o'; give 'exact' or 'arithmetic', or an attnent\.llm\.LLM"):
        mark(run, "gpt-4o")


def test_a_critic_is_asked_at_least_once_and_only_a_language_model_again(run, llm):
    with pytest.raises(CriticError, match="repeats is 0; ask at least once"):
        mark(run, llm, repeats=0)
    with pytest.raises(CriticError, match="repeats is 2, but the critic 'exact' says the same each time"):
        mark(run, "exact", repeats=2)


# ---- how far they can be trusted


def test_a_perfect_critic_locates_every_planted_error_and_flags_nothing_clean():
    table = planted_errors("exact", EXAMPLES)
    assert table.loc["slip", ["estimate", "n"]].tolist() == [1, 7]
    assert table.loc["clean", ["estimate", "n"]].tolist() == [0, 7]
    assert table.loc["clean", "high"] == pytest.approx(0.3543, abs=1e-4)  # Wilson: z^2 / (7 + z^2)


def test_planted_errors_are_put_before_a_language_model_with_the_right_solution(llm):
    table = planted_errors(llm, EXAMPLES)
    assert table["estimate"].tolist() == [1, 1, 1, 0]


def test_a_critic_that_gives_no_answers_locates_nothing(llm, server):
    server.answer = lambda body: REFUSAL
    table = planted_errors(llm, EXAMPLES)
    assert table["estimate"].tolist() == [0, 0, 0, 0]
    assert table["n_no_answer"].tolist() == table["n"].tolist()


def labels(**lines: list[int | None]) -> pd.DataFrame:
    """Labels in which each judge names these lines; -1 finds none, None gives no answer."""
    outcomes = {None: "refused", -1: "none found"}
    return pd.DataFrame(
        [
            {
                "response_id": f"r{place}",
                "judge": judge.replace("_", "#"),
                "outcome": outcomes.get(line, "found"),
                "line": None if line in (None, -1) else line,
            }
            for judge, named in lines.items()
            for place, line in enumerate(named)
        ]
    )


def test_agreement_over_repeats_counts_responses_whose_every_repeat_names_the_same_line():
    repeats = agreement_over_repeats(labels(m=[0, 1, -1, 2], m_1=[0, 1, -1, 1], m_2=[0, 2, -1, None]), "m")
    assert (repeats.identical.estimate, repeats.n) == (2 / 3, 3)
    # by hand: agreement within responses (1 + 1/3 + 1) / 3 = 7/9; by chance (3/9)^2 * 2 + (2/9)^2 + (1/9)^2 = 23/81
    assert repeats.kappa == pytest.approx((7 / 9 - 23 / 81) / (1 - 23 / 81))


def test_agreement_over_one_and_the_same_line_has_no_kappa():
    repeats = agreement_over_repeats(labels(m=[1, 1], m_1=[1, 1]), "m")
    assert repeats.identical.estimate == 1
    assert pd.isna(repeats.kappa)


def test_a_critic_that_was_asked_once_has_no_repeats():
    with pytest.raises(CriticError, match="'m' was asked 1 times; mark with repeats=2"):
        agreement_over_repeats(labels(m=[0, 1], other_1=[0, 1]), "m")


def test_agreement_with_another_critic_is_over_what_both_examined():
    table = agreement_with(labels(m=[0, 1, -1, 2, None], exact=[0, 2, -1, -1, 0]), "m", "exact")
    assert table[["estimate", "n"]].to_numpy().tolist() == [[3 / 4, 4], [1 / 2, 2], [1 / 2, 2]]


def test_agreement_with_a_critic_that_said_nothing_is_refused():
    with pytest.raises(CriticError, match="hold nothing by exact; mark the run with that critic first"):
        agreement_with(labels(m=[0]), "m", "exact")


def bench_line(**changes) -> str:
    steps = ["She has 3 + 4 = 7 eggs.", "Half of it:\n7 / 2 = 4.5.", "So 4.5 * 2 = 9."]
    line = {"id": "gsm8k-0", "problem": "How many?", "steps": steps, "label": 1, "final_answer_correct": False}
    return json.dumps({name: value for name, value in (line | changes).items() if value is not None})


def test_f1_is_the_harmonic_mean_of_the_accuracies_on_wrong_and_on_right_solutions(tmp_path):
    right = ["2 + 2 = 4.", "So 4."]
    lines = [
        bench_line(),  # named
        bench_line(label=0),  # another step is named
        bench_line(label=2, steps=["2 + 2 = 4.", "It is 3.", "So 3 it is."]),  # not seen
        bench_line(label=-1, steps=right),
        bench_line(label=-1),  # wrongly accused
    ]
    path = tmp_path / "gsm8k.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = process_bench("arithmetic", read_process_bench(path))
    assert (result.wrong, result.right) == (wilson(1, 3), wilson(1, 2))
    assert result.f1 == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'id': 1}", "Invalid JSON"),
        ("[1, 2]", "Input should be an object"),
        (bench_line(label=None), "label: Field required"),
        (bench_line(steps="one"), "steps: Input should be a valid (list|array)"),
        (bench_line(steps=[]), "steps: List should have at least 1 item"),
        (bench_line(steps=["one", " "]), "steps: 1: String should match"),
        (bench_line(label=3), "label: 3, but there are 3 steps"),
        (bench_line(label=-2), "label: Input should be greater than or equal to -1"),
        (bench_line(label=True), "label: Input should be a valid integer"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line, message):
    path = tmp_path / "gsm8k.jsonl"
    path.write_text(f"{bench_line()}\n{line}\n", encoding="utf-8")
    with pytest.raises(CriticError, match=f"line 2 of .*gsm8k.jsonl is no sample of ProcessBench .{message}"):
        read_process_bench(path)


def test_a_file_without_samples_is_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    for name, message in (("empty.jsonl", "holds no samples"), ("nowhere.jsonl", "cannot be read")):
        with pytest.raises(CriticError, match=message):
            read_process_bench(tmp_path / name)
