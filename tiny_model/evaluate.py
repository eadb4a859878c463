"""Measure what the model card claims: `python -m tiny_model.evaluate [DIR] [--out FILE]`.

Greedy decoding by plain transformers on held-out problems and on facts of all tiers, float32; about five minutes on one
core. Prints the figures as JSON. This module knows nothing of attention statistics.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from attnent.tiny import MODEL_DIR, world
from tiny_model.grading import is_right, outcome, read_answer

MAX_NEW_TOKENS = 160
OUTCOMES = ("correct", "incorrect", "not attempted")


def load(folder: Path = MODEL_DIR) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Model (float32) and tokenizer of a local folder."""
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"{folder} holds no model: it has no config.json")
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def respond(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    *,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 100,
) -> list[str]:
    """The response to each prompt, without special tokens; temperature 0 is greedy.

    A response that does not end within `MAX_NEW_TOKENS` tokens is cut there.
    """
    chats = [
        tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
        for prompt in prompts
    ]
    order = sorted(range(len(chats)), key=lambda at: len(chats[at]))
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature > 0 else {"do_sample": False}
    torch.manual_seed(seed)
    responses = [""] * len(chats)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        inputs = tokenizer(
            [chats[at] for at in chosen],
            return_tensors="pt",
            padding=True,
            add_special_tokens=False,
            return_token_type_ids=False,
        )
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, **sampling)  # ty: ignore[invalid-argument-type]
        new_tokens = output[:, inputs["input_ids"].shape[1] :]
        for at, text in zip(chosen, tokenizer.batch_decode(new_tokens, skip_special_tokens=True), strict=True):
            responses[at] = text
    return responses


def lengths(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[int]:
    """The number of tokens of each text."""
    return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]


def auroc(wrong: Sequence[bool], score: Sequence[int | float]) -> float | None:
    """The probability that a wrong item scores above a right one, ties half; None when one of the kinds is absent."""
    return round(float(roc_auc_score(wrong, score)), 3) if len(set(wrong)) == 2 else None


def right_by(groups: Sequence[str], right: Sequence[bool]) -> dict[str, dict[str, int]]:
    """How many items each group has, and how many of them are right."""
    counts = {group: {"n": 0, "right": 0} for group in sorted(set(groups))}
    for group, ok in zip(groups, right, strict=True):
        counts[group]["n"] += 1
        counts[group]["right"] += ok
    return counts


def problem_figures(
    problems: Sequence[world.Problem], responses: Sequence[str], tokenizer: PreTrainedTokenizerFast
) -> dict[str, Any]:
    """Right by number of steps, errors by kind, and what length and number of steps alone tell."""
    right = [is_right(problem, text) for problem, text in zip(problems, responses, strict=True)]
    errors = [world.first_error(problem, text) for problem, text in zip(problems, responses, strict=True)]
    kinds = Counter(error.kind if error else "none found" for error, ok in zip(errors, right, strict=True) if not ok)
    kinds_by_children = {
        str(n_children): dict(
            Counter(
                error.kind if error else "none found"
                for problem, error, ok in zip(problems, errors, right, strict=True)
                if not ok and problem.n_children == n_children
            ).most_common()
        )
        for n_children in (1, 2)
    }
    wrong = [not ok for ok in right]
    return {
        "n": len(problems),
        "right": sum(right),
        "share_right": round(sum(right) / len(right), 3),
        "by_number_of_steps": right_by([str(problem.n_steps) for problem in problems], right),
        "by_number_of_children": right_by([str(problem.n_children) for problem in problems], right),
        "by_distractor": right_by(["with" if problem.distractor else "without" for problem in problems], right),
        "first_error_of_wrong_responses": dict(kinds.most_common()),
        "first_error_by_number_of_children": kinds_by_children,
        "right_answer_with_a_wrong_step": sum(
            ok and error is not None for ok, error in zip(right, errors, strict=True)
        ),
        "no_answer_line": sum(read_answer(text) is None for text in responses),
        "auroc_of_wrong": {
            "prompt_tokens": auroc(wrong, lengths(tokenizer, [problem.question for problem in problems])),
            "response_tokens": auroc(wrong, lengths(tokenizer, responses)),
            "number_of_steps": auroc(wrong, [problem.n_steps for problem in problems]),
            "number_of_children": auroc(wrong, [problem.n_children for problem in problems]),
        },
    }


def fact_figures(
    questions: Sequence[world.Question], responses: Sequence[str], tokenizer: PreTrainedTokenizerFast
) -> dict[str, Any]:
    """Outcomes overall, by tier and by attribute, and what length alone tells of wrong among the attempted."""
    outcomes = [outcome(question, text) for question, text in zip(questions, responses, strict=True)]

    def count(chosen: Sequence[str]) -> dict[str, int]:
        return {"n": len(chosen), **{name: sum(each == name for each in chosen) for name in OUTCOMES}}

    def count_by(field: str) -> dict[str, dict[str, int]]:
        keys = dict.fromkeys(sorted(getattr(question, field) for question in questions))
        pairs = list(zip(questions, outcomes, strict=True))
        return {key: count([each for question, each in pairs if getattr(question, field) == key]) for key in keys}

    attempted = [at for at, each in enumerate(outcomes) if each != "not attempted"]
    wrong = [outcomes[at] == "incorrect" for at in attempted]
    prompt_tokens = lengths(tokenizer, [question.question for question in questions])
    response_tokens = lengths(tokenizer, responses)
    return {
        **count(outcomes),
        "by_tier": count_by("tier"),
        "by_attribute": count_by("attribute"),
        "auroc_of_wrong_given_attempted": {
            "prompt_tokens": auroc(wrong, [prompt_tokens[at] for at in attempted]),
            "response_tokens": auroc(wrong, [response_tokens[at] for at in attempted]),
        },
    }


def quartiles(values: Sequence[int | float]) -> list[float]:
    """Least, quarter, median, three quarters, most."""
    return [float(value) for value in np.percentile(values, [0, 25, 50, 75, 100])]


def text_figures(
    prompts: Sequence[world.Prompt], responses: Sequence[str], tokenizer: PreTrainedTokenizerFast
) -> dict[str, Any]:
    """Lengths (tokens) and variety of longer responses."""
    words = [tuple(text.split()) for text in responses]
    fours = [each[at : at + 4] for each in words for at in range(len(each) - 3)]
    return {
        "n": len(responses),
        "prompt_tokens_quartiles": quartiles(lengths(tokenizer, [prompt.prompt for prompt in prompts])),
        "response_tokens_quartiles": quartiles(lengths(tokenizer, responses)),
        "distinct_responses": len(set(responses)),
        "distinct_share_of_four_word_runs": round(len(set(fours)) / max(1, len(fours)), 3),
    }


def described_facts(prompts: Sequence[world.Prompt], responses: Sequence[str]) -> dict[str, int]:
    """How many of the five facts of each described person the response states."""
    facts = {person.name: person.facts.values() for person in world.people()}
    stated = sum(
        value in text for prompt, text in zip(prompts, responses, strict=True) for value in facts[prompt.topic]
    )
    return {"facts": len(prompts) * len(world.ATTRIBUTES), "stated": stated}


def measure(folder: Path, n_problems: int, n_questions: int) -> dict[str, Any]:
    """All figures of the model in `folder`."""
    model, tokenizer = load(folder)
    problems, questions = world.problems(n_problems), world.questions(n_questions)
    factual, creative = world.factual_prompts(100), world.creative_prompts(100)
    solutions = respond(model, tokenizer, [problem.question for problem in problems])
    answers = respond(model, tokenizer, [question.question for question in questions])
    descriptions = respond(model, tokenizer, [prompt.prompt for prompt in factual])
    inventions = respond(model, tokenizer, [prompt.prompt for prompt in creative], temperature=0.8)
    half = respond(model.to(torch.bfloat16), tokenizer, [problem.question for problem in problems])
    samples = [
        *zip([problem.question for problem in problems[:3]], solutions, strict=False),
        *zip([question.question for question in questions[:4]], answers, strict=False),
        *zip([prompt.prompt for prompt in factual[:2]], descriptions, strict=False),
        *zip([prompt.prompt for prompt in creative[:4]], inventions, strict=False),
    ]
    return {
        "n_parameters": sum(weight.numel() for weight in model.parameters()),
        "problems": problem_figures(problems, solutions, tokenizer),
        "problems_in_bfloat16": {
            "right": sum(is_right(problem, text) for problem, text in zip(problems, half, strict=True)),
            "same_response": sum(one == other for one, other in zip(solutions, half, strict=True)),
        },
        "facts": fact_figures(questions, answers, tokenizer),
        "factual": {
            **text_figures(factual, descriptions, tokenizer),
            "facts_of_people": described_facts(factual, descriptions),
        },
        "creative": text_figures(creative, inventions, tokenizer),
        "samples": [{"prompt": prompt, "response": response} for prompt, response in samples],
    }


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description="Measure the figures of the model card.")
    parser.add_argument(
        "folder", type=Path, nargs="?", default=MODEL_DIR, help="folder of the model (default: the bundled)"
    )
    parser.add_argument("--problems", type=int, default=1_000, help="number of held-out problems (default 1000)")
    parser.add_argument("--questions", type=int, default=800, help="number of fact questions (default 800)")
    parser.add_argument("--out", type=Path, help="write the JSON to this file too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = json.dumps(measure(arguments.folder, arguments.problems, arguments.questions), indent=2, ensure_ascii=False)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
