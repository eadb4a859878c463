"""One recording on many machines: Ray actors that each hold a model, and one process that keeps the Run."""
