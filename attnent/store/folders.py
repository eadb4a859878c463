"""Where a recording is kept: folders named by task, model and parameters."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any


def digest(value: Any) -> str:
    """Twelve hexadecimal digits that stand for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def out_folder(out_dir: str | Path) -> Path:
    """The absolute folder that a notebook's `out_dir` means, wherever the notebook is run.

    A relative one is taken from the working folder, or, where that is the very folder of the notebooks (as in
    JupyterLab), from the folder above it.
    """
    here = Path.cwd()
    return (here.parent if (here / "00_quickstart.ipynb").is_file() else here) / out_dir


def one_segment(name: str) -> str:
    """A name of a model or task as one part of a path, which cannot lead out of the folder it stands in."""
    return name.strip("/\\").replace("/", "--").replace("\\", "--").lstrip(".") or "unnamed"


def model_name(model: str) -> str:
    """What titles and tables call a model: the last part of a path, without .gguf; a Hub id as it is.

    A path is absolute, begins with a dot or a tilde, has more than two parts, or names a GGUF file.
    """
    *above, last = re.split(r"[/\\]+", model.rstrip("/\\"))
    is_path = re.match(r"[/\\.~]|[A-Za-z]:[/\\]", model) or len(above) > 1 or re.search(r"\.gguf$", last, re.IGNORECASE)
    return re.sub(r"\.gguf$", "", last, flags=re.IGNORECASE) or model if is_path else model
