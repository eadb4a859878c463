"""What an answer commits to: without what it takes back, refuses, denies or only compares with."""

import re

from attnent.rules.dates import DATE
from attnent.rules.numbers import NUMBER

_TAKEN_BACK = re.compile(
    r"(?:(?:^|[.!?…]\s+|\n)actually\b|\bcorrection\s*:|\bno,\s+wait\b|\bwait,\s+(?:no|that)\b|,\s+(?=no,)|(?<=[.!…]\s)(?=no,)"
    r"|\bI meant?\b(?! it)|\b(?:that|this) (?:is|was) (?:wrong|not right|incorrect)\b)[:,]?",
    re.IGNORECASE,
)
_LONGEST_CLAUSE = 600
_SENTENCE = re.compile(
    r"(?<!\bSt)(?<!\bMt)(?<!\bDr)(?<!\bMr)(?<!\bMrs)(?<!\bvs)(?<!\bNo(?=\.\s\d))(?<!\b[A-Z])(?<!\bretd)"
    r"(?<!\bJan)(?<!\bFeb)(?<!\bMar)(?<!\bApr)(?<!\bAug)(?<!\bSept)(?<!\bSep)(?<!\bOct)(?<!\bNov)(?<!\bDec)[.!?…]+(?=\s|$)|\n+"
)
_CLAUSE = re.compile(
    r";\s|:\s|,?\s+(?:but|however|although|though|yet)\b,?|,\s+(?=(?:maybe|perhaps|probably|possibly|however)\b)",
    re.IGNORECASE,
)
_KNOWING = (
    r"(?:know|heard|sure|certain|say|tell|verify|confirm|determine|find|found|recall|remember|provide|answer|access"
    r"|information|data|idea|clue|guess|familiar|aware|include|give|context|records?|confidence|definit\w+|identify"
    r"|locate|details?|knowledge|help|assist)"
)
_NOT = r"(?:not|cannot|unable|unsure|uncertain|no|never|without|rather|need|lack\w*|beyond|limited|dont|cant)"
_MY_IGNORANCE = re.compile(
    rf"\b(?:I|I'm|Im|my|me|we)\b[^.;]{{0,80}}?(?:\b{_NOT}\b|n't\b)[^.;]{{0,60}}?\b{_KNOWING}\b"
    rf"|^\W*(?:sorry,?\s+)?(?:can't|cannot|couldn't|don't|dont|not sure|not certain|no idea|no clue|unsure|"
    rf"unknown|n/?a|none known|no answer|not enough|not known|uncertain|idk|dunno)\b"
    rf"|\bescapes me\b|\bimpossible for me\b"
    rf"|\bI(?:'d| would)? (?:have|need) to (?:look|check|search|see)\b",
    re.IGNORECASE,
)
_NOBODYS_KNOWLEDGE = re.compile(
    r"(?:\b(?:is|are|was|were|remains?|has)|'s)\s+(?:unknown|unclear|uncertain|not (?:\w+ ){0,2}"
    r"(?:known|recorded|documented|available|clear|specified|disclosed|certain|provided|mentioned|revealed))\b"
    r"|\bno (?:\w+ ){0,2}(?:information|records?|data|evidence|sources?|details)\b|\b(?:nobody|no one) knows\b",
    re.IGNORECASE,
)
_REFERRAL = re.compile(
    r"^\W*(?:you (?:could|may|might|can|should|would)\b|I(?:'d| would)? (?:recommend|suggest|advise)\b"
    r"|(?:please|try|consult|check|let me know|feel free|(?:could|can|do|would) you)\b"
    r"|(?:which|what|who)\b.*\bdo you mean\b)",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"[*`]+|__|^\W{0,9}\d{1,2}[.)][ \t]+", re.MULTILINE)
_PREAMBLE = re.compile(
    r"\b(?:as of|according to) my (?:last|latest|knowledge|training)\b[^,.;]{0,80},?"
    r"|\bas an? (?:AI|language)\b[^,.;]{0,60},?",
    re.IGNORECASE,
)


def settled(answer: str) -> str:
    """The answer without markup and without what it takes back later: `A. Actually, B.` leaves B."""
    text = _MARKUP.sub("", answer.replace("’", "'"))
    last = max((match.start() for match in re.finditer(r"\w", text)), default=0)
    cut = max((match.end() for match in _TAKEN_BACK.finditer(text) if match.end() <= last), default=0)
    return text[cut:] if text[:cut].strip(" .,") else text


def committed(text: str) -> tuple[str, bool]:
    """What the answer says without refusals and referrals; and whether it refused anywhere."""
    kept, refused = [], False
    for sentence in split_sentences(text):
        for clause in _split(_CLAUSE, _PREAMBLE.sub(" ", sentence)):
            if _MY_IGNORANCE.search(clause[:_LONGEST_CLAUSE]):
                refused = True
            elif match := _NOBODYS_KNOWLEDGE.search(clause[:_LONGEST_CLAUSE]):
                refused = True
                kept.append(clause[: match.start()])
            elif _REFERRAL.search(clause[:_LONGEST_CLAUSE]):
                refused = refused or "?" in sentence
            else:
                kept.append(clause)
    return "".join(kept), refused


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, each with the mark that ends it."""
    return _split(_SENTENCE, text)


def _split(pattern: re.Pattern[str], text: str) -> list[str]:
    ends = [*(match.end() for match in pattern.finditer(text)), len(text)]
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False) if text[start:end].strip()]


# ---- denied

_AFFIRMING = re.compile(
    r"\b(?:no ?one|nobody|none|nothing) (?:other than|but|except)\b|\bnot (?=only\b|just\b|merely\b)"
    r"|\b(?:not|n't)(?=[^,;.]{0,60}\buntil\b)|\b(?:was|is)n't (?=(?:it|that)\b)",
    re.IGNORECASE,
)
_DENYING = re.compile(
    r"(?:\b(?:not|never|nor|neither|cannot be|rather than|instead of|other than|except|excluding|apart from|save for"
    r"|(?:every|any)(?:one|body|thing|where) but|all but|unlike|contrary to|near"
    r"|(?:km|miles|kilomet\w+|minutes|hours) from)\b"
    r"|n't\b)[^,;:.!?)\n]*?(?=[,;:!?)\n]|\.(?:\s|$)|\bbut\b|$)",
    re.IGNORECASE,
)
_CONCEDED = re.compile(
    r"\b(?:although|though|while|despite)\b[^,.;]{0,60}\b(?:credited|attributed|thought|believed|said)\b[^,.;]{0,120},"
    r"|\b(?:many|some|most|people)(?: people| sources)? (?:think|believe|say|assume|claim)\b"
    r"[^.;]{0,120}?\b(?:but|yet|however)\b",
    re.IGNORECASE,
)
_DENIED_SUBJECT = re.compile(
    r"(?:\b[A-Z][^\W_]*[ -]){1,5}(?=(?:did not|didn't|was not|wasn't|is not|isn't|has never|never)\s)"
)
_DENIED_QUESTION = re.compile(
    r"(?:^|(?<=[.!?\n]))[^.!?\n]*\?\s+(?:\w+\s){0,2}(?:no\b(?! doubt)|not(?=\W*$|[.!]))\W?", re.IGNORECASE
)
_BOUND = re.compile(
    rf"""\b(?:(?:before|after|prior[ ]to)[ ]{DATE.pattern}
        |(?:(?<!\bno[ ])(?:more|fewer|less|later|earlier)[ ]than|at[ ](?:least|most)|up[ ]to|under
           |over(?![ ]\S+[ ](?:second|minute|hour|day|week|month|year|decade)))[ ]{NUMBER.pattern})""",
    re.VERBOSE | re.IGNORECASE,
)


def affirmed(text: str, gold: str) -> str:
    """The text without what it denies or only compares with: `not Paris but Lyon` leaves Lyon, `before 1999` nothing.

    Where the gold answer is itself a bound, bounds stay.
    """
    text = _CONCEDED.sub(" ", _AFFIRMING.sub("", _DENIED_QUESTION.sub(" ", text)))
    text = text if _BOUND.search(gold) else _BOUND.sub(" ", text)
    return _DENYING.sub(" ", _DENIED_SUBJECT.sub(" ", text))
