"""Where a recording is kept: folders named by task, model and parameters."""

import hashlib
import json
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
