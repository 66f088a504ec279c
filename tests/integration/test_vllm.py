"""The vLLM engine for real, on a CPU: the same answers as transformers, swaps, deaths, errors."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
import torch
from peft import LoraConfig, get_peft_model
from runs import ENGINES
from transformers import AutoTokenizer, JambaConfig, LlamaConfig, LlamaForCausalLM

from baldistill.answers.completion import Completion
from baldistill.bundled import DOMAINS, make_example, model_dir, solve
from baldistill.commands.run import run
from baldistill.config.engines import VllmOptions
from baldistill.config.loading import load_config
from baldistill.config.teachers import VllmTeacher
from baldistill.errors import UserError
from baldistill.generation.dispatcher import from_bytes, to_bytes
from baldistill.generation.encoding import encode_prompt
from baldistill.generation.factory import build_engine
from baldistill.generation.pool import Pool
from baldistill.generation.transformers import TransformersEngine
from baldistill.generation.types import Continuation, Message, ModelRef, Request, Sampling
from baldistill.generation.vllm.start import engine_arguments, environment
from baldistill.placement.engines import Engines
from baldistill.placement.resources import Cluster, place
from baldistill.teacher.parsing import EXAMPLE_SCHEMA
from tools.bundled_models.formats import solution

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.usefixtures("ray_session"),
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM has no build for this machine"
    ),
]

TEACHER, STUDENT = ModelRef("bundled-teacher"), ModelRef("bundled-student")
SAMPLING = Sampling(max_new_tokens=96)


def start(options: VllmOptions | VllmTeacher, model: ModelRef, replicas: int = 1) -> Pool:
    return Pool.start(options, model, replicas=replicas, bundle={"CPU": 0.5}, batch_size=16)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    two = start(VllmOptions(), TEACHER, replicas=2)
    yield two
    two.close()


@pytest.fixture(scope="module")
def reference() -> TransformersEngine:
    engine = TransformersEngine()
    engine.load(TEACHER)
    return engine


@pytest.fixture(scope="module")
def examples() -> list[tuple[str, str, str]]:
    """Question, gold answer and domain; 8 of each domain."""
    rng = random.Random(1)
    made = [make_example(domain, rng) for domain in DOMAINS for _ in range(8)]
    return [(example.question, example.answer, example.domain) for example in made]


@pytest.fixture(scope="module")
def rationales(
    reference: TransformersEngine, examples: list[tuple[str, str, str]]
) -> list[Completion]:
    """Answers of transformers to `rationale_requests`."""
    return reference.generate(rationale_requests(examples), SAMPLING)


def rationale_requests(examples: list[tuple[str, str, str]]) -> list[Request]:
    return [
        Request(f"r{number}", f"Question: {question}\nGold answer: {answer}\n", seed=number)
        for number, (question, answer, _) in enumerate(examples)
    ]


def check_equal(answers: list[Completion], expected: list[Completion]) -> None:
    for ours, theirs in zip(answers, expected, strict=True):
        assert ours.request_id == theirs.request_id
        assert ours.token_ids.tolist() == theirs.token_ids.tolist()
        assert (ours.text, ours.finish_reason) == (theirs.text, theirs.finish_reason)
        assert (ours.prompt_tokens, ours.truncated) == (theirs.prompt_tokens, theirs.truncated)
        np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=1e-3)


def test_the_teachers_rationales_are_right_and_those_of_transformers(
    pool: Pool, rationales: list[Completion], examples: list[tuple[str, str, str]]
) -> None:
    answers = pool.generate(rationale_requests(examples), SAMPLING)
    check_equal(answers, rationales)
    right = [
        answer.text == solution(solve(domain, question).rationale, gold)  # type: ignore[union-attr]
        for answer, (question, gold, domain) in zip(answers, examples, strict=True)
    ]
    assert np.mean(right) > 0.9


def test_prompts_that_are_too_long_or_empty_are_treated_as_by_transformers(
    pool: Pool, reference: TransformersEngine
) -> None:
    requests = [
        Request("long", "What is 1 plus 2? " * 200 + "\nQuestion: What is 21 plus 3?\n"),
        Request("empty", ""),
        Request("short", "Question: What is 20 plus 3?\n"),
    ]
    answers = pool.generate(requests, SAMPLING)
    check_equal(answers, reference.generate(requests, SAMPLING))
    assert [answer.truncated for answer in answers] == [True, False, False]
    with pytest.raises(UserError, match="max_new_tokens=5000 leaves no room for a prompt"):
        pool.generate(requests, Sampling(5000))


def test_a_seed_decides_a_sampled_answer_and_not_its_neighbours(
    pool: Pool, examples: list[tuple[str, str, str]]
) -> None:
    sampling = Sampling(max_new_tokens=40, temperature=2.0, top_p=0.99)
    requests = rationale_requests(examples)[:30]
    texts = [answer.text for answer in pool.generate(requests, sampling)]
    assert [answer.text for answer in pool.generate(requests[:7], sampling)] == texts[:7]
    others = [Request(r.request_id, r.prompt, seed=r.seed + 1000) for r in requests]
    again = [answer.text for answer in pool.generate(others, sampling)]
    assert sum(ours != theirs for ours, theirs in zip(texts, again, strict=True)) > 10


def test_logprobs_are_those_of_the_model_at_temperature_1(
    pool: Pool, reference: TransformersEngine, examples: list[tuple[str, str, str]]
) -> None:
    requests = rationale_requests(examples)[::5]
    answers = pool.generate(requests, Sampling(max_new_tokens=40, temperature=1.5))
    for request, answer in zip(requests, answers, strict=True):
        prompt = encode_prompt(reference._tokenizer, request.prompt)
        with torch.inference_mode():
            ids = torch.tensor([[*prompt, *answer.token_ids.tolist()]])
            logprobs = reference._model(input_ids=ids).logits[0].log_softmax(-1)
        chosen = logprobs[len(prompt) - 1 : -1].gather(-1, ids[0, len(prompt) :, None])[:, 0]
        np.testing.assert_allclose(answer.logprobs, chosen.numpy(), atol=1e-3)


def test_nothing_is_compiled_on_a_cpu(pool: Pool) -> None:
    requests = [Request("r", "Question: What is 1 plus 2?\n")]
    assert len(pool.generate(requests, Sampling(max_new_tokens=8))[0].logprobs) > 0
    for actor in pool.actors:
        assert ray.get(actor.__ray_call__.remote(_compiled)) == {}


def _compiled(_: Any) -> dict[str, int]:
    from torch._dynamo.utils import counters

    return dict(counters["frames"])


def test_texts_are_scored_as_by_transformers(
    pool: Pool, reference: TransformersEngine, rationales: list[Completion]
) -> None:
    texts = [answer.token_ids for answer in rationales[::4]]
    texts[3] = texts[3][:0]
    texts[5] = texts[5][:1]
    for ours, theirs in zip(pool.score(texts), reference.score(texts), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_given_texts_are_scored_behind_their_prompts_as_by_transformers(
    pool: Pool, reference: TransformersEngine, examples: list[tuple[str, str, str]]
) -> None:
    rows = [Continuation(answer, f"Question: {q}\n") for q, answer, _ in examples[::9]]
    rows += [Continuation(row.text) for row in rows]
    rows += [Continuation(""), Continuation("many words " * 900, "Why? " * 900)]
    for ours, theirs in zip(pool.score_texts(rows), reference.score_texts(rows), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_an_answer_follows_a_schema_and_a_bad_schema_is_an_error_row(pool: Pool) -> None:
    schema = {
        "type": "object",
        "properties": {
            "answer": {"type": "string", "enum": ["heads", "tails"]},
            "number": {"type": "integer", "minimum": 1, "maximum": 9},
        },
        "required": ["answer", "number"],
        "additionalProperties": False,
    }
    requests = [Request(str(i), f"Question: What is {i} plus 3?\n", seed=i) for i in range(6)]
    sampling = Sampling(60, temperature=1.0, json_schema=json.dumps(schema))
    for answer in pool.generate(requests, sampling):
        value = json.loads(answer.text)
        assert value["answer"] in ("heads", "tails")
        assert 1 <= value["number"] <= 9
    example = pool.generate(requests[:1], Sampling(60, json_schema=EXAMPLE_SCHEMA))
    assert example[0].text.startswith('{"question"')
    bad = Sampling(60, json_schema=json.dumps({"type": "no such type"}))
    for answer in pool.generate(requests, bad):
        assert (answer.text, answer.finish_reason) == ("", "error")
        assert answer.error is not None
        assert answer.error.startswith("refused by vLLM: ")
    assert pool.generate(requests[:1], SAMPLING)[0].error is None


def test_a_short_batch_does_not_wait_for_a_long_one(pool: Pool) -> None:
    actor = pool.actors[0]
    schema = {"type": "string", "minLength": 700}
    endless = Sampling(max_new_tokens=900, json_schema=json.dumps(schema))
    long = actor.generate.remote(TEACHER, to_bytes([Request("long", "Tom")]), endless)
    short = actor.generate.remote(TEACHER, to_bytes([Request("short", "Tom")]), Sampling(1))
    (first,), _ = ray.wait([long, short], num_returns=1)
    assert first == short
    assert len(from_bytes(ray.get(long))[0].token_ids) > 100


@pytest.mark.parametrize("tied", [True, False])
def test_new_weights_come_into_the_running_engines(
    pool: Pool, examples: list[tuple[str, str, str]], tmp_path: Path, tied: bool
) -> None:
    """As after a stage's training; a student of another shape gets engines of its own."""
    requests = rationale_requests(examples)[::4]
    torch.manual_seed(0)
    models = []
    for number in range(2):
        engine = TransformersEngine()
        engine.load(TEACHER)
        model = engine._model
        if not tied:
            model.config.tie_word_embeddings = False
            model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 + 0.05 * (number + 1) * torch.randn_like(parameter))
        model.save_pretrained(tmp_path / str(number))
        engine._tokenizer.save_pretrained(tmp_path / str(number))
        models.append(ModelRef(str(tmp_path / str(number))))
    started = [ray.get(actor.__ray_call__.remote(_engine_id)) for actor in pool.actors]
    for model_ref in (*models, models[0]):
        expected = TransformersEngine()
        expected.load(model_ref)
        check_equal(
            pool.using(model_ref).generate(requests, SAMPLING),
            expected.generate(requests, SAMPLING),
        )
        texts = [answer.token_ids for answer in expected.generate(requests[:5], SAMPLING)]
        for ours, theirs in zip(
            pool.using(model_ref).score(texts), expected.score(texts), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-3)
    kept = [ray.get(actor.__ray_call__.remote(_engine_id)) for actor in pool.actors]
    assert (started == kept) == tied  # a head that is not tied is another shape


def _engine_id(actor: Any) -> int:
    return id(actor._engine._engine)


def test_an_engine_whose_step_fails_is_replaced(
    pool: Pool, rationales: list[Completion], examples: list[tuple[str, str, str]]
) -> None:
    many = rationale_requests(examples)[:60]
    victim = pool.actors[1]  # alone: another engine might have answered all before it began
    ray.get(victim.load.remote(TEACHER))
    pid = ray.get(victim.__ray_call__.remote(_break))
    alone = replace(pool, actors=(victim,))
    check_equal(alone.generate(many, SAMPLING), rationales[: len(many)])
    assert ray.get(victim.__ray_call__.remote(lambda _: os.getpid())) != pid


def _break(actor: Any) -> int:
    """As when memory runs out in the middle of a step."""
    actor._engine._engine.engine_core.engine_core.model_executor.shutdown()
    actor._engine._engine.engine_core.engine_core.model_executor = None
    return os.getpid()


def test_an_engine_that_dies_is_replaced_and_no_row_is_lost(
    pool: Pool, rationales: list[Completion], examples: list[tuple[str, str, str]]
) -> None:
    """The last test of this pool."""
    many = rationale_requests(examples)
    victim = pool.actors[0]
    pid = ray.get(victim.__ray_call__.remote(lambda _: os.getpid()))
    told: dict[str, Completion] = {}
    for batch in pool.stream(many, SAMPLING):
        if not told:
            os.kill(pid, signal.SIGKILL)
        told |= {answer.request_id: answer for answer in batch}
    answers = [told[request.request_id] for request in many]
    check_equal(answers, rationales)
    ray.get(victim.load.remote(TEACHER))
    assert ray.get(victim.__ray_call__.remote(lambda _: os.getpid())) != pid
    pool.close()


@pytest.fixture(scope="module")
def aside() -> Iterator[Callable[..., Any]]:
    """Calls a function in another process; one for all tests, for each imports vLLM."""
    options = {"runtime_env": {"env_vars": environment()}, "num_cpus": 0.5}
    actor = ray.remote(_Aside).options(**options).remote()  # type: ignore[attr-defined]
    yield lambda function, *arguments: ray.get(actor.call.remote(function, *arguments))
    ray.kill(actor)


class _Aside:
    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


def test_what_does_not_fit_is_said_with_vllms_reason(
    aside: Callable[..., Any], tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_dir("teacher"))
    shape = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1}
    config = LlamaConfig(vocab_size=len(tokenizer), num_attention_heads=1, head_dim=24, **shape)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    cases = [
        (VllmOptions(engine_kwargs={"kv_cache_memory_bytes": 2**20}), TEACHER, "KV cache"),
        (VllmOptions(max_model_len=4096), TEACHER, "max_model_len"),
        (VllmOptions(engine_kwargs={"no_such_argument": 1}), TEACHER, "no_such_argument"),
        (VllmOptions(), ModelRef("/no/such/model"), "cannot load the model '/no/such/model'"),
        (VllmOptions(), ModelRef(str(tmp_path)), "head_dim"),
        (VllmTeacher(lora=str(tmp_path)), TEACHER, "is no LoRA adapter"),
    ]
    told = aside(_reasons, [(options, model) for options, model, _ in cases])
    for reason, (_, _, expected) in zip(told, cases, strict=True):
        assert reason is not None
        assert expected in reason
        assert "Traceback" not in reason


def test_transformers_answers_where_auto_chose_vllm_and_it_cannot_start() -> None:
    config = load_config(None, [*ENGINES, "teacher.kind=replay", "teacher.path=x"])
    assert config.student.engine.kind == "auto"
    placement = place(config, Cluster.single(4))
    broken = VllmOptions(engine_kwargs={"no_such_argument": 1})
    engines = Engines(config, replace(placement, student_engine=broken))
    said: list[str] = []
    engines.warm(said.append)
    (answer,) = engines.student(STUDENT).generate([Request("r", "Question: 1 + 1?\n")], SAMPLING)
    engines.close()
    assert answer.text
    (line,) = [text for text in said if "transformers answers instead" in text]
    assert "no_such_argument" in line
    assert "student.engine=transformers" in line
    assert "\n" not in line


def test_the_length_of_a_step_fits_other_options(aside: Callable[..., Any]) -> None:
    """vLLM refuses steps that are shorter than its rows, or than a prompt that must not be cut."""
    options = [
        VllmOptions(engine_kwargs=more)
        for more in ({"max_num_seqs": 600}, {"enable_chunked_prefill": False})
    ]
    assert aside(_reasons, [(each, TEACHER) for each in options]) == [None, None]


def test_a_model_that_takes_whole_blocks_keeps_vllms_steps(
    aside: Callable[..., Any], tmp_path: Path
) -> None:
    """A step shorter than a block would take none of its prompt, for ever."""
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    config = JambaConfig(architectures=["JambaForCausalLM"], **heads, **shape)
    config.save_pretrained(tmp_path)
    assert aside(_steps_of, [str(model_dir("teacher")), str(tmp_path)]) == [512, None]


def _steps_of(paths: list[str]) -> list[int | None]:
    return [engine_arguments(path, VllmOptions()).get("max_num_batched_tokens") for path in paths]


def test_what_does_not_fit_is_said_before_the_corpus_is_read(tmp_path: Path) -> None:
    """Of a cascade's later teachers too, and where pools take turns."""
    small = {"kind": "vllm", "engine_kwargs": {"kv_cache_memory_bytes": 2**20}}
    cascade = json.dumps({"kind": "cascade", "tiers": [{"kind": "transformers"}, small]})
    config = load_config(None, [f"teacher={cascade}", "cluster.keep_warm=never"])
    with pytest.raises(UserError, match="KV cache"):
        run(config, run_dir=tmp_path, quiet=True)
    assert not (tmp_path / "corpus").exists()


def _reasons(cases: list[tuple[VllmOptions, ModelRef]]) -> list[str | None]:
    """Why each model cannot be loaded."""
    told: list[str | None] = []
    for options, model in cases:
        try:
            build_engine(options).load(model)
            told.append(None)
        except UserError as error:
            told.append(str(error))
    return told


def test_an_adapter_answers_on_top_of_the_model_and_the_chat_template_can_be_left_out(
    examples: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    base = TransformersEngine()
    base.load(TEACHER)
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    adapted = get_peft_model(base._model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.8)
    adapted.save_pretrained(tmp_path / "adapter")
    merged = adapted.merge_and_unload()
    base._tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}?{% endfor %}"
    for folder, model in (
        ("merged", merged),
        ("templated", LlamaForCausalLM.from_pretrained(model_dir("teacher"))),
    ):
        model.save_pretrained(tmp_path / folder)
        base._tokenizer.save_pretrained(tmp_path / folder)
    expected = TransformersEngine()
    expected.load(ModelRef(str(tmp_path / "merged")))
    expected._tokenizer.chat_template = None
    questions = rationale_requests(examples)[::3]
    requests = [
        Request(r.request_id, (Message("user", str(r.prompt).rstrip("\n")),)) for r in questions
    ]
    options = VllmTeacher(lora=str(tmp_path / "adapter"), chat_template=False)
    pool = start(options, ModelRef(str(tmp_path / "templated")))
    answers = pool.generate(requests, SAMPLING)
    wanted = expected.generate(requests, SAMPLING)
    assert [answer.prompt_tokens for answer in answers] == [a.prompt_tokens for a in wanted]
    same = [ours.text == theirs.text for ours, theirs in zip(answers, wanted, strict=True)]
    assert np.mean(same) > 0.9  # merged weights are rounded otherwise than those side by side
    assert [answer.text for answer in answers] != [a.text for a in base_answers(requests)]
    pool.close()


def base_answers(requests: list[Request]) -> list[Completion]:
    engine = TransformersEngine()
    engine.load(TEACHER)
    return engine.generate(requests, SAMPLING)


def test_a_run_with_vllm_is_the_run_with_transformers(tmp_path: Path, engines: Engines) -> None:
    """Both for the teacher and for the student; nothing is sampled, so the tables are equal."""
    small = [
        "stages=2",
        "budget.total=80",
        "data.bundled_rows=400",
        "data.bundled_evaluation_per_domain=2",
        "evaluation.base_student=false",
        "student.epochs=1",
        "student.response.max_new_tokens=24",
        "tail.fill=repeat",
        "rationale.max_attempts=1",
        "rationale.on_mismatch=keep",
        *ENGINES,
    ]
    found = {}
    for kind in ("transformers", "vllm"):
        engine = "auto" if kind == "transformers" else kind  # on a CPU the same; as `engines`
        config = load_config(None, [*small, f"teacher.kind={kind}", f"student.engine={engine}"])
        running = engines if kind == "transformers" else None
        result = run(config, run_dir=tmp_path / kind, engines=running, quiet=True)
        tables = [
            pq.read_table(tmp_path / kind / "stages" / stage / "annotated.parquet")
            for stage in ("01", "02")
        ]
        columns = ["example_id", "rationale", "answer", "verified"]
        found[kind] = [sorted(map(str, t.select(columns).to_pylist())) for t in tables]
        assert result.metrics["budget"]["annotated"] == 80
    assert found["vllm"] == found["transformers"]
