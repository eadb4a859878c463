"""Arithmetic as people and models write it: tokens with their places in the text, and a parser of expressions.

    expression = term {("+" | "-") term}
    term       = factor {("*" | "/" | "of") factor | "(" expression ")"}
    factor     = ["-" | "+"] atom ["^" factor]
    atom       = number [unit] | "(" expression ")" | frac "(" expression ")" "(" expression ")"
    unit       = words, "/" word

Knows nothing of equations. What it cannot read with certainty is no expression: unknowns, times, dates, ratios.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

Kind = Literal["number", "+", "-", "*", "/", "^", "(", ")", "=", "frac", "word", "odd", "end"]

Operator = Literal["+", "-", "*", "/", "^"]
Found = tuple[Operator, int]  # an operator, and how many tokens it takes

_MOST_DIGITS = 30

# The first that matches counts. `skip` is layout; `odd` is what no expression may touch; `end` ends a clause.
_TOKEN = re.compile(
    r"""
    (?P<skip><<[^<>\n]*>>|\s+|(?<![\d)])\*\*|\*\*(?![\d(])|__+|~~+|`+|\\[,;:!()\[\] ]|\\left|\\right|\\q?quad|\\boxed|&)
  | (?P<odd>\d[\d.,]{40,}|\d+(?::\d+)+|\d\d?/\d\d?/(?:19|20)\d\d\b|\d{4}-\d\d-\d\d|\bR\d+|\d[\d.,]{0,30},\d\d?(?![\d,]))
  | (?P<currency>(?:US)?\\?\$|[£€¥₹]|\b(?:Rs\b\.?|USD\b|EUR\b))
  | (?P<scale>(?:hundred|thousand|million|billion|trillion)\b)
  | (?P<mixed>(?<![\d./,])\d+[ ]\d+/\d+(?![\d/]|\.\d))
  | (?P<ratio>(?<![\d./,])\d+/\d+(?![\d/]|\.\d))
  | (?P<vulgar>(?:\d+[ ]?)?[¼½¾⅐-⅞])
  | (?P<decimal>(?:(?:\d{1,3}(?:(?:,|\{,\})\d{2,3}){0,8}(?:,|\{,\})\d{3}(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:\.\.\.|…)?)
  | (?P<percent>\\?%|\bper[ ]?cent\b)
  | (?P<equals>={1,2}|\bequals\b)
  | (?P<power>\^|\*\*)
  | (?P<times>[*×⋅·∙]|\\times\b|\\cdot\b|\b(?:multiplied[ ]by|times)(?=[ ]\$?\.?\d))
  | (?P<over>[/÷∕]|\\div\b|\bdivided[ ]by(?=[ ]\$?\.?\d))
  | (?P<plus>\+|\bplus(?=[ ]\$?\.?\d))
  | (?P<minus>[-−–—]|\bminus(?=[ ]\$?\.?\d))
  | (?P<frac>\\[dt]?frac(?=\{))
  | (?P<turn>\b(?:because|since|so|therefore|thus|hence|then)\b)
  | (?P<open>[(\[{])
  | (?P<close>[)\]}])
  | (?P<text>\\(?:text|mathrm|textbf|mathbf)\s?\{[^{}\n]*\})
  | (?P<cross>(?<![^\W\d_])x(?=\s*+\\?[$£€]?\s*+(?:\.?\d|\()))
  | (?P<letter>(?<![^\W\d_])[^\W\d_](?![^\W_]|['’]))
  | (?P<word>[^\W\d_][\w'’]*)
  | (?P<rest>.)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_KINDS: dict[str, Kind] = {
    "turn": "end", "odd": "odd", "equals": "=", "power": "^", "times": "*", "over": "/",
    "plus": "+", "minus": "-", "frac": "frac", "open": "(", "close": ")", "text": "word", "letter": "odd",
    "word": "word", "scale": "word", "percent": "odd",
}  # fmt: skip
_NUMBERS = ("mixed", "ratio", "vulgar", "decimal")
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_UNCERTAIN = {
    "than", "half", "twice", "double", "triple", "squared", "cubed", "am", "pm", "o'clock", "noon", "midnight",
}  # fmt: skip


class Token(NamedTuple):
    """A token and its place [start, stop) in the text; `number` is set where it is one."""

    kind: Kind
    text: str
    start: int
    stop: int
    number: "Number | None" = None


class Number(NamedTuple):
    """A number as written: its value without percent sign, the place value of its last digit, and what stands at it.

    `step` is 1/100 for 3.50, 1 for 12 and None for a fraction, which is exact; `quotient`: it is written `12/4`.
    """

    value: Fraction
    step: Fraction | None
    percent: bool = False
    units: tuple[str, ...] = ()
    quotient: bool = False

    @property
    def is_part(self) -> bool:
        """Whether it can be a share of something: a percentage or a fraction."""
        return self.percent or self.step is None


class Operation(NamedTuple):
    """An operator between two expressions."""

    operator: Operator
    left: "Expression"
    right: "Expression"


Expression = Number | Operation


class NotArithmeticError(ValueError):
    """A text that is not arithmetic with certainty."""


def numbers_in(expression: Expression) -> list[Number]:
    """The numbers of an expression from left to right."""
    if isinstance(expression, Number):
        return [expression]
    return numbers_in(expression.left) + numbers_in(expression.right)


# ---- tokens


def tokenize(text: str) -> list[Token]:
    """The tokens of one line. Currency and percent signs and words such as million are part of their number."""
    tokens: list[Token] = []
    currency: re.Match[str] | None = None
    for match in _TOKEN.finditer(text):
        group = match.lastgroup or ""
        if group == "skip":
            continue
        last = tokens[-1] if tokens else None
        near = last.number if last and last.stop >= match.start() - 1 else None
        if group in _NUMBERS:
            tokens.append(_number_token(match, group, currency))
        elif last and near and (group in ("percent", "scale") or (group == "currency" and last.stop == match.start())):
            tokens[-1] = last._replace(number=_with_sign(near, group, match[0]), stop=match.end())
        elif group != "currency":
            tokens.append(Token(_kind(match, group, last), match[0], *match.span()))
        currency = match if group == "currency" else None
    return tokens


def _number_token(match: re.Match[str], group: str, currency: re.Match[str] | None) -> Token:
    written = match[0].replace("{,}", ",").replace(",", "").rstrip(".…")
    units = (currency[0],) if currency else ()
    number: Number | None = None
    if len(written) <= _MOST_DIGITS and group == "decimal":
        places = len(written.partition(".")[2])
        number = Number(Fraction(int(written.replace(".", "")), 10**places), Fraction(1, 10**places), units=units)
    elif len(written) <= _MOST_DIGITS and (value := _fraction(written)) is not None:
        number = Number(value, None, units=units, quotient=group == "ratio")
    start = currency.start() if currency else match.start()
    return Token("number" if number else "odd", match[0], start, match.end(), number)


def _fraction(written: str) -> Fraction | None:
    """The value of `5/2`, `2 1/2` or `2½`; None where there is none."""
    if "/" not in written:
        return int(written[:-1] or 0) + Fraction(unicodedata.numeric(written[-1])).limit_denominator(10)
    *whole, top, bottom = map(int, re.split("[ /]", written))
    return None if not bottom or (whole and top >= bottom) else sum(whole) + Fraction(top, bottom)


def _with_sign(number: Number, group: str, sign: str) -> Number:
    if group == "currency":
        return number._replace(units=(sign,))
    if group == "percent":
        return number._replace(percent=True)
    scale = _SCALES[sign.lower()]
    return number._replace(value=number.value * scale, step=number.step and number.step * scale)


def _kind(match: re.Match[str], group: str, last: Token | None) -> Kind:
    written, following = match[0], match.string[match.end() : match.end() + 1]
    if group == "cross":
        return "*" if last and last.kind in ("number", "word", ")") else "odd"
    if group == "letter" and written in "aAI" and not match.string[match.start() - 1 : match.start()].isalnum():
        return "word"
    if group == "word" and (following == "(" or written.lower() in _UNCERTAIN):
        return "odd"
    return _KINDS.get(group, "odd" if written == "\\" else "end")


# ---- expressions


def parse(tokens: Sequence[Token]) -> tuple[Expression, int]:
    """The longest expression at the beginning, and how many tokens it takes. Raises NotArithmeticError for none."""
    parser = _Parser(tokens)
    return parser.expression(), parser.place


def parse_number(tokens: Sequence[Token]) -> Number | None:
    """The number, with its unit, that the tokens begin with; None where they begin otherwise."""
    return _Parser(tokens).number(tokens[0].number) if tokens and tokens[0].number else None


class _Parser:
    """Recursive descent over a list of tokens; `place` is the next one.

    An operator that no operand follows is not consumed: it ends the expression.
    """

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.place = 0

    def kind(self, place: int) -> Kind:
        return self.tokens[place].kind if place < len(self.tokens) else "end"

    def expression(self) -> Expression:
        return self.chain(self.term, self.sum_operator)

    def term(self) -> Expression:
        return self.chain(self.factor, self.product_operator)

    def chain(
        self, operand: Callable[[], Expression], operator: Callable[[Expression], tuple[Operator, int] | None]
    ) -> Expression:
        """Operands of one precedence, from left to right."""
        left = operand()
        while found := operator(left):
            sign, n_tokens = found
            before = self.place
            self.place += n_tokens
            try:
                right = operand()
            except NotArithmeticError:
                self.place = before
                break
            if sign == "/" and isinstance(right, Number) and right.step is None:
                raise NotArithmeticError("whether the fraction or its top divides is not clear")
            left = Operation(sign, left, right)
        return left

    def sum_operator(self, left: Expression) -> Found | None:
        kind = self.kind(self.place)
        return (kind, 1) if kind in ("+", "-") else None

    def product_operator(self, left: Expression) -> Found | None:
        """`*`, `/`, the `of` after a share, or nothing before a parenthesis; and how many tokens that is."""
        kind, before = self.kind(self.place), self.tokens[self.place - 1]
        if kind in ("*", "/"):
            return kind, 1
        if isinstance(left, Number) and left.is_part and before.kind == "number" and self.shares():
            return "*", 1
        glued = kind == "(" and before.stop == self.tokens[self.place].start
        return ("*", 0) if glued and before.kind in ("number", ")") else None

    def shares(self) -> bool:
        """Whether `of 50` or `of (` stands here."""
        here = self.place < len(self.tokens) and self.tokens[self.place].text == "of"
        return here and self.kind(self.place + 1) in ("number", "(")

    def factor(self) -> Expression:
        if self.kind(self.place) in ("-", "+"):
            sign = self.kind(self.place)
            self.place += 1
            value = self.factor()
            return value if sign == "+" else Operation("-", Number(Fraction(0), None), value)
        base = self.atom()
        if self.kind(self.place) != "^":
            return base
        self.place += 1
        return Operation("^", base, self.factor())

    def atom(self) -> Expression:
        kind = self.kind(self.place)
        if kind == "number" and (number := self.tokens[self.place].number):
            return self.number(number)
        if kind == "frac":
            self.place += 1
            return Operation("/", self.parenthesis(), self.parenthesis())
        return self.parenthesis()

    def parenthesis(self) -> Expression:
        if self.kind(self.place) != "(":
            raise NotArithmeticError("an operand was expected")
        self.place += 1
        inside = self.expression()
        if self.kind(self.place) != ")":
            raise NotArithmeticError("a parenthesis was expected to close")
        self.place += 1
        return inside

    def number(self, number: Number) -> Number:
        """The number, which stands here, with the words after it."""
        self.place += 1
        if number.is_part and self.shares():
            return number
        words: list[str] = []
        while n_tokens := self.unit_tokens():
            words += [token.text for token in self.tokens[self.place : self.place + n_tokens] if token.kind == "word"]
            self.place += n_tokens
        return number._replace(units=(*number.units, *words)) if words else number

    def unit_tokens(self) -> int:
        """How many tokens the next part of a unit takes: `hours`, `/hour`, `cm^2`; 0 where there is none."""
        kind, following = self.kind(self.place), self.kind(self.place + 1)
        if kind == "word":
            return 3 if following == "^" and self.kind(self.place + 2) == "number" else 1
        return 2 if kind == "/" and following == "word" else 0
