"""Token tables of made-up solutions, right and wrong, of a few lines each."""

import numpy as np
import pandas as pd

from attnent.analysis import places

LINE = ["Tom", " has", " ", "3", "+", "4", "=", "7", ".", "\n"]


def run_of(n_lines: dict[str, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Token and response tables of responses that repeat one line so many times and end."""
    responses, tables = [], []
    for name, n in n_lines.items():
        texts = [*LINE * n, ""]
        stops = np.cumsum([len(text) for text in texts])
        about = {"response_id": name, "step": range(len(texts)), "token": texts}
        tables.append(pd.DataFrame(about | {"char_start": stops - [len(text) for text in texts], "char_end": stops}))
        responses.append({"response_id": name, "response": "".join(texts), "group": f"problem of {name}"})
    responses = pd.DataFrame(responses)
    return places.placed(pd.concat(tables, ignore_index=True), responses), responses


def solved(n: int = 30) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, list[str]]:
    """Placed tokens and responses of n wrong and n right solutions of 3 to 5 lines, wrong spans, the right ids."""
    names = {f"{kind}-{number}": 3 + number % 3 for kind in ("wrong", "right") for number in range(n)}
    tokens, responses = run_of(names)
    start = np.array([10 + 10 * (number % 2) for number in range(n)])
    spans = pd.DataFrame({"line": start // 10, "start": start, "stop": start + 9}, [f"wrong-{of}" for of in range(n)])
    spans = spans.assign(quote_start=start + 3, quote_stop=start + 8, kind=["slip", "copying"] * (n // 2))
    return tokens, responses, spans.rename_axis("response_id"), [name for name in names if name.startswith("right")]


def right_and_wrong(n: int = 30) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The tokens, wrong spans and right ids of `solved`."""
    tokens, _, spans, right = solved(n)
    return tokens, spans, right
