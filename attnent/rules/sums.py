"""Numbers of a text with what is calculated of them: `2 * 9` is one number, 18."""

import operator
import re
from collections.abc import Callable
from fractions import Fraction

from attnent.rules.numbers import Number, find_numbers

_SIGN = re.compile(r"\s*(\*\*|[*×·])\s*|\s+([-+/÷x])\s+")
_END = re.compile(r"\s*(?:$|[,;.)\n]|so\b)")
_MOST_TERMS = 20
_LARGEST_EXPONENT = 30


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator > 1 or abs(exponent) > _LARGEST_EXPONENT:
        raise ArithmeticError("no number to write out")
    return base ** int(exponent)


_CALCULATE: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "**": _power,
    "*": operator.mul,
    "/": operator.truediv,
    "+": operator.add,
    "-": operator.sub,
}
_WRITTEN = {"×": "*", "·": "*", "x": "*", "÷": "/"}


def find_values(text: str) -> list[Number]:
    """The numbers of a text that went through `plain`, in order, each sum, product or power (`10**3`) as one.

    Signs other than `*` and `**` need a space on either side, and a difference has to end what is said: `5-10` and
    `5 - 3 of them` are two numbers each. So is what cannot be calculated, as by 0 or with a huge power.
    """
    found: list[Number] = []
    chain: list[Number] = []
    signs: list[str] = []
    for number in find_numbers(text):
        sign = _SIGN.fullmatch(text[chain[-1].stop : number.start]) if chain else None
        if not sign:
            found += _calculated(chain, signs, text)
            chain, signs = [], []
        else:
            written = sign[1] or sign[2]
            signs.append(_WRITTEN.get(written, written))
        chain.append(number)
    return found + _calculated(chain, signs, text)


def _calculated(chain: list[Number], signs: list[str], text: str) -> list[Number]:
    left_alone = len(chain) > _MOST_TERMS or ("-" in signs and not _END.match(text, chain[-1].stop))
    if not signs or left_alone:
        return chain
    values, signs = [number.value for number in chain], list(signs)
    try:
        for level in (("**",), ("*", "/"), ("+", "-")):
            while place := next((k + 1 for k, sign in enumerate(signs) if sign in level), 0):
                values[place - 1 : place + 1] = [_CALCULATE[signs.pop(place - 1)](*values[place - 1 : place + 1])]
    except ArithmeticError:
        return chain
    return [Number(values[0], chain[0].start, chain[-1].stop)]
