"""`attnent replay`: a model reads the responses of a log, and what it attends to is kept as a Run."""

import argparse
import functools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from attnent.logs import Log, read_log
from attnent.store.folders import out_folder
from attnent.study import StudyError
from attnent.study.showing import in_one_sentence

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from attnent.runs import Run

GRADES = {
    1: "correct",
    0: "incorrect",
    "C": "correct",
    "I": "incorrect",
    "correct": "correct",
    "incorrect": "incorrect",
}
MOST_NAMED = 5
_MARK = re.compile(r"<\|\w+\|>|<start_of_turn>|\[INST\]")  # of chat templates


def replay(chosen: argparse.Namespace) -> None:
    """Record the responses of a log by reading them; keep its scores as labels and say what became of all."""
    from attnent.model.loading import load_model  # these take their time to load
    from attnent.model.recorder import record

    with in_one_sentence():
        log = read_log(chosen.log, format=chosen.format, batch_input=chosen.batch_input)
        model, tokenizer = load_model(chosen.model)
        prompts = as_the_model_saw(log, tokenizer, chosen.template)
        table = log.table.assign(prompt=prompts)
        rows: Any = table.itertuples()
        table["left_out"] = [row.left_out or reason_against(model, tokenizer, row) for row in rows]
        read = table[table["left_out"] == ""]
        if read.empty:
            raise StudyError(f"no response of {chosen.log} can be read: {'; '.join(left_out_of(table))}")
        examples, reads = to_be_read(read)
        task = chosen.task or chosen.log.stem
        folder, n = out_folder(chosen.out_dir), chosen.batch_size
        run = record(model, tokenizer, examples, task=task, out_dir=folder, reads=reads, batch_size=n)
    for sentence in (
        f"{len(read)} of {len(table)} responses were read",
        *left_out_of(table),
        *log.notes,
        *tokens_of(run, read),
        *against_logprobs(run, read),
        *keep_scores(run, read),
        f"Run: {run.folder.resolve()}",
    ):
        print(sentence)


def as_the_model_saw(log: Log, tokenizer: "PreTrainedTokenizerBase", template: bool | None) -> list[Any]:
    """The prompts as they are to be read; takes the chat template off the tokenizer where they hold it already.

    Raises StudyError where a template would be applied a second time.
    """
    prompts = log.table["prompt"].tolist()
    texts = [prompt for prompt in log.table["prompt"][log.table["prompt_ids"].isna()] if isinstance(prompt, str)]
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    if template or (template is None and not log.rendered):
        marked = [(text, mark) for text in texts for mark in special if mark in text]
        if marked and tokenizer.chat_template is not None:
            raise StudyError(
                f"a prompt holds {marked[0][1]!r}, so that it is in a chat template already; read the prompts as they "
                "are with --no-template"
            )
        return prompts
    tokenizer.chat_template = None
    unknown = sorted({mark for text in texts for mark in _MARK.findall(text)} - set(tokenizer.get_vocab()))
    if unknown:
        print(f"The prompts hold {', '.join(unknown[:MOST_NAMED])}, marks of another model's template, read as text")
    first = tokenizer.bos_token
    if first and tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]:  # it would be there twice
        return [prompt.removeprefix(first) if isinstance(prompt, str) else prompt for prompt in prompts]
    return prompts


def reason_against(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", row: Any) -> str:
    """Why a response of a log cannot be read by this model; nothing where it can."""
    from jinja2 import TemplateError

    from attnent.attention.layers import context_length
    from attnent.model.prompts import PromptError, encode_prompt, encoded_prompt

    if row.prompt is None and not row.prompt_ids:
        return "no prompt"
    if any("\ud800" <= char <= "\udfff" for char in row.text):
        return "the response holds half of a character"
    response_ids = row.token_ids or tokenizer(row.text, add_special_tokens=False).input_ids
    if not response_ids:
        return "empty response"
    try:
        n_prompt = len(encoded_prompt(model, tokenizer, row.prompt_ids or row.prompt).token_ids)
        encode_prompt(tokenizer, response_ids, name="the response")
    except (PromptError, TemplateError) as error:
        return str(error)
    if not all(agree(tokenizer, *one) for one in ((row.prompt_ids, row.prompt), (row.token_ids, row.text)) if all(one)):
        return "its text and its token ids are not the same to this tokenizer: another one wrote them"
    context = context_length(model)
    too_long = context is not None and n_prompt + len(response_ids) > context
    return f"longer than the model's context of {context} tokens" if too_long else ""


def agree(tokenizer: "PreTrainedTokenizerBase", token_ids: list[int], text: Any) -> bool:
    """Whether token ids hold a text: what an engine has cut off it, and messages, say nothing."""
    if not isinstance(text, str):
        return True
    known = text.strip(" \n\t\ufffd")
    decode = functools.partial(tokenizer.decode, token_ids, clean_up_tokenization_spaces=False)
    return any(known in str(decode(skip_special_tokens=skip)) for skip in (True, False))


def to_be_read(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """What is recorded of a log, and the column of it that is read: texts, or the very tokens where they are known."""
    known = table.drop(columns=["scores", "left_out", "logprobs", "ended", "prompt_ids", "token_ids"])
    reads = "text"
    if table["token_ids"].notna().any():
        known["written"], reads = table["token_ids"].where(table["token_ids"].notna(), table["text"]), "written"
    if table["prompt_ids"].notna().any():
        known["prompt_text"] = table["prompt"].where(table["prompt_ids"].notna())
        known["prompt"] = table["prompt_ids"].where(table["prompt_ids"].notna(), table["prompt"])
    return known.dropna(axis="columns", how="all"), reads


def left_out_of(table: pd.DataFrame) -> Iterator[str]:
    """A sentence a reason."""
    for reason, rows in table[table["left_out"] != ""].groupby("left_out", sort=False):
        named = ", ".join(rows["id"][:MOST_NAMED]) + ", ..." * (len(rows) > MOST_NAMED)
        yield f"left out {len(rows)}: {reason} ({named})"


def tokens_of(run: "Run", read: pd.DataFrame) -> Iterator[str]:
    """What was tokenised anew, and where that gave other numbers of tokens than the log has."""
    responses, n = run.responses, len(read)
    n_prompts, n_written = (int(read[name].notna().sum()) for name in ("prompt_ids", "token_ids"))
    if n_prompts or n_written:
        yield f"read as the very tokens of the log: {n_prompts} prompts and {n_written} responses of {n}"
    if n_written < n:
        which = f"all {n}" if not n_written else str(n - n_written)
        yield f"tokenised anew: {which}, since a log holds text and no token ids"
    stopped = read.loc[(read["ended"] == "stop") & read["token_ids"].notna(), "id"]
    n_stopped = int((responses["response_id"].isin(stopped) & (responses["finish_reason"] == "length")).sum())
    if n_stopped:
        yield f"{n_stopped} ended at a stop string of the engine, no end of text: their finish_reason here is 'length'"
    if "n_tokens" in responses:
        known = responses.dropna(subset="n_tokens")
        differs = (known["n_tokens"].astype(int) - known["n_steps"]).abs() > 1  # 1: the end of text
        yield f"of {len(known)} whose tokens the log counts, {int(differs.sum())} have another number here"


def against_logprobs(run: "Run", read: pd.DataFrame) -> Iterator[str]:
    """How far the logprobs of the log lie from those of this model."""
    given = read.dropna(subset="logprobs")
    if given.empty:
        return
    here = run.tokens.groupby("response_id")["logprob"].agg(list)
    pairs = [(here.get(id_, []), there) for id_, there in zip(given["id"], given["logprobs"], strict=True)]
    differences = [np.abs(np.subtract(*pair)).max() for pair in pairs if len(pair[0]) == len(pair[1])]
    if differences:
        yield f"the logprobs of {len(differences)} lie within {max(differences):.2g} nat of those that the log has"


def keep_scores(run: "Run", read: pd.DataFrame) -> Iterator[str]:
    """The scores as labels of their scorer: "grades" where all are right or wrong, else "scores"."""
    judges = dict.fromkeys(judge for scores in read["scores"] for judge in scores)
    for judge in judges:
        given = {
            id_: scores[judge]
            for id_, scores in zip(read["id"], read["scores"], strict=True)
            if isinstance(scores.get(judge), bool | int | float | str) and scores[judge] == scores[judge]
        }
        if not given:
            yield f"{judge}: no scores that are numbers or text, so none are kept"
            continue
        is_grade = set(given.values()) <= set(GRADES)
        label, name = ("grades", "grade") if is_grade else ("scores", "score")
        _add(run, label, name, judge, {id_: GRADES[value] if is_grade else value for id_, value in given.items()})
        counts = pd.Series([GRADES[value] for value in given.values()] if is_grade else []).value_counts()
        said = ", ".join(f"{n} {grade}" for grade, n in counts.items()) if is_grade else f"{len(given)} scores"
        yield f"{judge}: {said}, kept as labels {label!r}"


def _add(run: "Run", label: str, name: str, judge: str, given: dict[str, Any]) -> None:
    """Keep labels, but not those that are kept already."""
    path = run.folder / "labels" / f"{label}.jsonl"
    labels = run.labels(label) if path.is_file() else pd.DataFrame({"judge": [], "response_id": [], name: []})
    before = labels[labels["judge"] == judge].set_index("response_id")[name].to_dict()
    changed = {id_: value for id_, value in given.items() if before.get(id_) != value}
    if changed:
        rows = [{"response_id": id_, "judge": judge, name: value} for id_, value in changed.items()]
        run.add_labels(label, rows)
