"""The bundled model and its little world.

- `world`: the word problems, facts, stories and poems, made from a seed, and the exact first error of a solution
- `model/`: a small Llama-architecture model trained on them, with its card; load it from `MODEL_DIR`
- `vision`: a small Llama 3.2 Vision with random weights, which mean nothing; `pictures`: a few to show it

What trains and measures it is `tiny_model`, beside the package and not in it.

Importing this package or `world` does not import torch.
"""

import hashlib
from pathlib import Path

MODEL_DIR = Path(__file__).parent / "model"


def verify_checksums(folder: Path = MODEL_DIR) -> None:
    """Raise ValueError unless every file named in `SHA256SUMS` of `folder` is there with that hash."""
    for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        expected, name = line.split("  ", 1)
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{name} is missing from {folder}; check the installation out or install it again")
        got = hashlib.sha256(path.read_bytes()).hexdigest()
        if got != expected:
            raise ValueError(f"{name} in {folder} has sha256 {got[:12]}..., but {expected[:12]}... was shipped")
