"""The builder's measurements of the bundled models, and its batches."""

import json
import random

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from baldistill.bundled import DOMAINS, make_example, model_dir
from baldistill.bundled.paths import CARD, ModelName
from baldistill.student.encode import IGNORED, Lesson, encode_examples
from tools.bundled_models.card import measure_teacher
from tools.bundled_models.formats import solve_prompt
from tools.bundled_models.language_model import batches, complete


def _load(name: ModelName) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(model_dir(name))


def test_the_teacher_solves_and_explains_and_writes_questions_as_its_card_says() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, tokenizer = _load("teacher"), AutoTokenizer.from_pretrained(model_dir("teacher"))
    card = json.loads(CARD.read_text())["teacher"]
    assert set(card["per_domain"]) == set(DOMAINS)
    figures = [
        measure_teacher(
            model, tokenizer, domain, random.Random(domain), num_questions=20, num_synthesised=20
        )
        for domain in DOMAINS
    ]
    for name, bound in {
        "solve_accuracy": 0.85,  # unaided it is weak in two domains: counting and reversal
        "rationale_accuracy": 0.93,
        "synthesis_well_formed": 0.90,
        "synthesis_right": 0.75,
        "synthesis_distinct": 0.95,
    }.items():
        measured = sum(getattr(row, name) for row in figures) / len(figures)
        assert measured >= bound, name
        assert measured == pytest.approx(card["mean"][name], abs=0.06), name


def test_the_student_is_a_base_model_that_solves_nothing_yet() -> None:
    model, tokenizer = _load("student"), AutoTokenizer.from_pretrained(model_dir("student"))
    rng = random.Random(0)
    examples = [make_example(domain, rng) for domain in DOMAINS for _ in range(5)]
    prompts = [solve_prompt(example.question) for example in examples]
    texts = complete(model, tokenizer, prompts, max_new_tokens=60)
    right = [t.endswith(f"Answer: {e.answer}") for t, e in zip(texts, examples, strict=True)]
    assert sum(right) <= 3


def test_completions_keep_the_order_of_their_prompts() -> None:
    model, tokenizer = _load("student"), AutoTokenizer.from_pretrained(model_dir("student"))
    prompts = ["The alphabet: a b c", "Tom:", "From Monday on: 0 Monday 1"]
    together = complete(model, tokenizer, prompts, max_new_tokens=8)
    alone = [complete(model, tokenizer, [prompt], max_new_tokens=8)[0] for prompt in prompts]
    assert together == alone


def test_batches_hold_every_row_once_and_no_loss_on_prompts() -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_dir("student"))
    rows = encode_examples([Lesson("ab\n", "c" * n) for n in range(1, 8)], tokenizer, 64).rows
    num_prompt = rows[0]["labels"].count(IGNORED)
    assert num_prompt > 1
    seen = 0
    for batch in batches(rows, 3, random.Random(0)):
        ids, labels = batch["input_ids"], batch["labels"]
        seen += len(ids)
        learnt = labels != IGNORED
        assert (ids[learnt] == labels[learnt]).all()
        assert not learnt[:, :num_prompt].any()
    assert seen == len(rows)
