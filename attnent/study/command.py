"""The `attnent` command."""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from attnent.store import RunError
from attnent.store.files import DiskFullError, write_whole
from attnent.store.folders import out_folder
from attnent.study import StudyError
from attnent.tasks import TaskError

_NUMBERED = "[0-9][0-9]_*.ipynb"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives back the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    chosen = _parser().parse_args(list(_joined(words)))
    try:
        return chosen.run(chosen)
    except (StudyError, TaskError, RunError, DiskFullError) as error:
        print(f"attnent: {error}", file=sys.stderr)
    except OSError as error:
        print(f"attnent: cannot use {error.filename} ({error.strerror}); choose another", file=sys.stderr)
    except KeyboardInterrupt:
        print("attnent: stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="attnent", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    study = commands.add_parser("study", help="run the numbered notebooks and write their reports and an index")
    study.add_argument("notebooks", nargs="*", metavar="NUMBER", help="numbers such as 01 (default: all)")
    study.add_argument("--model", help="the bundled model, a local folder or a Hub id (default: tiny)")
    study.add_argument("--sets", metavar="K", help="disjoint sets of examples, each estimated by itself, then pooled")
    _add_notebooks(study)
    study.add_argument(
        "-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="a notebook parameter (repeatable)"
    )
    study.set_defaults(run=run_study)
    sweep = commands.add_parser("sweep", help="run notebooks over many models and parameters, and go on where it ended")
    sweep.add_argument(
        "what",
        nargs="*",
        metavar="FILE|NUMBER",
        help="a YAML file, or numbers of notebooks such as 01 (default: those of a model)",
    )
    _add_notebooks(sweep)
    sweep.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE,VALUE",
        help="values of a notebook parameter, each combined with those of all others (repeatable)",
    )
    sweep.add_argument("--executor", choices=["local", "slurm", "ray"], help="where runs run (default: local)")
    sweep.add_argument(
        "--jobs", type=int, metavar="N", help="runs at the same time (default: 1; of a cluster as many as it will)"
    )
    sweep.add_argument("--timeout", type=float, metavar="MIN", help="end a run after so many minutes")
    sweep.add_argument("--retry-failed", action="store_true", help="run again what failed before")
    sweep.add_argument("--dry-run", action="store_true", help="list the runs and what they will take, no more")
    sweep.set_defaults(run=run_sweep)
    notebooks = commands.add_parser("notebooks", help="write the notebooks to a folder, to explore in JupyterLab")
    notebooks.add_argument("folder", type=Path, metavar="FOLDER")
    notebooks.set_defaults(run=run_notebooks)
    verify = commands.add_parser("verify", help="read a recording and say what of it is whole")
    verify.add_argument("folder", type=Path, metavar="FOLDER", help="the Run folder")
    verify.set_defaults(run=run_verify)
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
    show = commands.add_parser("show", help="answer a prompt and open a page on the attention of each token")
    show.add_argument("prompt", metavar="PROMPT", help="in quotes")
    _add_writing(show)
    show.add_argument("--out", type=Path, metavar="FILE", help="page to write (default: runs/show.html)")
    _add_opening(show)
    show.set_defaults(run=run_show)
    opening = commands.add_parser("open", help="open the index of a study's results in a browser")
    opening.add_argument("folder", nargs="?", default="runs", metavar="FOLDER", help="its --out-dir (default: runs)")
    _add_opening(opening)
    opening.set_defaults(run=run_open)
    docs = commands.add_parser("docs", help="write a light page of each report, for readers on the web")
    docs.add_argument("folder", nargs="?", type=Path, default="docs", metavar="FOLDER", help="default: docs")
    docs.add_argument("--out-dir", default="runs", metavar="FOLDER", help="where results are (default: runs)")
    docs.set_defaults(run=run_docs)
    doctor = commands.add_parser("doctor", help="say what this machine has, and which Llama 3.2 models it could hold")
    doctor.add_argument("--out-dir", default="runs", metavar="FOLDER", help="where results would go (default: runs)")
    doctor.set_defaults(run=run_doctor)
    _add_replay(commands)
    _add_hub(commands)
    score = commands.add_parser("score", help="answer a prompt and show the confidence in each token")
    score.add_argument("prompt", nargs="?", metavar="PROMPT", help="in quotes")
    _add_writing(score)
    score.add_argument("--out-dir", default="runs", metavar="FOLDER", help="where results are (default: runs)")
    score.add_argument(
        "--confidence",
        type=Path,
        metavar="FILE",
        help="what Confidence.save wrote (default: that of notebook 05 in the out-dir, else the one that ships)",
    )
    score.add_argument(
        "--html", nargs="?", const="", metavar="FILE", help="write a page too; without FILE, and open it in a browser"
    )
    score.set_defaults(run=run_score)
    return parser


def _add_notebooks(parser: argparse.ArgumentParser) -> None:
    """What a command needs that runs notebooks."""
    parser.add_argument("--out-dir", metavar="FOLDER", help="where results go (default: runs)")
    parser.add_argument(
        "--notebooks-dir",
        type=Path,
        metavar="FOLDER",
        help="where the notebooks are (default: the folder notebooks, else those that ship with attnent)",
    )


def _add_replay(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`attnent replay` and its options."""
    replay = commands.add_parser(
        "replay",
        help="let a model read the responses of a log, and keep the Run",
        description="Reads the responses of a log of lm-evaluation-harness (samples_*.jsonl), Inspect (.eval), vLLM or "
        "an OpenAI batch, or of a jsonl with prompt and response a line, and keeps a Run of what the model attends to. "
        "Where a log has token ids, as vLLM's, these very tokens are read.",
    )
    replay.add_argument("log", type=Path, metavar="LOG")
    replay.add_argument("--model", default="tiny", help="who reads: the bundled model, a local folder or a Hub id")
    replay.add_argument("--out-dir", default="runs", metavar="FOLDER", help="where results go (default: runs)")
    replay.add_argument("--task", metavar="NAME", help="the Run's task (default: the name of the log)")
    replay.add_argument(
        "--format",
        choices=["lm-eval", "inspect", "openai-batch", "vllm", "jsonl"],
        help="of the log (default: by its content)",
    )
    replay.add_argument("--batch-input", type=Path, metavar="FILE", help="the requests of an OpenAI batch")
    replay.add_argument(
        "--template",
        action=argparse.BooleanOptionalAction,
        help="whether a prompt of text is put into the model's chat template as a user's message (default: yes, but "
        "not of lm-eval and vllm, whose logs hold the very text that the model was given, in its template or in none)",
    )
    replay.add_argument("--batch-size", type=int, default=8, metavar="N", help="responses read together (default: 8)")
    replay.set_defaults(run=run_replay)


def _add_hub(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`attnent push` and `attnent pull`."""
    push = commands.add_parser("push", help="bring Runs to a data set repository of the Hub; only what is new travels")
    push.add_argument("folder", type=Path, metavar="FOLDER", help="a Run folder, or one above several")
    push.add_argument("repo", metavar="USER/NAME", help="made where it is not there yet")
    push.add_argument("--private", action="store_true", help="a new repository is for its owner alone")
    push.set_defaults(run=run_push)
    pull = commands.add_parser("pull", help="bring Runs from a data set repository of the Hub, what is missing of them")
    pull.add_argument("repo", metavar="USER/NAME")
    pull.add_argument("folder", nargs="?", type=Path, default="runs", metavar="FOLDER", help="default: runs")
    pull.add_argument("--only", metavar="PATH", help="Runs at or below a path, such as simpleqa/tiny (default: all)")
    pull.set_defaults(run=run_pull)
    for parser in (push, pull):
        parser.add_argument("--revision", metavar="NAME", help="a branch of the repository (default: main)")


def _add_writing(parser: argparse.ArgumentParser) -> None:
    """What a command needs that lets a model write."""
    parser.add_argument("--model", default="tiny", help="the bundled model, a local folder or a Hub id (default: tiny)")
    parser.add_argument("--max-new-tokens", type=int, default=256, metavar="N", help="at most so many (default: 256)")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 (the default) is greedy")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the random numbers (default: 0)")


def _add_opening(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-open", dest="open", action="store_false", help="say where the page is, no more")


def _joined(words: Sequence[str]) -> Iterator[str]:
    """The words of a command, `-p NAME VALUE` as `-p NAME=VALUE`."""
    left = iter(words)
    for word in left:
        yield word
        if word in ("-p", "--parameter") and (name := next(left, "")):
            value = next(left, None) if name.isidentifier() else None
            yield name if value is None else f"{name}={value}"


def run_study(chosen: argparse.Namespace) -> int:
    """Run the notebooks one after the other; a failed one does not stop the rest. 0 where all completed."""
    from attnent.study.estimate import estimate  # these take their time to load
    from attnent.study.index import write_index
    from attnent.study.notebook import run_notebook, study_folder
    from attnent.study.parameters import parameters_of, read_given, takes_images

    notebooks = find_notebooks(chosen.notebooks_dir or default_folder(), chosen.notebooks)
    known = {notebook: parameters_of(notebook) for notebook in notebooks}
    given = _given(chosen)
    about_images = [notebook for notebook in notebooks if takes_images(known[notebook])]
    if "model" in given and about_images and not chosen.notebooks and not _reads_images(given["model"]):
        named = ", ".join(notebook.stem for notebook in about_images)
        if not (notebooks := [notebook for notebook in notebooks if notebook not in about_images]):
            raise StudyError(f"{given['model']} is a text model, and {named} needs one that reads images")
        print(f"Left out is {named}: {given['model']} is a text model", flush=True)
        known = {notebook: known[notebook] for notebook in notebooks}
    out_dir = out_folder(given["out_dir"])
    given["out_dir"] = str(out_dir)
    values = read_given(given, known)
    out_dir.mkdir(parents=True, exist_ok=True)
    failed = 0
    print(f"Notebooks of {notebooks[0].parent.resolve()}, results into {out_dir}", flush=True)
    folders = {
        notebook: study_folder(out_dir, values[notebook].get("model", ""), notebook, values[notebook])
        for notebook in notebooks
    }
    defaults = {
        notebook: {name: parameter.default for name, parameter in has.items()} for notebook, has in known.items()
    }
    if said := estimate({notebook: defaults[notebook] | values[notebook] for notebook in notebooks}, folders):
        print(said, flush=True)
    for place, notebook in enumerate(notebooks, start=1):
        print(f"[{place}/{len(notebooks)}] {notebook.stem}", flush=True)
        try:
            outcome = run_notebook(notebook, values[notebook], folders[notebook])
            write_index(out_dir)
        except (StudyError, OSError) as error:
            failed += 1
            print(f"  failed: {error}", flush=True)
            continue
        failed += outcome.status != "complete"
        said = outcome.answer if outcome.status == "complete" else f"failed: {outcome.error}"
        print(f"  {outcome.seconds:.0f} s. {said}", flush=True)
    print(f"Results: {out_dir / 'index.html'}")
    return 1 if failed else 0


def run_sweep(chosen: argparse.Namespace) -> int:
    """Run, or list, notebooks with every combination of parameters. 0 where all are done."""
    from attnent.study.parameters import parameters_of, takes_images  # these take their time to load
    from attnent.study.sweep.grid import Grid, grid_of, jobs_of, read_grid
    from attnent.study.sweep.running import run_jobs
    from attnent.study.sweep.sizes import table_of

    files = [Path(text) for text in chosen.what if not text.isdecimal()]
    if files and len(chosen.what) > 1:
        raise StudyError(f"give a file ({files[0]}) or numbers of notebooks, not several")
    if (chosen.jobs is not None and chosen.jobs < 1) or (chosen.timeout is not None and not chosen.timeout > 0):
        raise StudyError("--jobs must be 1 or more, and --timeout more than 0 minutes")
    grid = read_grid(files[0]) if files else Grid(notebooks=chosen.what)
    grid = grid.crossed(grid_of(chosen.parameter))
    notebooks = find_notebooks(chosen.notebooks_dir or default_folder(), [str(number) for number in grid.notebooks])
    if not grid.notebooks:  # what reads the recordings of all models comes after them, and few models read images
        known = {notebook: parameters_of(notebook) for notebook in notebooks}
        notebooks = [notebook for notebook, has in known.items() if "model" in has and not takes_images(has)]
    out_dir = out_folder(chosen.out_dir or "runs")
    jobs = jobs_of(grid.combinations(), notebooks, out_dir)
    if chosen.dry_run:
        print(table_of(jobs, retry_failed=chosen.retry_failed))
        return 0
    executor = chosen.executor or grid.executor
    where = {"executor": executor, "settings": getattr(grid, executor, {}), "at_once": chosen.jobs}
    n_bad = run_jobs(jobs, out_dir, **where, minutes=chosen.timeout, retry_failed=chosen.retry_failed)
    print(f"Results: {out_dir / 'index.html'}")
    return 1 if n_bad else 0


def _given(chosen: argparse.Namespace) -> dict[str, str]:
    """The texts of all parameters given, by name, always with the out_dir. Raises StudyError."""
    given: dict[str, str] = {}
    for text in chosen.parameter:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise StudyError(f"a parameter is given as NAME=VALUE, not {text!r}")
        if name in given:
            raise StudyError(f"{name} is given twice; give it once")
        given[name] = value
    for name in ("model", "out_dir", "sets"):
        option = getattr(chosen, name)
        if option is not None and given.setdefault(name, option) != option:
            raise StudyError(f"--{name.replace('_', '-')} and -p {name} differ; give one of them")
    given.setdefault("out_dir", "runs")
    for name in ("model", "out_dir"):
        if given.get(name) == "":
            raise StudyError(f"{name} is empty; give one, or leave it out")
    return given


def _reads_images(model: str) -> bool:
    """Whether a model does; True of one that cannot be found, which then says so itself."""
    from attnent.model.loading import ModelError, reads_images  # takes its time to load

    try:
        return reads_images(model)
    except ModelError:
        return True


def default_folder() -> Path:
    """The notebooks of the working folder where it has any, else those that ship."""
    if any(Path("notebooks").glob(_NUMBERED)):
        return Path("notebooks")
    return Path() if Path("00_quickstart.ipynb").is_file() else shipped_folder()


def shipped_folder() -> Path:
    """The notebooks that come with attnent: in the package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "notebooks"
    return packaged if packaged.is_dir() else package.parent / "notebooks"


def find_notebooks(folder: Path, numbers: Sequence[str] = ()) -> list[Path]:
    """The numbered notebooks of a folder, all or those chosen by number. Raises StudyError where one is missing."""
    notebooks = sorted(folder.glob(_NUMBERED))
    if not notebooks:
        raise StudyError(f"there are no numbered notebooks in {folder}; give another folder")
    for number in numbers:
        if number in ("", "0"):
            raise StudyError(f"{number!r} names no notebook; write 00 for the first, or no number at all for all")
    wanted = {f"0{number}" if re.fullmatch("[0-9]", number) else number for number in numbers}
    missing = sorted(wanted - {path.name[:2] for path in notebooks})
    if missing:
        have = ", ".join(path.name[:2] for path in notebooks)
        raise StudyError(f"there is no notebook {', '.join(missing)}; there are {have}")
    return [path for path in notebooks if not wanted or path.name[:2] in wanted]


def run_notebooks(chosen: argparse.Namespace) -> int:
    """Write the notebooks to a folder; one that stands there and is another is left alone, and so are the rest."""
    written = {chosen.folder / path.name: path.read_bytes() for path in find_notebooks(shipped_folder())}
    changed = [path for path, content in written.items() if path.exists() and path.read_bytes() != content]
    if changed:
        raise StudyError(f"{changed[0]} exists and differs; give another folder, or move it away")
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for path, content in written.items():
        path.write_bytes(content)
    print(f"{len(written)} notebooks in {chosen.folder}; open them with: jupyter lab {chosen.folder}")
    return 0


def run_verify(chosen: argparse.Namespace) -> int:
    """Say what of a recording is whole, damaged and missing. 0 where all of it is whole and there."""
    from attnent.runs import Run

    run = Run(chosen.folder)
    found = run.verify()
    for about, reason in found.damaged.items():
        print(f"damaged: {about}: {reason}")
    status = "complete" if found.is_complete else f"{len(found.damaged)} damaged, {len(found.missing)} missing"
    print(f"{len(found.whole)} of {len(run.examples)} responses are whole: {status}")
    return 0 if found.is_complete else 1


def run_prompts(chosen: argparse.Namespace) -> int:
    """Write a file of fresh prompts; the answers they were chosen from are kept beside it. 0 where it was written."""
    import numpy as np  # these take their time to load

    from attnent.analysis.comparison import auroc
    from attnent.llm import LLM, LLMError
    from attnent.tasks.fresh_prompts import write_prompts

    if chosen.out.exists():
        raise TaskError(f"{chosen.out} exists already; give another --out")
    cache = chosen.out.with_name(f"{chosen.out.name}.llm_cache.sqlite")
    price = {"max_usd": chosen.max_usd, "usd_per_million": chosen.usd_per_million}
    try:
        prompts = write_prompts(LLM(chosen.llm, cache=cache, base_url=chosen.base_url, **price), chosen.n)
    except LLMError as error:
        raise StudyError(str(error)) from error
    write_whole(chosen.out, json.dumps({"written_by": chosen.llm, **prompts}, indent=2, ensure_ascii=False) + "\n")
    factual, creative = (
        np.array([len(prompt.split()) for prompt in prompts[kind]]) for kind in ("factual", "creative")
    )
    means = f"{factual.mean():.1f} words factual, {creative.mean():.1f} creative"
    print(f"Mean length: {means}; AUROC of length {auroc(creative, factual):.2f} (0.5: no difference)")
    print(f"Results: {chosen.out}; use them with: attnent study 01 -p prompts={chosen.out} -p n={chosen.n}")
    return 0


def run_doctor(chosen: argparse.Namespace) -> int:
    """Say what this machine has. 0 where all of it is enough."""
    from attnent.study.doctor import doctor  # takes its time to load

    return doctor(out_folder(chosen.out_dir))


def run_score(chosen: argparse.Namespace) -> int:
    """Answer a prompt in the terminal, with the confidence in each token. 0 where it was answered."""
    from attnent.study.scoring import score  # takes its time to load

    score(chosen)
    return 0


def run_replay(chosen: argparse.Namespace) -> int:
    """Record a Run by reading the responses of a log. 0 where it was recorded."""
    from attnent.study.replay import replay  # takes its time to load

    replay(chosen)
    return 0


def run_push(chosen: argparse.Namespace) -> int:
    """Bring Runs to the Hub. 0 where all of them went, 1 where damaged traces were left out."""
    from attnent.hub.pushing import push  # takes its time to load

    moved = push(chosen.folder, chosen.repo, private=chosen.private, revision=chosen.revision)
    print("\n".join(one.said(done="pushed", with_damaged="left out") for one in moved))
    return 1 if any(one.damaged for one in moved) else 0


def run_pull(chosen: argparse.Namespace) -> int:
    """Bring Runs from the Hub. 0 where all of them came."""
    from attnent.hub.pulling import pull  # takes its time to load

    moved = pull(chosen.repo, chosen.folder, only=chosen.only, revision=chosen.revision)
    print("\n".join(one.said(done="pulled", with_damaged="set aside and pulled anew") for one in moved))
    return 0


def run_docs(chosen: argparse.Namespace) -> int:
    """Write a light page of each complete report, and an index of them. 0 where they were written."""
    from attnent.study.docs import write_docs  # takes its time to load

    index, *pages = write_docs(out_folder(chosen.out_dir), chosen.folder)
    largest = max(page.stat().st_size for page in pages)
    print(f"{len(pages)} pages of at most {largest / 1e6:.2f} MB; index: {index}")
    return 0


def run_show(chosen: argparse.Namespace) -> int:
    """Generate one response and open the page of its Scrubber. 0 where it was written."""
    from attnent.study.showing import show  # takes its time to load

    show(chosen)
    return 0


def run_open(chosen: argparse.Namespace) -> int:
    """Open the index of a study's results. 0 where there is one."""
    from attnent.study.showing import open_index  # takes its time to load

    open_index(chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
