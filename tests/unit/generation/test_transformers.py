"""The engine against transformers' own generation and plain one-by-one forward passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baldistill.answers.completion import Completion
from baldistill.config.teachers import TransformersTeacher
from baldistill.errors import UserError
from baldistill.generation.encoding import context_token, encode_prompt
from baldistill.generation.factory import build_engine
from baldistill.generation.transformers import TransformersEngine
from baldistill.generation.types import Message, ModelRef, Request, Sampling
from tests.unit.generation.conftest import save_variant

GREEDY = Sampling(max_new_tokens=24)
SAMPLED = Sampling(max_new_tokens=16, temperature=1.3, top_p=0.9)


def requests(prompts: list[str]) -> list[Request]:
    return [Request(str(i), prompt, seed=i) for i, prompt in enumerate(prompts)]


def logprobs_of(model: Any, context: list[int], tokens: np.ndarray) -> np.ndarray:
    """A plain forward pass over one row: log-probability of each of its tokens."""
    ids = torch.tensor([[*context, *tokens.tolist()]])
    with torch.inference_mode():
        logprobs = torch.log_softmax(model(input_ids=ids).logits[0].double(), -1)
    rows = torch.arange(len(context) - 1, ids.shape[1] - 1)
    return logprobs[rows, torch.tensor(tokens, dtype=torch.long)].numpy()


@pytest.fixture(scope="module")
def alone(engine: TransformersEngine, questions: list[str]) -> list[Completion]:
    """Every prompt answered by itself."""
    return [engine.generate([request], GREEDY)[0] for request in requests(questions)]


def test_greedy_decoding_is_that_of_transformers(
    engine: TransformersEngine, model: Any, tokenizer: Any, questions: list[str]
) -> None:
    assert len(questions) >= 16
    assert len({len(encode_prompt(tokenizer, q)) for q in questions}) > 8
    ours = engine.generate(requests(questions), GREEDY)
    for question, completion in zip(questions, ours, strict=True):
        ids = torch.tensor([encode_prompt(tokenizer, question)])
        mask = torch.ones_like(ids)
        theirs = model.generate(ids, attention_mask=mask, max_new_tokens=24, do_sample=False)
        written = theirs[0, ids.shape[1] :].tolist()
        ended = written[-1] == tokenizer.eos_token_id
        assert completion.token_ids.tolist() == written[: len(written) - ended]
        assert completion.finish_reason == ("stop" if ended else "length")
        assert completion.text == tokenizer.decode(written, skip_special_tokens=True)
        assert completion.prompt_tokens == ids.shape[1]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_an_answer_does_not_depend_on_its_batch(
    data: st.DataObject,
    engine: TransformersEngine,
    model: Any,
    tokenizer: Any,
    questions: list[str],
    alone: list[Completion],
) -> None:
    chosen = data.draw(
        st.lists(st.integers(0, len(questions) - 1), min_size=1, max_size=8, unique=True)
    )
    everything = requests(questions)
    together = engine.generate([everything[i] for i in chosen], GREEDY)
    for i, completion in zip(chosen, together, strict=True):
        assert completion.request_id == str(i)
        assert completion.token_ids.tolist() == alone[i].token_ids.tolist()
        reference = logprobs_of(model, encode_prompt(tokenizer, questions[i]), alone[i].token_ids)
        np.testing.assert_allclose(completion.logprobs, reference, atol=1e-4)


def test_rows_end_at_different_steps(alone: list[Completion]) -> None:
    """Otherwise the test above says nothing about rows that leave the batch."""
    assert len({len(completion.token_ids) for completion in alone}) > 2


def test_finished_rows_leave_without_changing_others(
    tmp_path: Path, tokenizer: Any, questions: list[str]
) -> None:
    engine = TransformersEngine()
    engine.load(ModelRef(str(save_variant(tmp_path, bos="<bos>"))))
    sampling = Sampling(max_new_tokens=60, temperature=1.5)  # a random model ends at random
    ours = engine.generate(requests(questions), sampling)
    ended = [len(c.token_ids) for c in ours if c.finish_reason == "stop"]
    assert len(set(ended)) > 3
    for request, completion in zip(requests(questions), ours, strict=True):
        (single,) = engine.generate([request], sampling)
        assert single.token_ids.tolist() == completion.token_ids.tolist()
        np.testing.assert_allclose(single.logprobs, completion.logprobs, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 40), max_size=12), seed=st.integers(0, 2**16))
def test_scores_are_those_of_one_by_one_passes(
    lengths: list[int], seed: int, engine: TransformersEngine, model: Any, tokenizer: Any
) -> None:
    rng = np.random.default_rng(seed)
    texts = [rng.integers(3, 512, length).astype(np.int32) for length in lengths]
    scores = engine.score(texts)
    assert [score.shape for score in scores] == [(length,) for length in lengths]
    assert all(score.dtype == np.float32 for score in scores)
    for text, score in zip(texts, scores, strict=True):
        if len(text):
            reference = logprobs_of(model, [context_token(tokenizer)], text)
            np.testing.assert_allclose(score, reference, atol=1e-4)


def test_scores_do_not_depend_on_how_rows_are_batched(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    texts = [rng.integers(3, 512, length) for length in (0, 1, 2, 30, 7, 1, 0, 12)]
    whole = engine.score(texts)
    monkeypatch.setattr("baldistill.generation.transformers._SCORE_LOGITS", 512 * 10)
    for one, other in zip(whole, engine.score(texts), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_sampling_does_not_depend_on_the_neighbours(
    engine: TransformersEngine, questions: list[str]
) -> None:
    together = engine.generate(requests(questions), SAMPLED)
    backwards = engine.generate(requests(questions)[::-1], SAMPLED)[::-1]
    for request, one, other in zip(requests(questions), together, backwards, strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()
        (alone,) = engine.generate([request], SAMPLED)
        assert one.token_ids.tolist() == alone.token_ids.tolist()


def first_tokens(
    engine: TransformersEngine, prompt: str, sampling: Sampling, number: int
) -> np.ndarray:
    """The first token of many sampled answers; -1 where the text ended at once."""
    asked = [Request(str(seed), prompt, seed=seed) for seed in range(number)]
    answers = engine.generate(asked, sampling)
    return np.array([answer.token_ids[0] if len(answer.token_ids) else -1 for answer in answers])


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_sampled_tokens_have_the_models_distribution(
    engine: TransformersEngine, model: Any, tokenizer: Any, temperature: float
) -> None:
    prompt, number = "Question: ", 4000
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([encode_prompt(tokenizer, prompt)])).logits[0, -1]
    expected = torch.softmax(logits.double() / temperature, -1).numpy()
    drawn = first_tokens(engine, prompt, Sampling(1, temperature), number)
    likely = np.flatnonzero(expected * number >= 5)
    observed = np.array([(drawn == token).sum() for token in likely], dtype=float)
    rest = number - observed.sum()
    statistic = ((observed - expected[likely] * number) ** 2 / (expected[likely] * number)).sum()
    statistic += (rest - (1 - expected[likely].sum()) * number) ** 2 / max(
        (1 - expected[likely].sum()) * number, 1
    )
    degrees = len(likely)
    assert degrees > 2
    assert statistic < degrees + 5 * np.sqrt(2 * degrees)  # five standard deviations


def test_top_p_excludes_the_tail(engine: TransformersEngine, model: Any, tokenizer: Any) -> None:
    prompt = "Question: "
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([encode_prompt(tokenizer, prompt)])).logits[0, -1]
    ordered, ids = torch.softmax(logits.double() / 1.5, -1).sort(descending=True)
    nucleus = int((ordered.cumsum(0) < 0.6).sum()) + 1
    drawn = first_tokens(engine, prompt, Sampling(1, 1.5, top_p=0.6), 2000)
    assert set(drawn.tolist()) <= set(ids[:nucleus].tolist())
    assert len(set(drawn.tolist())) > nucleus / 2
    assert ids[nucleus] not in drawn


def test_an_over_long_prompt_loses_its_beginning_but_not_bos(
    engine: TransformersEngine, model: Any, tokenizer: Any
) -> None:
    end = "Question: What is 1 plus 2?\n"
    (cut,) = engine.generate([Request("0", "1 " * 2000 + end)], GREEDY)
    assert cut.truncated
    assert cut.prompt_tokens == model.config.max_position_embeddings - GREEDY.max_new_tokens
    tokens = encode_prompt(tokenizer, "1 " * 2000 + end)
    kept = [tokenizer.bos_token_id, *tokens[-(cut.prompt_tokens - 1) :]]
    np.testing.assert_allclose(cut.logprobs, logprobs_of(model, kept, cut.token_ids), atol=1e-4)
    (whole,) = engine.generate([Request("0", end)], GREEDY)
    assert not whole.truncated


def test_no_room_for_a_prompt_is_a_user_error(engine: TransformersEngine) -> None:
    with pytest.raises(UserError, match="max_new_tokens=1024 leaves no room"):
        engine.generate([Request("0", "x")], Sampling(1024))


def test_nothing_asked_is_nothing_answered(engine: TransformersEngine) -> None:
    assert engine.generate([], GREEDY) == []
    assert engine.score([]) == []


@pytest.mark.parametrize("broken", ["missing", "empty", "torn"])
def test_a_model_that_cannot_be_loaded_is_a_user_error(tmp_path: Path, broken: str) -> None:
    folder = tmp_path / broken
    if broken != "missing":
        folder.mkdir()
    if broken == "torn":
        save_variant(folder)
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    engine = TransformersEngine()
    with pytest.raises(UserError, match="cannot load the model") as raised:
        engine.load(ModelRef(str(folder)))
    assert str(folder) in str(raised.value)


def test_a_model_without_bos_writes_and_scores(tmp_path: Path) -> None:
    engine = TransformersEngine()
    engine.load(ModelRef(str(save_variant(tmp_path))))
    answers = engine.generate(requests(["Question: 1\n", "", "Question: 1 2 3\n"]), GREEDY)
    assert [answer.prompt_tokens for answer in answers][1] == 1  # the eos token starts a text
    model, tokenizer = engine._model, engine._tokenizer
    for prompt, answer in zip(["Question: 1\n", "", "Question: 1 2 3\n"], answers, strict=True):
        context = encode_prompt(tokenizer, prompt) or [tokenizer.eos_token_id]
        reference = logprobs_of(model, context, answer.token_ids)
        np.testing.assert_allclose(answer.logprobs, reference, atol=1e-4)
    (score,) = engine.score([answers[0].token_ids])
    reference = logprobs_of(model, [tokenizer.eos_token_id], answers[0].token_ids)
    np.testing.assert_allclose(score, reference, atol=1e-4)


def test_any_of_the_models_end_tokens_ends_a_text(
    tmp_path: Path, engine: TransformersEngine, questions: list[str]
) -> None:
    (usual,) = engine.generate([Request("0", questions[0])], GREEDY)
    assert len(usual.token_ids) > 3
    third = int(usual.token_ids[2])
    engine._model.generation_config.eos_token_id = [2, third]
    try:
        (early,) = engine.generate([Request("0", questions[0])], GREEDY)
    finally:
        engine._model.generation_config.eos_token_id = 2
    first = usual.token_ids.tolist().index(third)
    assert early.token_ids.tolist() == usual.token_ids.tolist()[:first]
    assert early.finish_reason == "stop"


def test_a_sliding_window_model_decodes_as_transformers_does(tmp_path: Path) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    folder = save_variant(tmp_path, bos="<bos>")
    torch.manual_seed(1)
    MistralForCausalLM(
        MistralConfig(
            vocab_size=512, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, sliding_window=8,
            max_position_embeddings=128, bos_token_id=1, eos_token_id=2, initializer_range=0.5,
        )
    ).save_pretrained(folder)  # fmt: skip
    engine = TransformersEngine()
    engine.load(ModelRef(str(folder)))
    prompts = ["Question: 1\n", "Question: " + "1 2 3 " * 8 + "\n", "Q\n"]
    for prompt, answer in zip(prompts, engine.generate(requests(prompts), GREEDY), strict=True):
        context = encode_prompt(engine._tokenizer, prompt)
        theirs = engine._model.generate(
            torch.tensor([context]), max_new_tokens=24, do_sample=False, pad_token_id=0
        )
        written = theirs[0, len(context) :].tolist()
        assert answer.token_ids.tolist() == [token for token in written if token != 2]
        reference = logprobs_of(engine._model, context, answer.token_ids)
        np.testing.assert_allclose(answer.logprobs, reference, atol=1e-4)


def test_a_teachers_chat_template_gets_its_variables(tmp_path: Path) -> None:
    template = "{% if enable_thinking is not defined %}1 2 3 4 5 6 {% endif %}7"
    folder = save_variant(tmp_path, chat_template=template)
    lengths = []
    for variables in ({}, {"enable_thinking": False}):
        engine = build_engine(TransformersTeacher(chat_template_kwargs=variables))
        engine.load(ModelRef(str(folder)))
        chat = Request("r", (Message("user", "What is 1 plus 2?"),))
        lengths.append(engine.generate([chat], Sampling(1))[0].prompt_tokens)
    assert lengths[0] > lengths[1] == 1


def test_rows_are_reported_as_they_end(engine: TransformersEngine, questions: list[str]) -> None:
    told: list[int] = []
    answers = engine.generate(requests(questions), Sampling(max_new_tokens=200), told.append)
    assert all(answer.finish_reason == "stop" for answer in answers)
    assert len(told) > 1, "rows of different lengths end one by one"
    assert sum(told) < len(questions), "the last rows end with the call"


def test_batches_that_memory_bounds_give_the_same_answers(
    engine: TransformersEngine, questions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engine.generate(requests(questions), SAMPLED)
    monkeypatch.setattr(engine, "_rows_in_memory", lambda rows, sampling: min(len(rows), 5))
    told: list[int] = []
    for one, other in zip(
        whole, engine.generate(requests(questions), SAMPLED, told.append), strict=True
    ):
        assert one.request_id == other.request_id
        assert one.token_ids.tolist() == other.token_ids.tolist()
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)
    assert len(questions) - 5 <= sum(told) < len(questions)


def test_a_model_that_caps_its_logits_is_scored_with_the_cap(tmp_path: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    folder = save_variant(tmp_path, bos="<bos>")
    torch.manual_seed(1)
    Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=512, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=16, sliding_window=8,
            max_position_embeddings=128, bos_token_id=1, eos_token_id=2, initializer_range=0.5,
            final_logit_softcapping=3.0,
        )
    ).save_pretrained(folder)  # fmt: skip
    engine = TransformersEngine()
    engine.load(ModelRef(str(folder)))
    texts = [np.arange(3, 3 + length) for length in (20, 4, 1)]
    for text, score in zip(texts, engine.score(texts), strict=True):
        np.testing.assert_allclose(score, logprobs_of(engine._model, [1], text), atol=1e-4)
    asked = requests(["Question: 1 2 3 4 5 6\n", "Q\n"])
    for answer, request in zip(engine.generate(asked, GREEDY), asked, strict=True):
        context = encode_prompt(engine._tokenizer, request.prompt)
        reference = logprobs_of(engine._model, context, answer.token_ids)
        np.testing.assert_allclose(answer.logprobs, reference, atol=1e-4)
