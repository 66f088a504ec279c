"""The pool of engines on real Ray actors: order, replicas, deaths, swaps of models."""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
import ray
from ray.util.placement_group import placement_group_table

from baldistill.answers.completion import Completion
from baldistill.bundled import DOMAINS, make_example
from baldistill.config import Config
from baldistill.config.engines import TransformersOptions
from baldistill.core.ifd import ifd_batch
from baldistill.errors import UserError
from baldistill.generation.encoding import context_token, encode_prompt
from baldistill.generation.pool import Pool
from baldistill.generation.transformers import TransformersEngine
from baldistill.generation.types import ModelRef, Request, Sampling
from baldistill.records import EXAMPLES
from baldistill.student.score import score_responses
from baldistill.teacher.prompts import load_prompts

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

TEACHER, STUDENT = ModelRef("bundled-teacher"), ModelRef("bundled-student")
SAMPLING = Sampling(max_new_tokens=40)


def start(model: ModelRef, replicas: int, batch_size: int) -> Pool:
    return Pool.start(
        TransformersOptions(), model, replicas=replicas, bundle={"CPU": 0.25}, batch_size=batch_size
    )


def process_of(actor: ray.actor.ActorHandle) -> int:
    pid = ray.get(actor.__ray_call__.remote(lambda _: os.getpid()))
    assert isinstance(pid, int)
    return pid


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    rng = random.Random(1)
    asked = [make_example(rng.choice(DOMAINS), rng).question for _ in range(60)]
    return [Request(f"r{i}", f"Question: {text}\n", seed=i) for i, text in enumerate(asked)]


@pytest.fixture(scope="module")
def expected(requests: list[Request]) -> dict[str, list[Completion]]:
    """Each model's own answers, without any pool."""
    answers = {}
    for model in (TEACHER, STUDENT):
        engine = TransformersEngine()
        engine.load(model)
        answers[model.name] = engine.generate(requests, SAMPLING)
    return answers


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    two = start(TEACHER, replicas=2, batch_size=8)
    yield two
    two.close()


def check(answers: list[Completion], expected: list[Completion]) -> None:
    assert [answer.request_id for answer in answers] == [other.request_id for other in expected]
    assert [answer.text for answer in answers] == [other.text for other in expected]
    for answer, other in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer.logprobs, other.logprobs, atol=1e-4)


def test_two_replicas_answer_in_order_as_one_engine_does(
    pool: Pool, requests: list[Request], expected: dict[str, list[Completion]]
) -> None:
    check(pool.generate(requests, SAMPLING), expected[TEACHER.name])
    told = {c.request_id: c for batch in pool.stream(requests, SAMPLING) for c in batch}
    check([told[request.request_id] for request in requests], expected[TEACHER.name])


def test_progress_moves_before_a_batch_ends(
    requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows are one batch, so what is shown before its end comes from within it."""
    monkeypatch.setattr("baldistill.generation.watch.ASK_EVERY", 0.02)
    one = start(TEACHER, replicas=1, batch_size=len(requests))
    reports: list[tuple[int, str]] = []
    try:
        reporting = one.reporting_to(lambda *report: reports.append(report))
        reporting.generate(requests, Sampling(max_new_tokens=300))
    finally:
        one.close()
    counts = [ended for ended, _ in reports]
    assert counts == sorted(counts)
    assert counts[-1] == len(requests)
    assert any(0 < ended < len(requests) for ended in counts)
    assert "starting the engine" in {status for ended, status in reports if ended == 0}
    assert "first answers under way" in {status for ended, status in reports if ended == 0}
    assert {status for ended, status in reports if ended > 0} == {""}


@pytest.mark.parametrize(("rows", "sizes"), [(6, [3, 3]), (20, [4, 8, 8]), (1, [1])])
def test_batches_are_the_share_of_a_replica_at_most(
    pool: Pool, requests: list[Request], rows: int, sizes: list[int]
) -> None:
    calls = pool._generate_calls(requests[:rows], SAMPLING)
    assert sorted(len(call.numbers) for call in calls) == sizes


def test_requests_are_drawn_while_the_engines_work(pool: Pool, requests: list[Request]) -> None:
    """What is drawn may cost budget, so no more is drawn than the engines need next."""
    events: list[str] = []

    def drawn() -> Iterator[Request]:
        for request in requests * 3:
            events.append("drawn")
            yield request

    number = 0
    for batch in pool.stream(drawn(), SAMPLING):
        events.append("answered")
        number += len(batch)
    assert number == 180
    before_the_first_answer = events[: events.index("answered")]
    assert len(before_the_first_answer) <= pool.feed_size


def test_scores_come_in_order(pool: Pool, expected: dict[str, list[Completion]]) -> None:
    texts = [answer.token_ids for answer in expected[TEACHER.name]]
    texts[3] = texts[3][:0]
    texts[5] = texts[5][:1]
    engine = TransformersEngine()
    engine.load(TEACHER)
    for ours, theirs in zip(pool.score(texts), engine.score(texts), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert pool.score([]) == []
    assert pool.generate([], SAMPLING) == []


def test_each_call_gets_the_model_that_it_names(
    pool: Pool, requests: list[Request], expected: dict[str, list[Completion]]
) -> None:
    for model in (STUDENT, TEACHER, STUDENT):
        check(pool.using(model).generate(requests, SAMPLING), expected[model.name])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["SIGKILL", "ray.kill"])
def test_an_engine_that_dies_is_replaced_and_no_row_is_lost(
    pool: Pool, requests: list[Request], expected: dict[str, list[Completion]], way: str
) -> None:
    """And it answers with the model that the call named, not with its first one."""
    student = pool.using(STUDENT)
    student.generate(requests[:20], SAMPLING)
    many = [Request(f"{i}", requests[i % 60].prompt) for i in range(240)]
    victim = pool.actors[0]
    pid = process_of(victim)
    told: dict[str, Completion] = {}
    for batch in student.stream(many, SAMPLING):
        if not told and way == "SIGKILL":
            os.kill(pid, signal.SIGKILL)
        elif not told:
            ray.kill(victim, no_restart=False)
        told.update((completion.request_id, completion) for completion in batch)
    answers = [told[request.request_id] for request in many]
    assert [answer.request_id for answer in answers] == [request.request_id for request in many]
    texts = [answer.text for answer in expected[STUDENT.name]]
    assert [answer.text for answer in answers] == [texts[i % 60] for i in range(240)]
    assert process_of(victim) != pid


def test_a_model_that_is_missing_is_a_user_error(pool: Pool, requests: list[Request]) -> None:
    with pytest.raises(UserError, match="cannot load the model '/no/such/model'") as raised:
        pool.using(ModelRef("/no/such/model")).generate(requests[:3], SAMPLING)
    assert "Traceback" not in str(raised.value)
    assert type(raised.value) is UserError


def test_the_pool_works_on_after_an_error(
    pool: Pool, requests: list[Request], expected: dict[str, list[Completion]]
) -> None:
    with pytest.raises(UserError, match="max_new_tokens=5000 leaves no room"):
        pool.using(TEACHER).generate(requests, Sampling(5000))
    check(pool.using(TEACHER).generate(requests, SAMPLING), expected[TEACHER.name])


def test_an_engine_of_several_bundles_runs_in_a_placement_group(
    requests: list[Request], expected: dict[str, list[Completion]]
) -> None:
    pool = Pool.start(
        TransformersOptions(), TEACHER, replicas=2, bundle={"CPU": 0.25}, batch_size=16, bundles=2
    )
    try:
        for group in pool.groups:
            assert group.bundle_count == 2
            assert placement_group_table(group)["strategy"] == "STRICT_PACK"
        check(pool.generate(requests, SAMPLING), expected[TEACHER.name])
    finally:
        pool.close()
    assert all(placement_group_table(group)["state"] == "REMOVED" for group in pool.groups)


@pytest.mark.slow
def test_engines_without_a_place_join_when_there_is_one(
    requests: list[Request], expected: dict[str, list[Completion]]
) -> None:
    """As on a cluster whose autoscaler brings nodes: nobody waits for the missing engines."""
    free = settled_cpus()
    half = math.floor(free / 2)
    other = ray.remote(_Other).options(num_cpus=free - half).remote()
    ray.get(other.there.remote())
    growing = Pool.start(
        TransformersOptions(), TEACHER, replicas=2, bundle={"CPU": half}, batch_size=8
    )
    check(growing.generate(requests, SAMPLING), expected[TEACHER.name])
    waiting = [actor.load.remote(TEACHER) for actor in growing.actors]
    assert len(ray.wait(waiting, num_returns=2, timeout=1)[0]) == 1
    ray.kill(other)
    assert len(ray.wait(waiting, num_returns=2)[0]) == 2
    check(growing.generate(requests, SAMPLING), expected[TEACHER.name])
    growing.close()


def settled_cpus() -> float:
    """Free CPUs, once what earlier tests held is free again: Ray tells it with a delay."""
    free, told = -1.0, ray.available_resources()["CPU"]
    while told != free:
        time.sleep(1.0)
        free, told = told, ray.available_resources()["CPU"]
    return free


class _Other:
    """A job that holds what an engine needs."""

    def there(self) -> bool:
        return True


@pytest.mark.parametrize("metric", ["ifd", "perplexity"])
def test_ifd_is_that_of_two_plain_passes(pool: Pool, metric: str) -> None:
    """Design, section 2: one student, batches of any composition, against one row at a time."""
    rng = random.Random(2)
    rows = []
    for i in range(24):
        made = make_example(rng.choice(DOMAINS), rng)
        rows.append(
            {"example_id": f"{i:032x}", "domain": made.domain, "question": made.question,
             "answer": made.answer, "choices": None}
        )  # fmt: skip
    examples = pa.Table.from_pylist(rows, schema=EXAMPLES)
    prompts = load_prompts("compact", model="bundled")
    sampling = Sampling(max_new_tokens=40, temperature=1.0)
    scored = score_responses(
        examples,
        pool.using(TEACHER),
        prompts,
        sampling,
        Config.model_validate({"selection": {"metric": metric}}),
        seed=7,
    )
    import torch

    engine = TransformersEngine()
    engine.load(TEACHER)
    model, tokenizer = engine._model, engine._tokenizer

    def logprobs(context: list[int], tokens: list[int]) -> np.ndarray:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([context + tokens])).logits[0].double()
        rows = torch.log_softmax(logits, -1)[len(context) - 1 : -1]
        return rows.gather(-1, torch.tensor(tokens)[:, None])[:, 0].numpy()

    assert len(set(scored["num_tokens"].to_pylist())) > 1
    for row in scored.to_pylist():
        tokens = tokenizer(row["response"], add_special_tokens=False)["input_ids"]
        if len(tokens) != row["num_tokens"]:
            continue  # a sampled text may have shorter pieces
        prompt = encode_prompt(tokenizer, f"Question: {row['question']}\n")
        given, own = logprobs(prompt, tokens), logprobs([context_token(tokenizer)], tokens)
        wanted = ifd_batch([given], [own])[0] if metric == "ifd" else float(np.exp(-given.mean()))
        assert row["score"] == pytest.approx(wanted, abs=1e-4, rel=1e-4)
        assert row["nll_conditional"] == pytest.approx(-given.mean(), abs=1e-4)
        assert row["nll_unconditional"] == pytest.approx(-own.mean(), abs=1e-4)


def test_an_engine_that_never_comes_back_costs_no_row(
    pool: Pool, requests: list[Request], expected: dict[str, list[Completion]]
) -> None:
    """Its node is gone and nobody replaces it. The last test: the pool has one engine after it."""
    teacher = pool.using(TEACHER)
    teacher.generate(requests[:20], SAMPLING)
    answers: list[Completion] = []
    for batch in teacher.stream(requests, SAMPLING):
        if not answers:
            ray.kill(pool.actors[0])
        answers += batch
    order = {request.request_id: number for number, request in enumerate(requests)}
    check(sorted(answers, key=lambda a: order[a.request_id]), expected[TEACHER.name])
    check(teacher.generate(requests, SAMPLING), expected[TEACHER.name])
    ray.kill(pool.actors[1])
    with pytest.raises(UserError, match="died again and again"):
        teacher.generate(requests, SAMPLING)
