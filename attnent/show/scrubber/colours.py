"""The colours of the Scrubber: behind text, a ramp on which one ink stands out everywhere; of maps, Cividis."""

import numpy as np
from plotly.colors import sample_colorscale

N_COLOURS = 256
INKS = {"light": "#1d2126", "dark": "#e4e6e9"}  # of all text, coloured or not; 4.5 to 1 and more (WCAG 2)
REVERSED = ("confidence", "logprob")  # measures of which the low values are to be seen


def _ramp(*colours: str) -> list[str]:
    stops = [[place / (len(colours) - 1), colour] for place, colour in enumerate(colours)]
    return _hex(sample_colorscale(stops, N_COLOURS, colortype="tuple"))


def _hex(shares: list[tuple[float, ...]]) -> list[str]:
    return [f"#{bytes(colour).hex()}" for colour in np.rint(255 * np.array(shares)).astype(np.uint8)]


RAMPS = {
    "light": _ramp("rgb(255,255,250)", "rgb(237,246,190)", "rgb(160,218,180)", "rgb(65,182,196)"),
    "dark": _ramp("rgb(28,31,35)", "rgb(30,58,72)", "rgb(18,84,106)", "rgb(12,104,130)"),
}
PALETTE = {
    "ramps": RAMPS,
    "inks": INKS,
    "map": _hex(sample_colorscale("cividis", N_COLOURS, colortype="tuple")),
    "difference": _hex(sample_colorscale("RdBu_r", N_COLOURS, colortype="tuple")),
}


def shade_of(share: float, name: str = "", *, scheme: str = "light") -> str:
    """The colour behind a token of this measure at a share, 0 to 1, of its scale."""
    share = min(max(share, 0.0), 1.0)
    return RAMPS[scheme][round((N_COLOURS - 1) * (1 - share if name in REVERSED else share))]
