"""Run folders to and from a data set repository of the Hub; only what is missing travels, and is checked.

In the repository a Run lies at task/model/parameters:

    run_index.json                      what there is, with the size and SHA-256 of each file and trace
    run.json, examples.jsonl, labels/*.jsonl, responses.parquet, tokens.parquet   as in a Run folder
    traces/<SHA-256>.tar                shards: many traces each, written once and never changed

What is in a repository is data: it is believed only where checksums agree, and nothing of it is run.
"""

from attnent.store import RunError


class HubError(RunError):
    """The Hub does not do as asked, or what it gives is not what was pushed; the message says what to do."""
