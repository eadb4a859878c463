"""Factual against creative prompts: the same kind of user, facts asked for or inventions. Nothing is graded here."""

import json
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from attnent.tasks import TaskError, choose, from_world, local_file, need_columns, refuse, text_ids

Kind = Literal["factual", "creative"]
KINDS: tuple[Kind, ...] = ("factual", "creative")
CLUSTER = "group"  # the column of what a prompt is about: a person, a hero, a muse; else the prompt itself
_OURS = {"shipped": "prompts.json", "pairs": "pairs.json"}
_LOCAL = "a json file with two lists of prompts, `factual` and `creative`"


def load(source: str | Path = "tiny", *, n: int, seed: int = 0) -> pd.DataFrame:
    """`n` prompts **of each kind**, the factual ones first; those for a smaller `n` begin each kind for a larger.

    `source` is "tiny" (the bundled world), "shipped" (100 + 100 prompts for real models, written for this project and
    matched in length), "pairs" (96 + 96: a factual and a creative request for the same subject in the same form) or the
    path of a json file of the same form. With a list `subjects` beside the two others the i-th prompts of both are a
    pair: `n` pairs are chosen, and each kind has them in the same order.

    Columns: `id`, `prompt`, `kind` ("factual" or "creative"), `group` (what the prompt is about in the bundled world
    and in pairs, else the prompt), `genre` ("facts", "stories", "poems", of prompts written for this project also
    "other"; of a file the kind, since nothing tells more), of pairs also `pair`. There is no gold answer.
    """
    if source == "tiny":
        return _from_world(n, seed)
    if source in _OURS:
        path, where = files("attnent.tasks").joinpath(_OURS[source]), f"the {source} prompts"
    else:
        path = local_file(source, names=("tiny", *_OURS), instead=_LOCAL)
        where = str(path)
    content = _read(path.read_text(encoding="utf-8-sig"), where)
    genres = {"factual": "facts", "creative": content["creative_genres"]} if source in _OURS else {k: k for k in KINDS}
    return pd.concat([_of_kind(kind, content, genres[kind], n, seed) for kind in KINDS], ignore_index=True)


def paired(source: str | Path = "tiny", *, n: int, seed: int = 0) -> pd.DataFrame:
    """As `load`, with the column `pair` for every source.

    Where prompts are not written as pairs, the i-th factual one goes with the i-th creative one: not the same subject,
    and `group` still tells what each is about.
    """
    examples = load(source, n=n, seed=seed)
    return examples if "pair" in examples else examples.assign(pair=examples.groupby("kind").cumcount().map(str))


def crossed(responses: pd.DataFrame) -> pd.DataFrame:
    """Every response of paired prompts to be read under its own and under its partner's prompt: four rows a pair.

    `responses` is the table of a Run of `paired` prompts, one response a prompt. Columns: `id`, `prompt` (what the text
    is read under), `text`, `kind_of_prompt`, `kind_of_text`, `pair`, and of the text `group` and `genre`. A pair that
    lacks a text, or whose text is blank, is left out; the pairs of both tables tell how many. Raises TaskError where
    none is left, or a prompt of a pair has more than one response.
    """
    of_text = ["response_id", "response", "kind", "pair", "group", "genre"]
    need_columns(responses, ["prompt", *of_text], "the table of responses")
    if (again := responses.duplicated(["pair", "kind"])).any():
        pair = responses.loc[again, "pair"].iloc[0]
        raise TaskError(f"pair {pair} has two responses of one kind; record one response a prompt and pair them once")
    written = responses[responses["response"].fillna("").str.strip() != ""]
    texts = written[of_text].rename(columns={"response": "text", "kind": "kind_of_text"})
    prompts = written[["pair", "kind"]].rename(columns={"kind": "kind_of_prompt"})
    table = texts.merge(prompts.assign(prompt=written["prompt"].map(_asked)), on="pair")
    table = table[table.groupby("pair")["pair"].transform("size") == len(KINDS) ** 2]
    if table.empty:
        raise TaskError("no pair has a text of each kind; record a response to both prompts of a pair")
    table["id"] = table["response_id"] + ".under." + table["kind_of_prompt"]
    columns = ["id", "prompt", "text", "kind_of_prompt", "kind_of_text", "pair", "group", "genre"]
    return table[columns].reset_index(drop=True)


def _asked(prompt: str | list[dict[str, str]]) -> str | list[dict[str, str]]:
    """A prompt as it was asked: a Run's table has messages as JSON text."""
    is_text_of_messages = isinstance(prompt, str) and prompt.startswith(('[{"role": ', '[{"content": '))
    return json.loads(prompt) if is_text_of_messages else prompt


def _from_world(n: int, seed: int) -> pd.DataFrame:
    from attnent.tiny import world

    columns = {"id": "id", "prompt": "prompt", "kind": "group", "group": "topic", "genre": "genre"}
    of_kinds = (world.factual_prompts, world.creative_prompts)
    tables = [from_world(ask, n, seed, columns, what="prompts of each kind") for ask in of_kinds]
    return pd.concat(tables, ignore_index=True)


def _read(text: str, where: str) -> dict[str, Any]:
    """The lists of a file, of which the prompts, and the subjects where there are any, are checked."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise TaskError(f"{where} is not JSON ({error.msg}, line {error.lineno}); pass {_LOCAL}") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(kind), list) for kind in KINDS):
        raise TaskError(f"{where} lacks the lists `factual` and `creative`; pass {_LOCAL}")
    placed = [(f"{kind} {place}", prompt) for kind in KINDS for place, prompt in enumerate(content[kind])]
    bad = (place for place, prompt in placed if not isinstance(prompt, str) or not prompt.strip())
    refuse(bad, f"prompts of {where} are empty or no text")
    if "subjects" in content:
        _check_subjects(content, where)
    return content


def _check_subjects(content: dict[str, Any], where: str) -> None:
    subjects = content["subjects"]
    if not isinstance(subjects, list) or not all(isinstance(one, str) and one.strip() for one in subjects):
        raise TaskError(f"`subjects` of {where} is no list of texts; name what each pair is about, or leave it out")
    lengths = {name: len(content[name]) for name in ("subjects", *KINDS)}
    if len(set(lengths.values())) > 1:
        have = ", ".join(f"{n} {name}" for name, n in lengths.items())
        raise TaskError(f"{where} has {have}; with `subjects` the lists are pairs and need the same length")
    refuse((one for one, n in Counter(subjects).items() if n > 1), f"subjects of {where} name more than one pair")


def _of_kind(kind: str, content: dict[str, Any], genre: str | list[str], n: int, seed: int) -> pd.DataFrame:
    ids, groups = text_ids(kind, content[kind])
    frame = pd.DataFrame({"id": ids, "prompt": content[kind], "kind": kind, "group": groups, "genre": genre})
    if "subjects" not in content:
        return choose(frame, n, seed=seed, what=f"{kind} prompts")
    pairs = choose(pd.DataFrame({"id": content["subjects"]}), n, seed=seed, what="pairs")["id"]
    frame = frame.assign(group=content["subjects"], pair=content["subjects"])
    return frame.set_index("pair", drop=False).loc[pairs].reset_index(drop=True)
