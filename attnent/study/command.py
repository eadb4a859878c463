"""The `attnent` command."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnent.llm.cache import LLMError
from attnent.study.report import write_index, write_whole
from attnent.study.notebook import SweepError, parameters_of, run_notebook, study_folder
from attnent.tasks import TaskError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives back the exit status."""
    parser = argparse.ArgumentParser(prog="attnent", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    study = commands.add_parser("study", help="run the numbered notebooks and write their reports and an index")
    study.add_argument("notebooks", nargs="*", metavar="NUMBER", help="numbers such as 01 (default: all)")
    study.add_argument("--model", default="tiny", help="the bundled model, a local folder or a Hub id (default: tiny)")
    study.add_argument("--out-dir", type=Path, default=Path("runs"), help="where results go (default: runs)")
    study.add_argument(
        "--notebooks-dir", type=Path, default=Path("notebooks"), help="where the notebooks are (default: notebooks)"
    )
    study.add_argument(
        "-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="a notebook parameter (repeatable)"
    )
    study.set_defaults(run=run_study)
    prompts = commands.add_parser("prompts", help="let a language model write fresh prompts for notebook 01")
    prompts.add_argument("--llm", required=True, metavar="MODEL", help="the model to ask (key: OPENAI_API_KEY)")
    prompts.add_argument("--base-url", help="an OpenAI-compatible server (default: OPENAI_BASE_URL, else OpenAI)")
    prompts.add_argument("--max-usd", type=float, default=1.0, help="what it may cost at most (default: 1)")
    prompts.add_argument(
        "--usd-per-million", type=float, nargs=2, metavar=("IN", "OUT"), help="prices, where they are not known"
    )
    prompts.add_argument("--n", type=int, default=100, help="prompts of each kind (default: 100)")
    prompts.add_argument("--out", type=Path, required=True, metavar="FILE", help="json file to write")
    prompts.set_defaults(run=run_prompts)
    chosen = parser.parse_args(arguments)
    try:
        return chosen.run(chosen)
    except (SweepError, TaskError, LLMError, OSError) as error:
        print(f"attnent: {error}", file=sys.stderr)
        return 2


def run_study(chosen: argparse.Namespace) -> int:
    """Run the notebooks one after the other; a failed one does not stop the rest. 0 where all completed."""
    notebooks = find_notebooks(chosen.notebooks_dir, chosen.notebooks)
    given = dict(_parse_parameter(text) for text in chosen.parameter)
    known = {notebook: parameters_of(notebook) for notebook in notebooks}
    unknown = sorted(set(given) - set().union(*known.values()))
    if unknown:
        raise SweepError(f"none of the notebooks has a parameter {', '.join(unknown)}; open one to see what it takes")
    out_dir = chosen.out_dir.resolve()
    everywhere = {"model": chosen.model, "out_dir": str(out_dir)} | given
    failed = []
    for place, notebook in enumerate(notebooks, start=1):
        print(f"[{place}/{len(notebooks)}] {notebook.stem}", flush=True)
        parameters = {name: value for name, value in everywhere.items() if name in known[notebook]}
        folder = study_folder(out_dir, str(everywhere["model"]), notebook, parameters)
        outcome = run_notebook(notebook, parameters, folder)
        if outcome["status"] != "complete":
            failed.append(notebook.stem)
            print(f"  failed after {outcome['seconds']:.0f} s: {outcome['error']}", flush=True)
        else:
            print(f"  {outcome['seconds']:.0f} s. {outcome['answer']}", flush=True)
        index = write_index(out_dir)
    print(f"Results: {index}")
    return 1 if failed else 0


def run_prompts(chosen: argparse.Namespace) -> int:
    """Write a file of fresh prompts; the answers they were chosen from are kept beside it. 0 where it was written."""
    from attnent.llm import LLM  # openai and scipy take their time to load
    from attnent.analysis.comparison import auroc
    from attnent.tasks.fresh_prompts import write_prompts

    if chosen.out.exists():
        raise TaskError(f"{chosen.out} exists already; give another --out")
    cache = chosen.out.with_name(f"{chosen.out.name}.llm_cache.sqlite")
    price = {"max_usd": chosen.max_usd, "usd_per_million": chosen.usd_per_million}
    prompts = write_prompts(LLM(chosen.llm, cache=cache, base_url=chosen.base_url, **price), chosen.n)
    write_whole(chosen.out, json.dumps({"written_by": chosen.llm, **prompts}, indent=2, ensure_ascii=False) + "\n")
    factual, creative = (
        np.array([len(prompt.split()) for prompt in prompts[kind]]) for kind in ("factual", "creative")
    )
    means = f"{factual.mean():.1f} words factual, {creative.mean():.1f} creative"
    print(f"Mean length: {means}; AUROC of length {auroc(creative, factual):.2f} (0.5: no difference)")
    print(f"Results: {chosen.out}; use them with: attnent study 01 -p prompts={chosen.out} -p n={chosen.n}")
    return 0


def find_notebooks(folder: Path, numbers: Sequence[str]) -> list[Path]:
    """The numbered notebooks of a folder, all or those chosen by number. Raises SweepError where one is missing."""
    notebooks = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise SweepError(
            f"there are no numbered notebooks in {folder}; run from the project's folder or give --notebooks-dir"
        )
    missing = [number for number in numbers if not any(path.name.startswith(number) for path in notebooks)]
    if missing:
        have = ", ".join(path.name[:2] for path in notebooks)
        raise SweepError(f"there is no notebook {', '.join(missing)}; there are {have}")
    return [path for path in notebooks if not numbers or any(path.name.startswith(number) for number in numbers)]


def _parse_parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise SweepError(f"a parameter is given as NAME=VALUE, not {text!r}")
    try:
        return name, json.loads(value)  # numbers, true, false, null, lists
    except ValueError:
        return name, value


if __name__ == "__main__":
    sys.exit(main())
