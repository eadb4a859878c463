"""Which server is asked, at which price and with which key; the key comes from the environment alone."""

import ipaddress
import math
import os
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from attnent.llm.cache import LLMError

OPENAI = "https://api.openai.com/v1"
USD_PER_MILLION = {  # of OpenAI's own server: input tokens, output tokens; as published in spring 2026
    "gpt-4o": (2.50, 10.00),
    "gpt-4o-mini": (0.15, 0.60),
    "gpt-4.1": (2.00, 8.00),
    "gpt-4.1-mini": (0.40, 1.60),
    "gpt-5-mini": (0.25, 2.00),
}


class Server(NamedTuple):
    """An address, and what a model costs there."""

    base_url: str
    usd_per_million: tuple[float, float]  # of input tokens, of output tokens

    def usd(self, n_input: int, n_output: int) -> float:
        of_input, of_output = self.usd_per_million
        return (n_input * of_input + n_output * of_output) / 1e6

    def key(self) -> str:
        """The key in the environment; "none" where the server is on this machine and there is no key."""
        key = secret("OPENAI_API_KEY")
        if not key and not is_loopback(self.base_url):
            raise LLMError(
                f"there is no key for {self.base_url}; set OPENAI_API_KEY in the environment. Without a key there are "
                "the offline judge, the exact critic of the bundled world, the arithmetic checker, and any server on "
                "this machine (base_url)"
            )
        if not key.isascii() or not key.isprintable():
            raise LLMError("OPENAI_API_KEY holds a character that no key has; copy the key again")
        return key or "none"


def check(
    model: str,
    *,
    base_url: str | None = None,
    max_usd: float = 1.0,
    usd_per_million: Sequence[float] | None = None,
) -> None:
    """Raise LLMError where `LLM` with these settings could ask nothing: the address, the price, the key. Asks nothing.

    For what takes long before the first question: a wrong setting is said before it.
    """
    server_of(model, base_url, max_usd, usd_per_million).key()


def server_of(model: str, base_url: str | None, max_usd: float, usd_per_million: Sequence[float] | None) -> Server:
    """The server that these settings of an LLM name. Raises LLMError."""
    if not max_usd >= 0:
        raise LLMError(f"max_usd is {max_usd}; pass 0 or more US dollars")
    url = _checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI)
    return Server(url, _known_price(model, url, usd_per_million))


def _checked_url(base_url: str) -> str:
    if "@" in base_url or "?" in base_url:
        raise LLMError(
            "base_url holds a user, a password or a query; pass the address alone, and the key in the "
            "environment as OPENAI_API_KEY"
        )
    try:
        parts = urlsplit(base_url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address
        is_address = False
    if not is_address:
        raise LLMError(f"base_url is {base_url!r}; pass an address such as http://localhost:8000/v1")
    return base_url.rstrip("/")


def _known_price(model: str, base_url: str, given: Sequence[float] | None) -> tuple[float, float]:
    if given is not None:
        if len(given) != 2 or not all(usd >= 0 and math.isfinite(usd) for usd in given):
            raise LLMError(f"usd_per_million is {given}; pass two prices, of input and of output tokens")
        return float(given[0]), float(given[1])
    if is_loopback(base_url):
        return 0.0, 0.0
    if base_url == OPENAI and model in USD_PER_MILLION:
        return USD_PER_MILLION[model]
    raise LLMError(
        f"the price of {model!r} at {base_url} is not known; pass usd_per_million=(input, output) in US dollars for a "
        "million tokens, (0, 0) for a server of your own"
    )


def is_loopback(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def secret(name: str) -> str:
    return os.environ.get(name, "").strip()  # a file that a key was read from ends in a line end


def without_secrets(text: str) -> str:
    """The text without what identifies the user to the server; shorter keys are placeholders of local servers."""
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        if len(value := secret(name)) >= 12:
            text = text.replace(value, f"<{name}>")
    return text
