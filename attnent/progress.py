"""How far long work has come: a bar for a person who watches, a plain line now and then where nobody does."""

import os
import re
import sys
import time

from tqdm.auto import tqdm

HEADLESS = "ATTNENT_HEADLESS"  # set by headless runs: then lines are printed instead of a bar
SECONDS_BETWEEN_LINES = 15.0
LINE = re.compile(r".+: \d+ of \d+ responses, .+ a second, .+ tokens a second.*")  # what headless runs print


class Progress:
    """Counts responses, with their rate, tokens a second (where told of any) and the time left; a context manager."""

    def __init__(self, total: int, doing: str, *, shown: bool = True, done: int = 0) -> None:
        self._total, self._doing, self._done, self._already = total, doing, done, done
        self._n_tokens = 0
        self._start = self._last_line = time.monotonic()
        self._lines = shown and (is_headless() or not (_in_notebook() or sys.stderr.isatty()))
        self._bar = tqdm(
            total=total, initial=done, desc=doing, unit="response", disable=not shown or self._lines, dynamic_ncols=True
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def advance(self, n: int, *, n_tokens: int = 0) -> None:
        """`n` more responses are done, holding `n_tokens` tokens."""
        self._done += n
        self._n_tokens += n_tokens
        seconds = max(time.monotonic() - self._start, 1e-9)
        if self._n_tokens:
            self._bar.set_postfix_str(f"{self._n_tokens / seconds:.0f} tokens/s", refresh=False)
        self._bar.update(n)
        if self._lines and (self._done == self._total or time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES):
            self._last_line = time.monotonic()
            rate = (self._done - self._already) / seconds
            left = (self._total - self._done) / rate
            print(
                f"{self._doing}: {self._done} of {self._total} responses, {rate:.1f} a second"
                + (f", {self._n_tokens / seconds:.0f} tokens a second" if self._n_tokens else "")
                + (f", {tqdm.format_interval(max(left, 1))} left" if left else ""),
                flush=True,
            )


def is_headless() -> bool:
    """Whether nobody watches this process, as in a notebook run by the study command."""
    return os.environ.get(HEADLESS) == "1"


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return bool(shell) and type(shell).__name__ == "ZMQInteractiveShell"
