"""Factual against creative prompts: the same kind of user, facts asked for or inventions. Nothing is graded here."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Literal

import pandas as pd

from attnent.tasks import TaskError, choose, from_world, local_file, refuse, text_ids

Kind = Literal["factual", "creative"]
KINDS: tuple[Kind, ...] = ("factual", "creative")
CLUSTER = "group"  # the column of what a prompt is about: a person, a hero, a muse; else the prompt itself
_LOCAL = "a json file with two lists of prompts, `factual` and `creative`"


def load(source: str | Path = "tiny", *, n: int, seed: int = 0) -> pd.DataFrame:
    """`n` prompts **of each kind**, the factual ones first; those for a smaller `n` begin each kind for a larger.

    `source` is "tiny" (the bundled world), "shipped" (100 + 100 prompts for real models, written for this project and
    matched in length) or the path of a json file of the same form.

    Columns: `id`, `prompt`, `kind` ("factual" or "creative"), `group` (what the prompt is about in the bundled world,
    else the prompt), `genre` ("facts", "stories", "poems", of the shipped prompts also "other"; of a file the kind,
    since nothing tells more). There is no gold answer.
    """
    if source == "tiny":
        return _from_world(n, seed)
    if source == "shipped":
        text = files("attnent.tasks").joinpath("prompts.json").read_text(encoding="utf-8")
        prompts = _read(text, "the shipped prompts")
        genres = {"factual": "facts", "creative": json.loads(text)["creative_genres"]}
    else:
        path = local_file(source, names=("tiny", "shipped"), instead=_LOCAL)
        prompts = _read(path.read_text(encoding="utf-8-sig"), str(path))
        genres = {kind: kind for kind in KINDS}
    return pd.concat([_of_kind(kind, prompts[kind], genres[kind], n, seed) for kind in KINDS], ignore_index=True)


def _from_world(n: int, seed: int) -> pd.DataFrame:
    from attnent.tiny import world

    columns = {"id": "id", "prompt": "prompt", "kind": "group", "group": "topic", "genre": "genre"}
    of_kinds = (world.factual_prompts, world.creative_prompts)
    tables = [from_world(ask, n, seed, columns, what="prompts of each kind") for ask in of_kinds]
    return pd.concat(tables, ignore_index=True)


def _read(text: str, where: str) -> dict[str, list[str]]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise TaskError(f"{where} is not JSON ({error.msg}, line {error.lineno}); pass {_LOCAL}") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(kind), list) for kind in KINDS):
        raise TaskError(f"{where} lacks the lists `factual` and `creative`; pass {_LOCAL}")
    placed = [(f"{kind} {place}", prompt) for kind in KINDS for place, prompt in enumerate(content[kind])]
    bad = (place for place, prompt in placed if not isinstance(prompt, str) or not prompt.strip())
    refuse(bad, f"prompts of {where} are empty or no text")
    return {kind: content[kind] for kind in KINDS}


def _of_kind(kind: str, prompts: list[str], genre: str | list[str], n: int, seed: int) -> pd.DataFrame:
    ids, groups = text_ids(kind, prompts)
    frame = pd.DataFrame({"id": ids, "prompt": prompts, "kind": kind, "group": groups, "genre": genre})
    return choose(frame, n, seed=seed, what=f"{kind} prompts")
