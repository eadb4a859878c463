import hashlib
import json
import shutil
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnent.tiny import MODEL_DIR, verify_checksums, world
from tiny_model import card, evaluate, train
from tiny_model.documents import Document, fact_documents
from tiny_model.grading import is_right, outcome


@pytest.fixture(scope="module")
def loaded():
    return evaluate.load()


@pytest.fixture(scope="module")
def tokenizer(loaded):
    return loaded[1]


# ------------------------------------------------------------------------------------------------------ what is shipped


def test_the_shipped_files_have_the_checksums_they_were_shipped_with():
    verify_checksums()
    named = {line.split("  ", 1)[1] for line in (MODEL_DIR / "SHA256SUMS").read_text(encoding="utf-8").splitlines()}
    assert named == {path.name for path in MODEL_DIR.iterdir()} - {"SHA256SUMS"}


def test_a_changed_file_is_named(tmp_path):
    (tmp_path / "weights").write_bytes(b"changed")
    (tmp_path / "SHA256SUMS").write_text(f"{hashlib.sha256(b'shipped').hexdigest()}  weights\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"weights in .* has sha256"):
        verify_checksums(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  weights\n", encoding="utf-8")
    with pytest.raises(ValueError, match="weights is missing"):
        verify_checksums(tmp_path)


def test_the_card_says_what_was_measured():
    figures = json.loads((MODEL_DIR / "figures.json").read_text(encoding="utf-8"))
    assert (MODEL_DIR / "README.md").read_text(encoding="utf-8") == card.write_card(figures)


def test_everything_shipped_is_at_most_eight_megabytes():
    shipped = [path for path in MODEL_DIR.parent.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in shipped) <= 8_000_000


def test_the_shape_is_a_small_llama_with_grouped_queries(loaded):
    config = loaded[0].config
    assert (config.model_type, config.num_hidden_layers, config.num_attention_heads) == ("llama", 6, 6)
    assert config.num_key_value_heads == 2
    assert json.loads((MODEL_DIR / "config.json").read_text(encoding="utf-8"))["dtype"] == "bfloat16"


def test_a_folder_without_a_model_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no model: it has no config\.json"):
        evaluate.load(tmp_path)


# ------------------------------------------------------------------------------------------------------------ tokenizer


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back_from_its_tokens(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)) == text


@given(st.integers(0, 10**12))
@settings(max_examples=50, deadline=None)
def test_every_digit_is_a_token_of_its_own(tokenizer, number):
    assert tokenizer.tokenize(f"{number}") == list(str(number))


def test_each_special_token_is_one_token(tokenizer):
    for text in train.SPECIAL.values():
        assert len(tokenizer.encode(text, add_special_tokens=False)) == 1
    assert tokenizer.padding_side == "left"


def test_the_chat_template_marks_every_role(tokenizer):
    messages = [{"role": role, "content": role[0]} for role in ("system", "user", "assistant", "user")]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == ("<|bos|><|system|>s<|end|><|user|>u<|end|><|assistant|>a<|end|><|user|>u<|end|><|assistant|>")


def test_an_unknown_role_is_refused(tokenizer):
    with pytest.raises(Exception, match="system, user and assistant"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


def test_fact_questions_and_answers_all_have_the_same_number_of_tokens(tokenizer):
    questions = world.questions(1_500)
    assert len(set(evaluate.lengths(tokenizer, [question.question for question in questions]))) == 1
    assert len(set(evaluate.lengths(tokenizer, [question.answer_text for question in questions]))) == 1


def test_factual_and_creative_prompts_have_nearly_the_same_length(tokenizer):
    factual = evaluate.lengths(tokenizer, [prompt.prompt for prompt in world.factual_prompts(100)])
    creative = evaluate.lengths(tokenizer, [prompt.prompt for prompt in world.creative_prompts(100)])
    assert abs(sum(factual) - sum(creative)) < 150


# --------------------------------------------------------------------------------------------------------- what it does


def test_about_two_of_three_held_out_problems_are_right(loaded):
    problems = world.problems(60)
    responses = evaluate.respond(*loaded, [problem.question for problem in problems])
    n_right = sum(is_right(problem, text) for problem, text in zip(problems, responses, strict=True))
    assert 27 <= n_right <= 51


def test_facts_have_all_three_outcomes(loaded):
    questions = world.questions(80)
    responses = evaluate.respond(*loaded, [question.question for question in questions])
    outcomes = [outcome(question, text) for question, text in zip(questions, responses, strict=True)]
    assert min(outcomes.count(name) for name in evaluate.OUTCOMES) >= 5


def test_sampled_stories_and_poems_differ(loaded):
    prompts = [prompt.prompt for prompt in world.creative_prompts(2)] * 5
    responses = evaluate.respond(*loaded, prompts, temperature=0.8)
    assert len(set(responses)) == 10


# ------------------------------------------------------------------------------------------------------------- training


def test_no_token_sees_another_document_of_its_row(tokenizer):
    documents = [train.tokenize(tokenizer, item) for item in fact_documents(train.Random(0))[:40]]
    rows = train.pack(documents, tokenizer.pad_token_id)
    model = train.new_model(tokenizer, 0).eval()
    same = rows.document[:1, None, :, None] == rows.document[:1, None, None, :]
    mask = same & torch.ones(train.ROW, train.ROW, dtype=torch.bool).tril()
    with torch.inference_mode():
        packed = model(rows.ids[:1], attention_mask=mask, position_ids=rows.positions[:1]).logits[0]
        for number in range(int(rows.document[0].max()) + 1):
            of_document = rows.document[0] == number
            alone = model(rows.ids[:1, of_document]).logits[0]
            torch.testing.assert_close(packed[of_document], alone, rtol=1e-4, atol=1e-5)


def test_packing_keeps_every_document_once(tokenizer):
    documents = [train.tokenize(tokenizer, item) for item in fact_documents(train.Random(0))[:200]]
    rows = train.pack(documents, tokenizer.pad_token_id)
    packed = [
        tuple(ids[number == each].tolist())
        for ids, number in zip(rows.ids, rows.document, strict=True)
        for each in range(int(number.max()) + 1)
    ]
    assert sorted(packed) == sorted(tuple(document.ids) for document in documents)


def test_the_digits_after_an_equals_sign_weigh_most_and_prompts_least(tokenizer):
    tokens = train.tokenize(tokenizer, Document("sums", "Work out 12+3.", "12+3=15"))
    pieces = tokenizer.convert_ids_to_tokens(tokens.ids)
    weighed = dict(zip(zip(range(len(pieces)), pieces, strict=True), tokens.weights, strict=True))
    assert [piece for (_, piece), weight in weighed.items() if weight == train.RESULT_WEIGHT] == ["1", "5"]
    prompt = pieces.index("<|assistant|>") + 1
    assert set(tokens.weights[:prompt]) == {train.PROMPT_WEIGHT}
    assert set(tokens.weights[prompt:]) == {1.0, train.RESULT_WEIGHT}


def test_training_refuses_a_folder_that_exists(tmp_path):
    with pytest.raises(SystemExit, match="exists already"):
        train.train(tmp_path)


def test_training_refuses_a_scale_out_of_range(tmp_path):
    with pytest.raises(SystemExit, match="scale must be above 0 and at most 1, but is 2"):
        train.train(tmp_path / "new", scale=2.0)


@pytest.mark.slow
def test_a_smoke_training_makes_a_model_that_loads_and_can_be_measured(tmp_path):
    out = tmp_path / "model"
    subprocess.run([sys.executable, "-m", "tiny_model.train", "--out", str(out), "--scale", "0.01"], check=True)
    measured = evaluate.measure(out, n_problems=4, n_questions=4)
    assert measured["problems"]["n"] == measured["facts"]["n"] == 4
    assert not (tmp_path / "model.partial").exists()
    shutil.rmtree(out)
