"""Texts of 100,000 characters are read in time that grows with their length, however they are made."""

import json
import subprocess
import sys

import pytest

N = 100_000
CASES = {
    "false equations": f'check_arithmetic("3 + 4 = 8 eggs.\\n" * ({N} // 16))',
    "notes with wrong copies": f'check_arithmetic("<<3*4=12>>15 eggs " * ({N} // 18))',
    "groups of two digits": f'check_arithmetic("11," * ({N} // 3) + " = 2")',
    "white space after a cross": f'check_arithmetic("5 x" + " " * {N} + "a = 3")',
    "powers of powers": 'check_arithmetic("((0.01^9999)^9999)^9999 = 3")',
    "sums that end in nothing": f'check_arithmetic(("1+" * 39 + "(1=2;") * ({N} // 83))',
    "a long quote that is nowhere": f'find_quote("abd de " * ({N} // 7), "abc de " * ({N} // 7), 0)',
    "marks over one letter": f'find_quote("b", "a" + "\\u0316\\u0301" * ({N} // 2), 0)',
    "a word without end": f'plant_error("12 " + "a" * {N}, "slip", 0)',
    "white space before an equals sign": f'plant_error("5 + 5" + " " * {N} + "a", "slip", 0)',
}
SCRIPT = """
import json, sys, time
from attnent.critic import check_arithmetic
from attnent.critic.planting import plant_error
from attnent.critic.quotes import find_quote

def once(case):
    start = time.process_time()
    eval(case)
    return time.process_time() - start

def seconds(case):
    return min(once(case), once(case))  # the machine may be busy

print(json.dumps({name: seconds(case) for name, case in json.loads(sys.argv[1]).items()}))
"""


@pytest.fixture(scope="module")
def seconds() -> dict[str, float]:
    """Processor seconds of each case, in an interpreter that checks no types."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(CASES)], capture_output=True, check=True, timeout=300
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES)
def test_a_hundred_thousand_characters_take_less_than_a_second(seconds, case):
    assert seconds[case] < 1
