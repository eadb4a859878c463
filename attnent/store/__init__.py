"""How a Run folder keeps what it holds: whole files, traces, tables, labels. What is damaged is found and said."""


class RunError(RuntimeError):
    """A Run folder cannot be used as asked; the message says what to do."""
