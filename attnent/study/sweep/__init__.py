"""Notebooks over many models and parameters: what is run, what it will take, and running it."""
