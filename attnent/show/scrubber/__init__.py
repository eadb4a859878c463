"""The Scrubber: token-level measures of responses, to be scrubbed by eye; live in Jupyter, and alone in a file.

The same JavaScript serves three lives: a notebook with a kernel, an executed notebook opened afresh, and a static page.
All data goes to the browser once, as bytes. Text is data everywhere and never markup.
"""

from attnent.show.scrubber.packing import ScrubberError
from attnent.show.scrubber.page import page_scripts, saved_elements
from attnent.show.scrubber.widget import Scrubber

__all__ = ["Scrubber", "ScrubberError", "page_scripts", "saved_elements"]
