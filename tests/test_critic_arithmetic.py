"""False equations of solutions, and errors planted in them."""

import json
import os
import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from attnent.critic import check_arithmetic
from attnent.critic.planting import MISTAKES, plant_error
from attnent.tasks.gsm8k import EXEMPLARS
from attnent.tiny import world

SHARED = os.environ.get("ATTNENT_SHARED")
needs_shared = pytest.mark.skipif(not SHARED, reason="ATTNENT_SHARED names no folder with the real GSM8K files")

# Each holds in its own way, or is not arithmetic with certainty.
NOT_FALSE = r"""
5 apples * 3 = 15 apples
$4 x 3 = $12
US$4 * 3 = US$12
£4 × 3 = £12
4€ * 3 = 12€
Rs. 5 * 3 = Rs. 15
4 hours/day * 5 days = 20 hours
15 miles / 3 miles/hour = 5 hours
2 hours every day x 7 days in a week = 14 hours a week
10 (for Ida) + 10 (for Max) = 20 more
5 lbs. * 3 = 15 lbs.
5 pounds-3 pounds = 2 pounds
He ran for 2 hours, 3 * 4 = 12 miles, then rested
20% of 50 = 10
20% of the 50 girls = 10 girls
100% - 20% = 80%
50*20% = 10
12/20 x 100% = 60%
4/20 x 100 = 20%
10 + 20% = 12
1/2 = 50%
1,000 + 234 = 1,234
1,00,000 + 1 = 1,00,001
10/3 = 3.33
10/3 = 3.333...
20/3 = 6.66
100/3 = 33
2000 / 75 = 26.666666666666668
33.3% of 90 = 30
19/5 = 3 remainder 4
20 / 3 = 6 R2
8/3 = 2 (rounded down)
1/2 * 10 = 5
3/4 of 20 = 15
3/4 of the cake = 6 slices
12/48 = 1/4 of the total
2 1/2 hours * 2 = 5 hours
1 1/2 + 1/2 = 2
1 ½ + ½ = 2
2*3 = 6 = 12/2
3 * 4 = 12 + 5 = 17
48/2 = <<48/2=24>>24
a total of <<10*12=120>>120
a loss of <<100-150=-50>>50
8 ÷ 2 = 4
8 ⋅ 2 = 16
8 − 2 = 6
7 – 2 = 5
2^3 = 8
2**3 = 8
5² = 25
(2+3)*4 = 20
2(3+4) = 14
(2)(3) = 6
15 (5 * 3) = 15
5 \times 3 = 15
$\frac{1}{2} \times 10 = 5$
\[ 6 \div 2 = 3 \]
\$6 \cdot 2 = \$12
\frac{10 \text{ apples}}{2} = 5 \text{ apples}
5*3 = \boxed{15}
20\% \times 50 = 10
1{,}000 + 1 = 1{,}001
**5 * 3 = 15**
5 * 3 = **15**
- 5 * 3 = 15
1) 5 * 3 = 15
Step 1: 5*3=15
Monday - 5*3=15
3:30 + 0:45 = 4:15
2 pm + 3 hours = 5 pm
12/25/2020 + 5 days = 12/30/2020
2020-12-25 = 3
the ratio 2:3 = 4:6
x + 5 = 10
2x = 10
2x + 3 = 11
x*3 + 2 = 14
(x+3)*2 = 10
the cost - 5*3 = 10
3 hours = 180 minutes
2 dozen = 24 eggs
1 foot = 12 inches
5 dollars = 500 cents
1/2 hour = 30 minutes
two + 3 = 6
half of 10 + 5 = 10
twice 5 + 3 = 13
5 more than 2*3 = 11
divided by 2 + 3 = 2
9 because James + 1 = 9
Cost of 3 apples = 3 * 2 = 6
48 = 100% + 20%
10 choose 2 = 45
f(5) = 10
sqrt(16) = 4
5 % 3 = 2
5 != 6
3 + 4 <= 6
3 + 4 ≈ 8
1/0 = 5
5/(2-2) = 3
9^999999 = 1
12 000 + 500 = 12 500
1.000,50 + 1 = 1.001,50
$3,50 + $1 = $4,50
100 / 4/5 = 3
= 5
5 =
""".strip().split("\n")

FALSE = [  # text, what is flagged, left, right
    ("5 apples * 3 = 16 apples", "5 apples * 3 = 16", 15, 16),
    ("He pays $4 x 3 = $13.", "$4 x 3 = $13", 12, 13),
    ("20% of 50 = 11", "20% of 50 = 11", 10, 11),
    ("100% - 20% = 70%", "100% - 20% = 70%", Fraction(4, 5), Fraction(7, 10)),
    ("1,000 + 234 = 1,235", "1,000 + 234 = 1,235", 1234, 1235),
    ("10/3=3.34", "10/3=3.34", Fraction(10, 3), Fraction(167, 50)),
    ("10/3=4", "10/3=4", Fraction(10, 3), 4),
    ("11/5=2", "11/5=2", Fraction(11, 5), 2),
    ("2 1/2 hours * 2 = 6 hours", "2 1/2 hours * 2 = 6", 5, 6),
    ("½ * 10 = 6", "½ * 10 = 6", 5, 6),
    ("2*3 = 6 = 14/2", "6 = 14/2", 6, 7),
    ("2+2=4=5", "4=5", 4, 5),
    ("48/2 = <<48/2=24>>25", "48/2 = <<48/2=24>>25", 24, 25),
    ("a total of <<10*12=121>>121", "10*12=121", 120, 121),
    ("a total of <<10*12=120>>130 eggs", "<<10*12=120>>130", 120, 130),
    ("8 − 2 = 7", "8 − 2 = 7", 6, 7),
    ("2^3 = 9", "2^3 = 9", 8, 9),
    ("2(3+4) = 15", "2(3+4) = 15", 14, 15),
    (r"so $\frac{1}{2} \times 10 = 6$", r"\frac{1}{2} \times 10 = 6$", 5, 6),
    (r"5*3 = \boxed{16}", r"5*3 = \boxed{16}", 15, 16),
    ("**5 * 3 = 16** girls", "5 * 3 = 16", 15, 16),
    ("2 + 3 * 4 = 20", "2 + 3 * 4 = 20", 14, 20),
    ("(that is 5*3=16)", "5*3=16", 15, 16),
    ("so 5*3=14, and 2+2=5", "5*3=14", 15, 14),
    ("3 times 4 equals 13", "3 times 4 equals 13", 12, 13),
    ("60 minutes/hour * 2 hours = 130 minutes", "60 minutes/hour * 2 hours = 130", 120, 130),
    ("$1,000 - $250.50 = $749.00", "$1,000 - $250.50 = $749.00", Fraction(1499, 2), 749),
]


@pytest.mark.parametrize("text", NOT_FALSE)
def test_what_is_true_or_in_doubt_is_left_alone(text):
    assert check_arithmetic(text) == []


@pytest.mark.parametrize(("text", "flagged", "left", "right"), FALSE)
def test_a_false_equation_is_given_with_its_place_and_its_two_values(text, flagged, left, right):
    first = check_arithmetic(text)[0]
    assert (first.text, first.left, first.right) == (flagged, left, right)
    assert text[first.start : first.stop] == flagged


def test_each_false_equation_of_a_solution_is_given_in_order():
    solution = "3 + 4 = 8 eggs.\nSo 8 * 2 = 16, then 16 - 1 = 14.\nx = 14\n#### 14"
    assert [found.text for found in check_arithmetic(solution)] == ["3 + 4 = 8", "16 - 1 = 14"]


def test_equations_across_lines_are_left_alone():
    assert check_arithmetic("5 + 3\n= 9") == []


OPERATORS = {"+": Fraction.__add__, "-": Fraction.__sub__, "*": Fraction.__mul__, "/": Fraction.__truediv__}
numbers = st.integers(1, 5_000).map(Fraction) | st.decimals("0.25", 99, places=2).map(Fraction)
styles = st.sampled_from(
    ["{} {} {} = {}", "{}{}{}={}", "So ${} {} ${} = ${}.", "{} eggs {} {} = {} eggs", "It is ({}){}({}) = {}"]
)


def shown(number: Fraction) -> str:
    return f"{number.numerator:,}" if number.denominator == 1 else f"{float(number):.4f}"


@given(numbers, st.sampled_from("+-*/"), numbers, styles)
def test_a_true_equation_is_never_flagged(left, operator, right, style):
    result = OPERATORS[operator](left, right)
    assert check_arithmetic(style.format(shown(left), operator, shown(right), shown(result))) == []


@given(st.integers(2, 999), st.sampled_from("+-*"), st.integers(2, 999), styles, st.integers(-9, 9).filter(bool))
def test_a_whole_number_that_is_off_is_flagged_whole(left, operator, right, style, off):
    result = OPERATORS[operator](Fraction(left), Fraction(right)) + off
    assume(result != -right)  # `2 eggs - 2 = -2` may have a dash
    [found] = check_arithmetic(style.format(left, operator, right, shown(result)))
    assert found.right - found.left == off


@given(st.text(alphabet="0123456789+-*/=().,$% x\n<>{}\\fracand", max_size=60) | st.text(max_size=40))
def test_any_text_is_read_and_what_is_flagged_stands_in_it(text):
    for found in check_arithmetic(text):
        assert text[found.start : found.stop] == found.text
        assert found.left != found.right


@given(n_terms=st.integers(2, 120), sign=st.sampled_from(["+", "*", " big brown eggs + "]), turned=st.booleans())
def test_a_true_equation_is_not_false_however_long(n_terms, sign, turned):
    value = n_terms if "+" in sign else 1
    sides = [sign.join(["1"] * n_terms), str(value)]
    assert check_arithmetic(" = ".join(reversed(sides) if turned else sides)) == []


@pytest.mark.parametrize("piece", ["(", "5 + ", "5=", "=", "1,", "<<", "9^", "- ", "\\frac{", "x(", "5 apples "])
def test_long_nonsense_is_read_in_good_time(piece):
    check_arithmetic(piece * 2_000 + "= 3")


# ---- planted errors

OWN = [solution for _, solution in EXEMPLARS] + [problem.solution for problem in world.problems(12, seed=7)]
OWN += [
    "She buys 3 packs at $2.50, so 3 x $2.50 = $7.50.\nWith a 20% discount she pays $7.50 * 80% = $6.00.\n#### 6",
    "The trip takes 120 miles / 40 miles/hour = 3 hours.\nHe rests 1/2 * 3 = 1.5 hours.\n"
    "In all 3 hours + 1.5 hours = 4.5 hours.",
    "There are <<4*6=24>>24 seats.\n24 - 5 = <<24-5=19>>19 are free.\nHalf of 10 + 5 is 10.\n#### 19",
    r"First, \(6 \times 7 = 42\).\nThen \(42 - 12 = 30\), and \(\frac{30}{5} = 6\).\nSo \boxed{6}.".replace(
        r"\n", "\n"
    ),
    "Let x be the number of cats. Then 2x + 3 = 11, so x = 8 / 2 = 4.",
    "**Step 1:** 1,200 + 350 = 1,550 litres\n**Step 2:** 1,550 ÷ 5 = **310** litres a day",
]


def is_located(planted) -> bool:
    return any(
        found.start < planted.stop and planted.start < found.stop for found in check_arithmetic(planted.solution)
    )


def located_and_flagged(solutions: list[str], seed: int = 0) -> tuple[dict[str, float], float]:
    """The share of planted errors that are located, for each mistake, and the share of clean solutions flagged."""
    shares = {}
    for mistake in MISTAKES:
        planted = [place for solution in solutions if (place := plant_error(solution, mistake, seed))]
        assert len(planted) > 0.9 * len(solutions)
        shares[mistake] = sum(map(is_located, planted)) / len(planted)
    return shares, sum(bool(check_arithmetic(solution)) for solution in solutions) / len(solutions)


def test_planted_errors_in_our_own_solutions_are_located_and_clean_ones_left_alone():
    located, flagged = located_and_flagged(OWN)
    assert min(located.values()) >= 0.95
    assert flagged == 0


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize("with_notes", [True, False])
def test_of_planted_errors_in_gsm8k_95_of_100_are_located_with_1_of_100_clean_solutions_flagged(with_notes):
    lines = (Path(SHARED) / "data" / "gsm8k_test.jsonl").read_text().splitlines()
    solutions = [json.loads(line)["answer"] for line in lines]
    located, flagged = located_and_flagged(
        solutions if with_notes else [re.sub("<<.*?>>", "", solution) for solution in solutions]
    )
    assert min(located.values()) >= 0.95, located
    assert flagged <= 0.01, flagged


@given(st.sampled_from(OWN), st.sampled_from([*MISTAKES]), st.integers(0, 99))
def test_a_planted_error_is_one_change_at_the_place_it_names(solution, mistake, seed):
    planted = plant_error(solution, mistake, seed)
    changed = planted.solution[planted.start : planted.stop]
    assert changed != planted.right
    assert planted.solution[: planted.start] + planted.right + planted.solution[planted.stop :] == solution


def test_a_solution_without_equations_can_hold_no_planted_error():
    assert plant_error("Just so.\n#### 4", "slip", 0) is None
