"""Watching attention: what of it is measured, and how, while any model runs; knows no tokenizer and no task."""
