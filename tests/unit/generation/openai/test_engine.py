"""The openai engine against a real server that misbehaves: what is asked again, what stops."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers.asking import answers_to
from servers.fault_server import FaultServer, reply, running

from baldistill.answers.completion import Completion
from baldistill.answers.store import ResponseStore
from baldistill.config.engines import OpenAIOptions
from baldistill.config.teachers import OpenAITeacher
from baldistill.errors import UserError
from baldistill.generation.engine import EngineStoppedError
from baldistill.generation.openai import limits
from baldistill.generation.openai.engine import OpenAIEngine
from baldistill.generation.openai.faults import refusal
from baldistill.generation.openai.outage import Outage
from baldistill.generation.types import Message, ModelRef, Request, Sampling
from baldistill.storage import Storage

GREEDY = Sampling(max_new_tokens=20)
KEY = "sk-very-secret-0123456789"


class Lab:
    """A server, and engines that ask it."""

    def __init__(self, server: FaultServer, url: str) -> None:
        self.server, self.url = server, url
        self.engines: list[OpenAIEngine] = []

    def engine(self, journals: Path | None = None, **options: Any) -> OpenAIEngine:
        chosen: dict[str, Any] = {"base_url": self.url, "timeout_s": 30, "patience_s": 20}
        folder = None if journals is None else Storage.open(journals)
        engine = OpenAIEngine(OpenAIOptions(**{**chosen, **options}), folder)
        engine.load(ModelRef("some-model"))
        self.engines.append(engine)
        return engine

    def ask(
        self, prompts: Sequence[Any], sampling: Sampling = GREEDY, **options: Any
    ) -> list[Completion]:
        asked = [Request(f"r{i}", prompt, seed=2**50 + i) for i, prompt in enumerate(prompts)]
        return answers_to(self.engine(**options), asked, sampling)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(limits, "_BACKOFF_S", 0.02)
    server = FaultServer(keep_bodies=True)
    with running(server) as url:
        lab = Lab(server, url)
        yield lab
        for engine in lab.engines:
            engine.close()


def test_answers_come_in_order_with_the_servers_counts(lab: Lab) -> None:
    lab.server.latency = 0.02
    prompts = [f"Question number {i}" for i in range(50)]
    answers = lab.ask(prompts, concurrency=8)
    assert [answer.text for answer in answers] == [reply(prompt) for prompt in prompts]
    assert [answer.request_id for answer in answers] == [f"r{i}" for i in range(50)]
    assert {(a.prompt_tokens, a.completion_tokens) for a in answers} == {(3, 5)}
    assert {a.finish_reason for a in answers} == {"stop"}
    assert 1 < lab.server.peak <= 8


def test_a_text_goes_to_completions_and_a_chat_to_chat(lab: Lab) -> None:
    chat = (Message("system", "Be brief."), Message("user", "Why?"))
    sampled = Sampling(20, temperature=0.7, top_p=0.9)
    text, turns = lab.ask(["Hello", chat], sampled, bos="<s>", extra_body={"user": "me"})
    assert (text.text, turns.text) == (reply("<s>Hello"), reply("Why?"))
    completion, conversation = sorted(lab.server.bodies, key=lambda body: -len(body["path"]))[::-1]
    shared = {"model": "some-model", "max_tokens": 20, "temperature": 0.7, "top_p": 0.9}
    assert completion == {
        "path": "/v1/completions", "prompt": "<s>Hello", "user": "me",
        "seed": 2**50 & 0x7FFFFFFF, **shared,
    }  # fmt: skip
    assert conversation == {
        "path": "/v1/chat/completions", "user": "me", "seed": (2**50 + 1) & 0x7FFFFFFF,
        "messages": [{"role": "system", "content": "Be brief."},
                     {"role": "user", "content": "Why?"}], **shared,
    }  # fmt: skip
    (forced,) = lab.ask(["Hello"], api="chat")
    (joined,) = lab.ask([chat], api="completions")
    assert forced.text == reply("Hello")
    assert joined.text == reply("Be brief.\n\nWhy?\n")
    assert "seed" not in lab.server.bodies[-1]


def test_answers_do_not_wait_for_a_row_that_hangs(lab: Lab) -> None:
    """The next call returns the row that hangs, and the server is asked for it once."""
    lab.server.answers_at_most = 3
    engine = lab.engine()
    asked = [Request(f"r{i}", f"Question {i}") for i in range(8)]
    while len(asked) > 5:
        answers = engine.generate(asked, GREEDY)
        asked = [row for row, answer in zip(asked, answers, strict=True) if answer is None]
    lab.server.answers_at_most = None
    assert all(answer.error is None for answer in answers_to(engine, asked, GREEDY))
    assert set(lab.server.received.values()) == {1}


@pytest.mark.parametrize(
    "step",
    ["429:0.05", "429ms:20", "429date:0", "500", "503", "408:0.01",
     "drop", "badjson", "nochoices", "strange", "html"],
)  # fmt: skip
def test_a_passing_fault_is_asked_again(lab: Lab, step: str) -> None:
    prompt = f"<{step} {step}> What is it?"
    fine, mended = lab.ask(["Fine", prompt])
    assert (fine.text, mended.text) == (reply("Fine"), reply(prompt))
    assert mended.error is None
    assert lab.server.received[prompt] == 3
    assert lab.server.received["Fine"] == 1


def test_the_wait_that_a_refusal_asks_for_is_kept(lab: Lab) -> None:
    began = time.monotonic()
    lab.ask(["<429:1.5> a", "<429date:3> b"])
    assert time.monotonic() - began >= 1.5  # a date has whole seconds


@pytest.mark.parametrize(
    ("step", "words"),
    [("500", "server error"), ("drop", "connection lost"), ("badjson", "unusable answer"),
     ("error", "unusable answer"), ("html", "unusable answer"), ("nochoices", "unusable answer")],
)  # fmt: skip
def test_a_row_that_fails_every_time_is_an_error_row(lab: Lab, step: str, words: str) -> None:
    prompt = f"<{step} {step} {step}> Never"
    lost, fine = lab.ask([prompt, "Fine"], max_retries=1)
    assert lost.error is not None
    assert lost.error.partition(":")[0] == words
    assert (lost.finish_reason, lost.text) == ("error", "")
    assert lab.server.received[prompt] == 2
    assert fine.text == reply("Fine")


@pytest.mark.parametrize(("step", "asked"), [("429:0.01", 3), ("503", 3), ("500", 1), ("drop", 1)])
def test_a_call_that_may_be_charged_for_is_handed_back(lab: Lab, step: str, asked: int) -> None:
    """The ledger decides on another call; a call that was refused at once costs nothing."""
    engine, prompt = lab.engine(), f"<{step} {step}> What is it?"
    answer = None
    while answer is None:
        (answer,) = engine.generate([Request("r", prompt)], GREEDY)
    assert answer.retriable == (asked == 1)
    assert lab.server.received[prompt] == asked


def test_refused_rows_do_not_stop_a_run(lab: Lab) -> None:
    """Not even when only refused rows are left, as in a run that goes on after a stop."""
    prompts = [f"<400 400> {i}" for i in range(15)]
    answers = lab.ask([*prompts, "Fine"], concurrency=4)
    assert [answer.error is None for answer in answers] == [False] * 15 + [True]


def test_a_403_concerns_its_row_alone_once_others_were_answered(lab: Lab) -> None:
    engine = lab.engine(concurrency=1)
    asked = [Request("a", "Fine"), Request("b", "<403> Moderated"), Request("c", "Fine, too")]
    fine, moderated, too = answers_to(engine, asked, GREEDY)
    assert (fine.error, too.error) == (None, None)
    assert moderated.error == "request refused: no luck (HTTP 403)"


def test_a_403_stops_if_it_is_the_first_answer(lab: Lab) -> None:
    with pytest.raises(EngineStoppedError, match=r"refused: no luck .*The key is read from"):
        lab.ask(["<403> a"])


def test_a_403_that_names_the_flagged_input_concerns_its_row_alone() -> None:
    body = {"error": {"message": "flagged", "metadata": {"reasons": ["violence"]}}}
    assert refusal(403, body, "").remedy == "row"
    assert refusal(403, {"error": {"message": "no such project"}}, "").remedy == "stop"
    assert refusal(403, {"error": {"message": "m", "metadata": "odd"}}, "").remedy == "stop"


def test_a_row_that_is_too_long_is_an_error_row_at_once(lab: Lab) -> None:
    lost, fine = lab.ask(["<400> long", "Fine"])
    assert lost.error == (
        "request refused: This model's maximum context length is 512 tokens (HTTP 400)"
    )
    assert lab.server.received["<400> long"] == 1
    assert fine.error is None


def test_a_hanging_row_times_out_and_holds_up_no_other(lab: Lab) -> None:
    fine = [f"Fine {i}" for i in range(20)]
    hung, *others = lab.ask(["<hang hang>", *fine], concurrency=2, timeout_s=1.0, max_retries=1)
    assert hung.error == "timed out: no answer within timeout_s"
    assert [answer.text for answer in others] == [reply(prompt) for prompt in fine]


def test_cut_and_withheld_answers_say_so(lab: Lab) -> None:
    cut, withheld = lab.ask(["<length> a", "<content_filter> b"])
    assert (cut.finish_reason, cut.error) == ("length", None)
    assert withheld.error is not None
    assert withheld.error.startswith("content filter:")


@pytest.mark.parametrize(
    ("step", "message"),
    [("401", "key refused: .* The key is read from OPENAI_API_KEY, which is set on"),
     ("404", r"does not exist.*Check teacher.model \('some-model'\)"),
     ("quota", "no credit left: You exceeded your current quota")],
)  # fmt: skip
def test_a_refusal_of_everything_stops_at_once_and_keeps_the_answers(
    lab: Lab, step: str, message: str
) -> None:
    engine = lab.engine(concurrency=1)
    prompts = ["Fine", f"<{step} {step}> a", "Never asked"]
    asked = [Request(f"r{i}", prompt) for i, prompt in enumerate(prompts)]
    with pytest.raises(EngineStoppedError, match=message) as raised:
        engine.generate(asked, GREEDY)
    fine, *others = raised.value.answered
    assert fine is not None
    assert fine.text == reply("Fine")
    assert others == [None, None]
    assert lab.server.received["Never asked"] == 0
    # other batches of the same piece of work end, too
    with pytest.raises(EngineStoppedError, match=message):
        engine.generate([Request("r9", "Not asked either")], GREEDY)
    assert lab.server.received.total() == 2
    engine.resume()  # once it is mended, the same engine works on
    assert [c.text for c in answers_to(engine, [asked[0]], GREEDY)] == [reply("Fine")]


def test_no_key_reaches_an_error(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.server.key = "sk-another"
    with pytest.raises(EngineStoppedError) as raised:
        lab.ask(["Hello"])  # this server repeats the key in its refusal
    seen, error = "", raised.value
    for value in (error, error.__cause__, error.__context__, error.__reduce__()):
        seen += f"{value!r} {value}"
    assert "secret" not in seen
    monkeypatch.setenv("OTHER_KEY", "sk-another")
    assert lab.ask(["Hello"], api_key_env="OTHER_KEY")[0].text == reply("Hello")
    engine = lab.engines[-1]
    assert "sk-another" not in repr(vars(engine)["_options"]) + repr(engine) + repr(engine._client)


def test_a_missing_key_is_an_error_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    engine = OpenAIEngine(OpenAIOptions())
    with pytest.raises(UserError, match="no OPENAI_API_KEY in the environment of the machine"):
        engine.load(ModelRef("m"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\nInjected: header")
    with pytest.raises(UserError, match="letters that no key has") as raised:
        engine.load(ModelRef("m"))
    assert "secret" not in str(raised.value)


def test_a_server_without_a_key_is_asked_without(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert lab.ask(["Hello"])[0].text == reply("Hello")


def test_a_server_that_is_away_is_waited_for(lab: Lab) -> None:
    """It dies under requests, comes back at the same port, and every row is answered once."""
    port = int(lab.url.rsplit(":", 1)[1].split("/")[0])
    second = FaultServer()
    engine = None
    first = FaultServer(latency=0.2)
    with running(first) as url:
        engine = lab.engine(base_url=url, concurrency=4)
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        prompts = [f"Question {i}" for i in range(40)]
        asked = [Request(f"r{i}", prompt) for i, prompt in enumerate(prompts)]
        answers: list[Completion] = []
        thread = threading.Thread(target=lambda: answers.extend(answers_to(engine, asked, GREEDY)))
        thread.start()
        while sum(first.answered.values()) < 8:
            time.sleep(0.01)
    while not engine.notice():
        time.sleep(0.01)
    assert f"{url} has not answered for " in engine.notice()
    with running(second, port):
        thread.join()
    assert [answer.text for answer in answers] == [reply(prompt) for prompt in prompts]
    assert not first.answered.keys() & second.answered.keys()
    assert engine.notice() == ""


def test_refusals_while_the_server_works_are_no_outage(lab: Lab) -> None:
    """Many rows are sent at once, and a busy server refuses some before it answers any."""
    lab.server.answers_at_most = 0
    engine = lab.engine()
    prompts = [f"Question {i}" for i in range(12)] + [f"<429:0.01> R {i}" for i in range(10)]
    asked = [Request(f"r{i}", prompt) for i, prompt in enumerate(prompts)]
    answers: list[Completion] = []
    thread = threading.Thread(target=lambda: answers.extend(answers_to(engine, asked, GREEDY)))
    thread.start()
    while lab.server.received.total() < 12 + 2 * 10:
        assert engine.notice() == ""
        time.sleep(0.01)
    lab.server.answers_at_most = None
    thread.join()
    assert [answer.text for answer in answers] == [reply(prompt) for prompt in prompts]


def test_a_refused_row_waits_as_long_as_it_was_asked_to() -> None:
    outage, fault = Outage("here", patience=60), refusal(429, "slow down", "", wait=1.0)
    outage.in_flight = 40
    assert {outage.refused(fault, times=1) for _ in range(40 - 1)} == {1.0}
    assert not outage.is_down
    assert outage.refused(fault, times=1) > 3.0  # as many as are worked on: it is no row's any more
    assert outage.is_down
    outage.answered()
    assert not outage.is_down
    assert outage.refused(fault, times=1) == 1.0
    assert 1.4 < outage.refused(fault, times=3) <= 2.0


def test_patience_ends(lab: Lab) -> None:
    with running(FaultServer()) as url:
        pass  # nobody listens there any more
    with pytest.raises(EngineStoppedError, match=r"longer than teacher\.patience_s=0\.5 allows"):
        lab.ask(["Hello"] * 20, base_url=url, patience_s=0.5)
    with pytest.raises(EngineStoppedError, match=r"asks to wait 3600 s more, longer than"):
        lab.ask(["<429:3600> a"])


def test_a_server_that_answers_no_row_stops_the_run(lab: Lab) -> None:
    prompts = [f"<html html> {i}" for i in range(30)]
    with pytest.raises(EngineStoppedError, match="none of the last 10 rows: unusable answer"):
        lab.ask(prompts, max_retries=0, concurrency=4)
    assert sum(lab.server.received.values()) < 20


@pytest.mark.parametrize("field", ["seed", "top_p", "temperature", "logprobs"])
def test_a_field_that_the_server_rejects_is_left_out(lab: Lab, field: str) -> None:
    lab.server.rejects = frozenset({field})
    sampled = Sampling(20, temperature=0.5, top_p=0.5)
    engine = lab.engine(logprobs=True, concurrency=1)
    asked = [Request(f"r{i}", f"Question {i}") for i in range(4)]
    assert all(answer.error is None for answer in answers_to(engine, asked, sampled))
    assert sum(lab.server.received.values()) == 5  # only the first was asked twice
    assert f"takes no {field}, it is left out" in engine.notice()


def test_new_models_want_max_completion_tokens(lab: Lab) -> None:
    lab.server.rejects = frozenset({"max_tokens"})
    (answer,) = lab.ask([(Message("user", "Hi"),)])
    assert answer.text == reply("Hi")
    assert lab.server.bodies[-1]["max_completion_tokens"] == 20


def test_a_schema_is_sent_and_given_up_step_by_step(lab: Lab) -> None:
    schema = '{"type": "object", "additionalProperties": false}'
    structured = Sampling(20, json_schema=schema)
    chat = (Message("user", "Hi"),)
    assert lab.ask([chat], structured)[0].error is None
    assert lab.server.bodies[-1]["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "answer",
            "schema": {"type": "object", "additionalProperties": False},
            "strict": True,
        },
    }
    lab.server.rejects = frozenset({"response_format"})
    assert lab.ask([chat], structured)[0].error is None
    types = [body.get("response_format", {}).get("type") for body in lab.server.bodies[-3:]]
    assert types == ["json_schema", "json_object", None]


def test_log_probabilities_where_they_are_offered(lab: Lab) -> None:
    text, chat = lab.ask(["Hello", (Message("user", "Hi"),)], logprobs=True)
    for answer in (text, chat):
        np.testing.assert_array_equal(answer.logprobs, [-0.5] * answer.completion_tokens)
    assert len(lab.ask(["Hello"])[0].logprobs) == 0


def test_batches_of_several_threads_share_the_slots(lab: Lab) -> None:
    """The slots stay full although each batch has a slow row."""
    lab.server.latency = 0.05
    engine = lab.engine(concurrency=6)
    batches = [[Request(f"{b}-{i}", f"<{'500' * (i == 0)}> {b} {i}") for i in range(4)]
               for b in range(8)]  # fmt: skip
    results: dict[int, list[Completion]] = {}

    def work(number: int) -> None:
        results[number] = answers_to(engine, batches[number], GREEDY)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, batch in enumerate(batches):
        assert [a.text for a in results[number]] == [reply(str(r.prompt)) for r in batch]
    assert lab.server.peak == 6


def test_replicas_share_a_teachers_limits() -> None:
    teacher = OpenAITeacher.model_validate(
        {"requests_per_minute": 600, "resources": {"replicas": 3}}
    )
    alone = OpenAIOptions(requests_per_minute=200)
    one, three = OpenAIEngine(alone)._requests, OpenAIEngine(teacher)._requests
    assert one is not None
    assert three is not None
    assert [one.take(1, 0.0) for _ in range(9)] == [three.take(1, 0.0) for _ in range(9)]


def test_an_answer_is_on_the_disk_before_it_is_returned(lab: Lab, tmp_path: Path) -> None:
    """So are answers of a batch under way that nobody has called for again."""
    store = ResponseStore(Storage.open(tmp_path))
    engine = lab.engine(tmp_path, concurrency=8)
    asked = [Request(f"r{i}", f"Question {i}") for i in range(8)]
    lab.server.answers_at_most = 1
    first = engine.generate(asked, GREEDY)
    assert sum(answer is not None for answer in first) == 1
    lab.server.answers_at_most = 6
    while len(index := store.index(store.segments())) < 6:
        time.sleep(0.01)
    lab.server.answers_at_most = None
    answers = answers_to(engine, asked, GREEDY)
    assert {a.request_id: a.segment for a in answers}.items() > index.items()
    stored = store.read(store.index(store.segments()))
    assert {name: (s.text, s.prompt_tokens, s.completion_tokens) for name, s in stored.items()} == {
        a.request_id: (a.text, a.prompt_tokens, a.completion_tokens) for a in answers
    }


def test_errors_are_not_written(lab: Lab, tmp_path: Path) -> None:
    store = ResponseStore(Storage.open(tmp_path))
    prompts = ["<400> a", "<500> b", "<badjson> c", "<content_filter> d", "<length> e"]
    answers = lab.ask(prompts, journals=tmp_path)
    written = {a.request_id: a.segment for a in answers if a.error is None}
    assert written.keys() == {"r1", "r2", "r4"}
    assert written == store.index(store.segments())
    assert {a.segment for a in answers if a.error is not None} == {None}


def test_an_answer_that_cannot_be_written_is_left_to_the_driver(lab: Lab, tmp_path: Path) -> None:
    (answer,) = lab.ask(["Question"], journals=tmp_path / "not mounted")
    assert (answer.text, answer.segment) == (reply("Question"), None)


def test_answers_that_the_disk_does_not_keep_are_not_returned(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> None:
        raise OSError("input/output error")

    monkeypatch.setattr("baldistill.answers.journal.sync", broken)
    with pytest.raises(UserError, match="cannot be kept"):
        lab.ask(["Question"], journals=tmp_path)


def test_a_server_scores_nothing(lab: Lab) -> None:
    with pytest.raises(UserError, match="cannot score"):
        lab.engine().score([])


def test_the_environment_is_not_changed(lab: Lab) -> None:
    before = dict(os.environ)
    lab.ask(["Hello"])
    assert dict(os.environ) == before
    assert asyncio.all_tasks(lab.engines[0]._loop) == set()
