"""Published scores of how likely a response is to be wrong, from Traces alone, and the confidence instrument.

A score is higher where a response is more likely to be wrong. Only `Confidence.stream` asks a model.
"""
