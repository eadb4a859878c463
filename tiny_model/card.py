"""Write the model card and the checksums: `python -m tiny_model.card [DIR]`.

The figures come from `figures.json` of the folder, which `tiny_model.evaluate` writes; nothing is measured here.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from attnent.tiny import MODEL_DIR
from attnent.tiny.problems import TWO_CHILDREN
from tiny_model.documents import FACT_VISITS

CARD = """\
---
license: mit
language: en
library_name: transformers
tags: [llama, toy-model]
---

# The bundled model of attnent

A Llama-architecture model of {n_parameters:,} parameters, trained by this project from nothing on text of its
own making, so that every notebook runs offline on responses that are sometimes right, sometimes wrong and
sometimes "I don't know". It lives in its own little world (`attnent.tiny.world`). It knows nothing of ours:
real questions get "I don't know" or nonsense, and no figure measured on it says anything about larger models.

    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained(folder)       # bfloat16
    tokenizer = AutoTokenizer.from_pretrained(folder)          # chat template: system, user, assistant

## What it is

- Llama: hidden 192, 6 layers, 6 query heads over 2 key-value heads, feed-forward 512, tied embeddings, rope
  theta 10,000, context 512 (trained on texts of at most 256 tokens).
- Byte-level BPE of 1,792 tokens, each digit a token of its own, names and facts one token each; special tokens
  for pad, bos, system, user, assistant and end.
- Ask it the bare question as user message: that is the format it knows. Decode facts and problems greedily,
  stories and poems at temperature 0.8.

## Data

All text is made by `attnent.tiny` and `tiny_model` from a seed; none comes from elsewhere.

- Word problems of 2 to 6 equations with worked steps (`Tom has 41-15=26 left.`) and `#### 26` at the end, some
  with numbers that distract; bare sums with the same number ranges. Test problems are held out by the hash of
  their text. Some count for two children at once; the model hardly learnt these, so they are drawn with
  probability {two[train]} for training and {two[test]} for testing, which sets the share of right answers.
- 300 invented people with 5 attributes each: head 60 people (each fact asked {asked[head]} times and told in
  {told[head]} descriptions), middle 80 ({asked[middle]} and {told[middle]}), tail 100 ({asked[tail]} and
  {told[tail]}), never 60 (in no training text). Questions about names of nobody teach "I don't know". Every
  question of `world.questions()` has the same number of tokens, and so has every answer.
- Stories and four-line poems from a random grammar.

## Training

`python -m tiny_model.train --out DIR`: packed rows of 256 tokens in which no document sees another, 8 rows a
step, two passes of fresh text each with its own optimiser (Muon on hidden matrices at 0.02, then 0.015, AdamW
on embeddings and norms at 3e-3, then 2e-3), 30 steps of warm-up, cosine by step, clip 1, bfloat16 autocast over
float32 weights; digits of results weigh 1.5, prompts 0.05. About 15 minutes on one core. It repeats in quality,
not bit by bit.

## Measured

By `python -m tiny_model.evaluate` on these weights, greedy, in float32; all of it is in `figures.json`.

### Held-out problems (`world.problems({problems[n]})`)

{problems[right]} of {problems[n]} right ({problems[share_right]:.1%}). In bfloat16 {problems_in_bfloat16[right]} are
right and {problems_in_bfloat16[same_response]} responses are the same word for word.

{steps_table}

{groups_table}

First error of the {n_wrong} wrong responses, by the gold chain:

{kinds_table}

{problems[right_answer_with_a_wrong_step]} right answers had a wrong step; {problems[no_answer_line]} responses had no
answer line.

What the surface alone tells (AUROC of wrong against right); any other signal has to be compared with these:

{surface_table}

### Facts (`world.questions({facts[n]})`)

{facts_table}

AUROC of incorrect against correct by length alone: prompt {facts_prompt}, response {facts_response} (all lengths are
equal).

### Longer texts

Tokens are least, lower quartile, median, upper quartile, most.

100 descriptions of people (greedy): {factual[facts_of_people][stated]} of {factual[facts_of_people][facts]} facts
stated as they are; prompts {factual_prompt_lengths} tokens, responses {factual_lengths}.

100 stories and poems (temperature 0.8): {creative[distinct_responses]} distinct; different runs of four words are
{creative[distinct_share_of_four_word_runs]:.0%} of all such runs; prompts {creative_prompt_lengths} tokens, responses
{creative_lengths}.

## Samples

Taken in order, not chosen.

{samples}

## Limits

- A toy: six layers, one narrow kind of text. It shows that tools work, not what is true of language models.
- Problems and their errors follow one grammar, so the surface of a problem predicts its errors in part. Most
  slips are of one-child problems, most wrong operands of two-child problems: stratify by `n_children`.
- About people of the tier `never` the best response is "I don't know"; it is not always the one given.
- Text in other formats than that of its training (few-shot prompts, other instructions, long contexts) is out
  of its world.

Licence: MIT, like the package.
"""


def table(header: list[str], rows: list[list[Any]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def write_card(figures: dict[str, Any]) -> str:
    """The text of the model card with these figures."""
    problems, facts = figures["problems"], figures["facts"]
    steps = [[k, v["n"], v["right"], f"{v['right'] / v['n']:.0%}"] for k, v in problems["by_number_of_steps"].items()]
    named = [
        ("one child", problems["by_number_of_children"]["1"]),
        ("two children", problems["by_number_of_children"]["2"]),
        ("without distractor", problems["by_distractor"]["without"]),
        ("with distractor", problems["by_distractor"]["with"]),
    ]
    groups = [[name, v["n"], v["right"], f"{v['right'] / v['n']:.0%}"] for name, v in named]
    surface = [[name.replace("_", " "), f"{value:.2f}"] for name, value in problems["auroc_of_wrong"].items()]
    kinds = problems["first_error_of_wrong_responses"]
    columns = ["n", "correct", "incorrect", "not attempted"]
    tiers = [[tier, *(facts["by_tier"][tier][column] for column in columns)] for tier in FACT_VISITS]
    return CARD.format(
        **{name: value for name, value in figures.items() if name != "samples"},
        asked={tier: asked for tier, (asked, _) in FACT_VISITS.items()},
        two=TWO_CHILDREN,
        told={tier: told for tier, (_, told) in FACT_VISITS.items()},
        n_wrong=problems["n"] - problems["right"],
        steps_table=table(["equations", "problems", "right", "share"], steps),
        groups_table=table(["problems", "n", "right", "share"], groups),
        surface_table=table(["score", "AUROC"], surface),
        kinds_table=table(["first error", "responses"], [[kind, count] for kind, count in kinds.items()]),
        facts_table=table(["tier", *columns], [*tiers, ["all", *(facts[column] for column in columns)]]),
        facts_prompt=f"{facts['auroc_of_wrong_given_attempted']['prompt_tokens']:.2f}",
        facts_response=f"{facts['auroc_of_wrong_given_attempted']['response_tokens']:.2f}",
        **{
            f"{group}{part}_lengths": ", ".join(f"{value:g}" for value in figures[group][f"{name}_tokens_quartiles"])
            for group in ("factual", "creative")
            for part, name in (("_prompt", "prompt"), ("", "response"))
        },
        samples="\n\n".join(
            f"> **{sample['prompt']}**\n>\n> " + sample["response"].replace("\n", "  \n> ")
            for sample in figures["samples"]
        ),
    )


def write_checksums(folder: Path) -> str:
    """The lines of `SHA256SUMS` for the files of `folder`, as sha256sum writes them."""
    paths = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths)


def main() -> None:
    """Read the command line, write both files."""
    parser = argparse.ArgumentParser(description="Write the model card and the checksums.")
    parser.add_argument(
        "folder", type=Path, nargs="?", default=MODEL_DIR, help="folder of the model (default: the bundled)"
    )
    folder = parser.parse_args().folder
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    (folder / "README.md").write_text(write_card(figures), encoding="utf-8")
    (folder / "SHA256SUMS").write_text(write_checksums(folder), encoding="utf-8")


if __name__ == "__main__":
    main()
