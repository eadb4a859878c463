"""The little world of the bundled model: word problems, facts with a long tail, stories and poems.

Everything is made from a seed by plain Python and is the same on every platform. This is the front door; the rooms are
`problems`, `checking`, `facts`, `creative` and `long_prompts`. None of them knows of models, tokenizers or torch.
"""

from attnent.tiny.chance import WorldError
from attnent.tiny.checking import FirstError, first_error
from attnent.tiny.facts import ATTRIBUTES, Person, Question, people, questions
from attnent.tiny.long_prompts import Prompt, creative_prompts, factual_prompts
from attnent.tiny.problems import Problem, Step, problems

__all__ = [
    "ATTRIBUTES",
    "FirstError",
    "Person",
    "Problem",
    "Prompt",
    "Question",
    "Step",
    "WorldError",
    "creative_prompts",
    "factual_prompts",
    "first_error",
    "people",
    "problems",
    "questions",
]
