"""Watching attention: what of it is measured, and how, while any model runs; knows no tokenizer and no task."""


class CaptureError(RuntimeError):
    """Attention cannot be captured, or not exactly; the message says what to do."""
