"""The words of the little world: names, things, facts, and the forms of questions and prompts."""

import json
from pathlib import Path
from typing import Any

WORDS: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
