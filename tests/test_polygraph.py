"""The same numbers as lm-polygraph 0.7.0, which generates with the bundled model itself and measures by its own code.

Constants apart: its RAUQ adds 1, its Perplexity is the logarithm, its AttentionScore is a sum over tokens and a mean
over heads. What is not compared: P(True), which is there the log-probability of the one token True, and here the
odds of True against False, words of several tokens in the bundled vocabulary; the largest and the last token entropy
and token varentropy, which it has of claims or not at all, though the entropies of single tokens are compared; Head
Entropy, attention divergence, Lookback Lens, sink scores and LapEigvals, which it does not have.

Needs `pip install --no-deps lm-polygraph==0.7.0 pillow`. Its packages import spaCy, NLTK and more for methods that are
not compared, so only the modules that are needed are imported.
"""

import importlib
import os
import sys
from importlib.util import find_spec, module_from_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnent as ae
from attnent.detectors import heads, rejection, sampling, tokens
from attnent.tasks import gsm8k

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("lm_polygraph") is None and "CI" not in os.environ,
        reason="pip install --no-deps lm-polygraph==0.7.0 pillow",
    ),
]
BARE = ("", ".estimators", ".stat_calculators", ".ue_metrics", ".utils")  # packages whose own imports are left out
PROMPTS = gsm8k.load("tiny", n=4, seed=5)["prompt"].tolist()


def of_polygraph(module: str):
    for name in (f"lm_polygraph{package}" for package in BARE):
        if name not in sys.modules:
            spec = find_spec(name)
            assert spec is not None, f"{name} is missing: pip install --no-deps lm-polygraph==0.7.0 pillow"
            sys.modules[name] = module_from_spec(spec)
    return importlib.import_module(f"lm_polygraph.{module}")


@pytest.fixture(scope="module")
def measured():
    """Of each prompt our Trace and lm-polygraph's statistics, each of its own greedy generation."""
    ours, tokenizer = ae.load_model("tiny")
    theirs, _ = ae.load_model("tiny")
    theirs.set_attn_implementation("eager")  # the only one that gives weights
    parameters = of_polygraph("utils.generation_parameters").GenerationParameters(allow_newlines=True)
    model = of_polygraph("utils.model").WhiteboxModel(
        theirs, tokenizer, "tiny", generation_parameters=parameters, instruct=True
    )
    calculators = [
        of_polygraph("stat_calculators.greedy_probs").GreedyProbsCalculator(),
        of_polygraph("stat_calculators.entropy").EntropyCalculator(),
        of_polygraph("stat_calculators.attention_forward_pass").AttentionForwardPassCalculator(),
    ]
    pairs = []
    for prompt in PROMPTS:
        stats = {"model": model}
        for calculator in calculators:
            stats |= calculator(stats, [prompt], model, max_new_tokens=200)
        [trace] = ae.generate(ours, tokenizer, [prompt], max_new_tokens=200, progress=False)
        pairs.append((trace, stats))
    return pairs


def test_both_wrote_the_same(measured):
    for trace, stats in measured:
        assert trace["token_id"].values.tolist() == stats["greedy_tokens"][0]
        assert trace.sizes["step"] > 20


ESTIMATORS = {
    "perplexity": (lambda trace: np.log(tokens.perplexity(trace)), "perplexity", "Perplexity", {}),
    "likelihood": (tokens.negative_log_likelihood, "max_probability", "MaximumSequenceProbability", {}),
    "token entropy": (tokens.mean_token_entropy, "token_entropy", "MeanTokenEntropy", {}),
    "RAUQ": (lambda trace: heads.rauq(trace) + 1, "rauq", "RAUQ", {}),
    "RAUQ, instruct": (lambda trace: heads.rauq_instruct(trace) + 1, "rauq", "RAUQ", {"instruct": True}),
    "LLM-Check": (
        lambda trace: heads.llm_check(trace) * (trace.sizes["step"] - 1) / trace.sizes["head"],
        "attention_score",
        "AttentionScore",
        {"gen_only": True},
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_score_is_that_of_lm_polygraph(measured, name):
    ours, module, estimator, options = ESTIMATORS[name]
    theirs = getattr(of_polygraph(f"estimators.{module}"), estimator)(**options)
    for trace, stats in measured:
        np.testing.assert_allclose(ours(trace), theirs(stats)[0], rtol=1e-4, atol=1e-5)


def test_entropies_and_probabilities_of_tokens_are_those_of_lm_polygraph(measured):
    entropy = of_polygraph("estimators.token_entropy").TokenEntropy()
    surprisal = of_polygraph("estimators.max_probability").MaximumTokenProbability()
    for trace, stats in measured:  # it leaves out the last token
        np.testing.assert_allclose(trace["token_entropy"][:-1], entropy(stats)[0], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(-trace["logprob"][:-1], surprisal(stats)[0], rtol=1e-3, atol=1e-5)


def same(question: str, one: str, other: str) -> bool:
    """Not transitive: within 1 of one another."""
    return abs(int(one) - int(other)) <= 1


answers = st.lists(st.integers(0, 6).map(str), min_size=1, max_size=8)


@given(answers)
def test_semantic_classes_and_their_entropy_are_those_of_lm_polygraph(samples):
    matrix = np.array([[same("", one, other) for other in samples] for one in samples])
    calculator = of_polygraph("stat_calculators.semantic_classes").SemanticClassesCalculator()
    known = {"sample_texts": [samples], "semantic_matrix_classes": matrix[None], "entailment_id": True}
    found = calculator(known, [""], None)
    classes = sampling.semantic_classes("", samples, same)
    assert classes == [found["semantic_classes_entail"]["sample_to_class"][0][i] for i in range(len(samples))]
    estimator = of_polygraph("estimators.semantic_entropy").SemanticEntropy(class_probability_estimation="frequency")
    np.testing.assert_allclose(sampling.semantic_entropy(classes), estimator(known | found)[0], atol=1e-12)


@st.composite
def graded(draw):
    """Scores without ties, which lm-polygraph breaks by the order of rows, and the quality of each response."""
    n = draw(st.integers(4, 40))
    scores = np.array(draw(st.permutations(range(n))), float)
    quality = np.array(draw(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=n, max_size=n)))
    quality[:2] = 0, 1
    return scores, quality


@given(graded(), st.sampled_from([0.5, 0.8, 1.0]))
def test_prr_is_that_of_lm_polygraph_where_chance_is_the_mean_of_all_orders(case, most):
    scores, quality = case
    area = of_polygraph("ue_metrics.pred_rej_area").PredictionRejectionArea(max_rejection=most)
    normalize = of_polygraph("ue_metrics.ue_metric").normalize_metric
    theirs = normalize(area(scores, quality), area(-quality, quality), quality.mean())
    assert rejection.prr(scores, 1 - quality, max_rejection=most) == pytest.approx(theirs)


@settings(max_examples=5)
@given(graded())
def test_its_chance_of_a_thousand_orders_is_near_ours(case):
    _, quality = case
    metrics = of_polygraph("ue_metrics.ue_metric")
    area = of_polygraph("ue_metrics.pred_rej_area").PredictionRejectionArea(max_rejection=0.5)
    assert metrics.get_random_scores(area, quality) == pytest.approx(quality.mean(), abs=0.02)
