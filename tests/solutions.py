"""Token tables of made-up solutions, right and wrong, of a few lines each."""

import numpy as np
import pandas as pd

from attnent.analysis import wrong_line as moment

LINE = ["Tom", " has", " ", "3", "+", "4", "=", "7", ".", "\n"]


def run_of(n_lines: dict[str, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Token and response tables of responses that repeat one line so many times and end."""
    responses, tables = [], []
    for name, n in n_lines.items():
        texts = [*LINE * n, ""]
        stops = np.cumsum([len(text) for text in texts])
        about = {"response_id": name, "step": range(len(texts)), "token": texts}
        tables.append(pd.DataFrame(about | {"char_start": stops - [len(text) for text in texts], "char_end": stops}))
        responses.append({"response_id": name, "response": "".join(texts)})
    responses = pd.DataFrame(responses)
    return moment.placed(pd.concat(tables, ignore_index=True), responses), responses


def right_and_wrong(n: int = 30) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Placed tokens of n wrong and n right responses of 3 to 5 lines, the span of a wrong line, the right ids."""
    names = {f"{kind}-{number}": 3 + number % 3 for kind in ("wrong", "right") for number in range(n)}
    tokens, _ = run_of(names)
    spans = pd.DataFrame(
        [
            {"response_id": f"wrong-{number}", "line": 1 + number % 2, "start": 10 + 10 * (number % 2)}
            for number in range(n)
        ]
    ).set_index("response_id")
    return tokens, spans.assign(stop=spans["start"] + 9), [name for name in names if name.startswith("right")]
