"""All that needs torch: a model and what it is asked in, Traces and Run folders out."""
