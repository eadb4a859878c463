"""What a person sees: figures, knobs above them, and the Scrubber."""
