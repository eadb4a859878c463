"""The numbered notebooks run headless, their pages, and the `attnent` command."""


class StudyError(RuntimeError):
    """A study cannot be made as asked; the message says what to do."""
