"""The Batch API engine against a real server: nothing is sent twice, whatever goes wrong."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.batch_server import BatchServer
from servers.fault_server import FaultServer, reply, running

from baldistill.answers.completion import Completion
from baldistill.config.engines import OpenAIOptions
from baldistill.errors import UserError
from baldistill.generation.engine import EngineStoppedError
from baldistill.generation.factory import build_engine
from baldistill.generation.openai import limits, outage
from baldistill.generation.openai.batch import files
from baldistill.generation.openai.batch.engine import OpenAIBatchEngine
from baldistill.generation.openai.batch.files import batch_files, may_hold, metadata_of
from baldistill.generation.types import Message, ModelRef, Request, Sampling

GREEDY = Sampling(max_new_tokens=20)
KEY = "sk-very-secret-0123456789"


class Lab:
    """A server, and engines that ask it, each like a process of its own."""

    def __init__(self, server: BatchServer, url: str) -> None:
        self.server, self.url = server, url
        self.engines: list[OpenAIBatchEngine] = []

    def engine(self, **options: Any) -> OpenAIBatchEngine:
        chosen: dict[str, Any] = {"base_url": self.url, "timeout_s": 30, "patience_s": 20}
        chosen["batch_api"] = {"poll_s": 0.02}
        engine = build_engine(OpenAIOptions(**{**chosen, **options}))
        assert isinstance(engine, OpenAIBatchEngine)
        engine.load(ModelRef("some-model"))
        self.engines.append(engine)
        return engine

    def ask(
        self, prompts: Sequence[Any], sampling: Sampling = GREEDY, **options: Any
    ) -> list[Completion]:
        return self.engine(**options).generate(requests(prompts), sampling)

    def begin(self, prompts: Sequence[Any], **options: Any) -> None:
        """An engine that is forgotten while its batch is in progress, as by a SIGKILL."""
        engine, created = self.engine(**options), self.server.calls["create"]
        threading.Thread(
            target=lambda: engine.generate(requests(prompts), GREEDY), daemon=True
        ).start()
        while self.server.calls["create"] == created:
            time.sleep(0.01)
        while not engine._under_way:
            time.sleep(0.01)
        engine._loop.call_soon_threadsafe(engine._loop.stop)
        engine._thread.join()
        self.engines.remove(engine)


def requests(prompts: Sequence[Any]) -> list[Request]:
    return [Request(f"id of {prompt}", prompt, seed=2**50) for prompt in prompts]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(limits, "_BACKOFF_S", 0.02)
    server = BatchServer()
    with running(server) as url:
        lab = Lab(server, url)
        yield lab
        for engine in lab.engines:
            engine.close()


def test_a_batch_is_answered_in_order_with_the_servers_counts(lab: Lab) -> None:
    lab.server.looks = 3
    prompts = [f"Question number {i}" for i in range(50)]
    answers = lab.ask(prompts)
    assert [answer.text for answer in answers] == [reply(prompt) for prompt in prompts]
    assert {(a.prompt_tokens, a.completion_tokens) for a in answers} == {(3, 5)}
    assert (lab.server.calls["create"], lab.server.calls["upload"]) == (1, 1)
    batch = lab.server.batches["batch_1"].fields
    assert (batch["completion_window"], batch["endpoint"]) == ("24h", "/v1/completions")
    assert batch["metadata"]["model"] == "some-model"


def test_texts_and_chats_are_batches_of_their_own(lab: Lab) -> None:
    chat = (Message("system", "Be brief."), Message("user", "Why?"))
    sampled = Sampling(20, temperature=0.7, top_p=0.9)
    text, turns = lab.ask(["Hello", chat], sampled, bos="<s>", extra_body={"user": "me"})
    assert (text.text, turns.text) == (reply("<s>Hello"), reply("Why?"))
    rows = [batch.rows[0] for batch in lab.server.batches.values()]
    shared = {"model": "some-model", "max_tokens": 20, "temperature": 0.7, "top_p": 0.9,
              "user": "me", "seed": 2**50 & 0x7FFFFFFF}  # fmt: skip
    bodies = {row["url"]: row["body"] for row in rows}
    assert bodies["/v1/completions"] == {"prompt": "<s>Hello", **shared}
    turn = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert bodies["/v1/chat/completions"] == {"messages": turn, **shared}
    assert {row["method"] for row in rows} == {"POST"}


def test_answers_with_any_ends_of_lines_are_read_whole(lab: Lab) -> None:
    prompt = "one\u2028two\x85three \U0001f600 fünf"
    assert lab.ask([prompt])[0].text == reply(prompt)  # its id is in the output, too


@pytest.mark.parametrize("step", ["429", "500", "503", "408", "nochoices", "strange",
                                  "expire", "missing"])  # fmt: skip
def test_rows_that_fail_are_sent_again_and_no_others(lab: Lab, step: str) -> None:
    prompt = f"<{step} {step}> What is it?"
    fine, mended = lab.ask(["Fine", prompt])
    assert (fine.text, mended.text) == (reply("Fine"), reply(prompt))
    assert lab.server.submitted == {"Fine": 1, prompt: 3}


@pytest.mark.parametrize(
    ("step", "words"),
    [("429", "too many requests"), ("500", "server error"), ("strange", "unusable answer"),
     ("expire", "batch expired"), ("missing", "unusable answer")],
)  # fmt: skip
def test_a_row_that_fails_every_time_is_an_error_row(lab: Lab, step: str, words: str) -> None:
    prompt = f"<{step} {step} {step}> Never"
    lost, fine = lab.ask([prompt, "Fine"], max_retries=1)
    assert lost.error is not None
    assert lost.error.partition(":")[0] == words
    assert lab.server.submitted == {"Fine": 1, prompt: 2}
    assert fine.text == reply("Fine")


def test_many_failing_rows_do_not_stop_a_run_with_answers(lab: Lab) -> None:
    prompts = [f"<500 500> {i}" for i in range(20)]
    *lost, fine = lab.ask([*prompts, "Fine"], max_retries=1)
    assert fine.error is None
    assert {answer.error for answer in lost} == {"server error: no luck (HTTP 500)"}
    with pytest.raises(EngineStoppedError, match="none of the last 10 rows: server error"):
        lab.ask([f"<500 500> new {i}" for i in range(20)], max_retries=1)


def test_many_refused_rows_do_not_stop_a_run(lab: Lab) -> None:
    """A 403 among answers does not stop it either: gateways give it to a moderated input."""
    *lost, moderated, fine = lab.ask([*[f"<400> {i}" for i in range(20)], "<403> x", "Fine"])
    assert {answer.error is None for answer in lost} == {False}
    assert moderated.error == "request refused: no luck (HTTP 403)"
    assert fine.error is None
    assert all(a.error for a in lab.ask([f"<400> new {i}" for i in range(20)]))


def test_refused_and_withheld_rows_are_error_rows_at_once(lab: Lab) -> None:
    long, cut, withheld, fine = lab.ask(["<400> a", "<length> b", "<content_filter> c", "Fine"])
    assert long.error == (
        "request refused: This model's maximum context length is 512 tokens (HTTP 400)"
    )
    assert (cut.finish_reason, cut.error) == ("length", None)
    assert withheld.error is not None
    assert withheld.error.startswith("content filter:")
    assert fine.error is None
    assert lab.server.calls["create"] == 1


def test_fields_that_the_server_rejects_are_left_out_of_the_next_batch(lab: Lab) -> None:
    lab.server.rejects = frozenset({"seed", "max_tokens"})
    engine = lab.engine(api="chat", max_retries=0)
    sampled = Sampling(20, temperature=0.5)
    asked = requests([f"Question {i}" for i in range(4)])
    assert all(answer.error is None for answer in engine.generate(asked, sampled))
    assert lab.server.calls["create"] == 3  # one for each field
    assert "takes no seed, it is left out" in engine.notice()
    assert engine.generate(requests(["New"]), sampled)[0].error is None
    assert lab.server.calls["create"] == 4
    # another process knows it from the metadata
    assert lab.ask(["Newer"], sampled, api="chat", max_retries=0)[0].error is None
    assert lab.server.calls["create"] == 5


# ------------------------------------------------------------------ nothing is paid twice


def test_a_later_process_waits_for_a_batch_under_way(lab: Lab) -> None:
    lab.server.held = True
    prompts = [f"Question {i}" for i in range(30)]
    lab.begin(prompts[:10])
    lab.begin(prompts[10:20])
    engine = lab.engine()
    answers: list[Completion] = []
    thread = threading.Thread(target=lambda: answers.extend(
        engine.generate(requests(prompts[5:]), GREEDY)
    ))  # fmt: skip
    thread.start()
    while lab.server.calls["create"] < 3:  # what was never sent does not wait
        time.sleep(0.01)
    lab.server.held = False
    thread.join()
    assert [a.text for a in answers] == [reply(prompt) for prompt in prompts[5:]]
    assert set(lab.server.submitted.values()) == set(lab.server.answered.values()) == {1}
    assert lab.server.calls["content:batch"] == 2  # two input files, each once


def test_calls_that_want_the_same_batch_read_it_once(lab: Lab) -> None:
    lab.server.held = True
    prompts = [f"Question {i}" for i in range(40)]
    lab.begin(prompts)
    engine = lab.engine()
    answers: dict[int, list[Completion]] = {}

    def work(part: int) -> None:
        answers[part] = engine.generate(requests(prompts[part::4]), GREEDY)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    while lab.server.calls["list"] < 4 or not engine._under_way:
        time.sleep(0.01)
    time.sleep(0.1)
    lab.server.held = False
    for thread in threads:
        thread.join()
    for part in range(4):
        assert [a.text for a in answers[part]] == [reply(p) for p in prompts[part::4]]
    assert set(lab.server.submitted.values()) == {1}
    assert lab.server.calls["content:batch_output"] == 1


def test_a_withheld_input_file_is_not_needed(lab: Lab) -> None:
    lab.server.gives = ("batch_output",)
    lab.server.held = True
    lab.begin(["a", "b"])
    lab.server.held = False
    lab.server.looks = 5
    assert [a.text for a in lab.ask(["a", "b", "c"])] == [reply(p) for p in "abc"]
    assert set(lab.server.submitted.values()) == {1}


def test_only_ended_batches_that_may_hold_the_requests_are_read(lab: Lab) -> None:
    """One of eight batches is downloaded; rows that failed in it are sent again."""
    groups = [[f"Group {g} question {i}" for i in range(20)] for g in range(8)]
    groups[3][7] = "<500 500 500> x"
    for group in groups:
        lab.ask(group, max_retries=0)
    downloads = lab.server.calls["content:batch_output"]
    again = lab.ask([*groups[3], "New"])
    assert [a.text for a in again] == [reply(prompt) for prompt in [*groups[3], "New"]]
    assert lab.server.calls["content:batch_output"] == downloads + 5  # an old one, four new
    twice = {prompt for prompt, times in lab.server.submitted.items() if times > 1}
    assert twice == {groups[3][7]}
    lab.ask(groups[0], batch_api={"poll_s": 0.02, "rows": 5})  # limits decide no identity
    assert lab.server.submitted[groups[0][0]] == 1
    engine = lab.engine()
    engine.load(ModelRef("another"))
    engine.generate(requests(groups[0][:1]), GREEDY)
    assert lab.server.submitted[groups[0][0]] == 2


def test_rows_of_a_lost_output_are_sent_again(lab: Lab) -> None:
    lab.ask(["a", "b"])
    lab.server.files.clear()
    assert [a.text for a in lab.ask(["a", "b"])] == [reply("a"), reply("b")]
    assert lab.server.submitted == {"a": 2, "b": 2}


@pytest.mark.parametrize("fault", ["lost", "drop", "500", "503", "429", "html", "badjson"])
@pytest.mark.parametrize("kind", ["upload", "create", "retrieve", "list", "content"])
def test_calls_about_batches_are_repeated_and_create_one_batch(
    lab: Lab, kind: str, fault: str
) -> None:
    """Also where the server did the work and its answer did not arrive."""
    lab.server.faults[kind] = [fault, fault]
    assert [a.text for a in lab.ask(["a", "b"])] == [reply("a"), reply("b")]
    assert lab.server.submitted == {"a": 1, "b": 1}
    assert len(lab.server.batches) == 1


@pytest.mark.parametrize(
    "fault",
    ["raw:body_deep", "raw:gzip_bomb", "raw:http_noise", "raw:error_500_noise", "json:[1]",
     'json:{"id": {}, "status": []}', "json:NaN"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["upload", "create", "retrieve", "list", "content"])
def test_calls_about_batches_get_over_hostile_answers(lab: Lab, kind: str, fault: str) -> None:
    lab.server.faults[kind] = [fault]
    assert [a.text for a in lab.ask(["a", "b"])] == [reply("a"), reply("b")]
    assert lab.server.submitted == {"a": 1, "b": 1}


def test_a_list_of_batches_without_an_end_is_read_once(lab: Lab) -> None:
    lab.ask(["a"])
    page = json.dumps({"data": [next(iter(lab.server.batches.values())).fields], "has_more": True})
    lab.server.faults["list"] = [f"json:{page}"] * 50
    assert [a.text for a in lab.ask(["a"])] == [reply("a")]
    assert len(lab.server.faults["list"]) == 48  # the second page has nothing new


def test_the_user_learns_that_a_server_keeps_no_metadata(lab: Lab) -> None:
    lab.server.keeps_metadata = False
    engine = lab.engine()
    assert engine.generate(requests(["a"]), GREEDY)[0].error is None
    assert "keeps no metadata of batches: after a crash those under way are sent" in engine.notice()


# ----------------------------------------------------------------------- how batches end


def test_answers_of_an_expired_batch_are_kept_and_the_rest_sent_again(lab: Lab) -> None:
    lab.server.endings = ["expired", "expired"]
    prompts = [f"Question {i}" for i in range(8)]
    assert [a.text for a in lab.ask(prompts)] == [reply(prompt) for prompt in prompts]
    assert sorted(lab.server.submitted.values()) == [1, 1, 1, 1, 2, 2, 3, 3]
    assert set(lab.server.answered.values()) == {1}


def test_a_cancelled_batch_stops_and_its_answers_are_kept(lab: Lab) -> None:
    lab.server.endings = ["cancelled"]
    with pytest.raises(EngineStoppedError, match="batch_1 was cancelled at http") as raised:
        lab.ask(["a", "b", "c"])
    assert [a is not None and a.text for a in raised.value.answered] == [
        reply("a"), False, reply("c")
    ]  # fmt: skip
    assert [a.text for a in lab.ask(["a", "b", "c"])] == [reply(p) for p in "abc"]
    assert lab.server.submitted == {"a": 1, "b": 2, "c": 1}


def test_a_batch_that_is_cancelled_while_a_later_run_waits_for_it_stops_that_run(lab: Lab) -> None:
    lab.server.held = True
    lab.server.endings = ["cancelled"]
    lab.begin(["a", "b", "c"])
    lab.server.held = False
    next(iter(lab.server.batches.values())).looks = 2  # it is still under way when it is found
    with pytest.raises(EngineStoppedError, match="was cancelled at http") as raised:
        lab.ask(["a", "b", "c"])
    assert [a is not None for a in raised.value.answered] == [True, False, True]
    assert raised.value.charged
    assert lab.server.submitted == {"a": 1, "b": 1, "c": 1}


def test_a_batch_that_fails_stops_with_the_reason(lab: Lab) -> None:
    lab.server.endings = ["failed:model_not_found"]
    with pytest.raises(EngineStoppedError, match=r"batch_1: batch failed: it is model_not_found"):
        lab.ask(["a"])


def test_a_full_queue_is_waited_for(lab: Lab) -> None:
    full = "failed:token_limit_exceeded"
    lab.server.endings = [full, full]
    assert lab.ask(["a"])[0].text == reply("a")
    assert lab.server.calls["upload"] == 1
    lab.server.endings = [full] * 50
    with pytest.raises(EngineStoppedError, match=r"Lower teacher\.batch_api\.rows=1000, or wait"):
        lab.ask(["b"], patience_s=0.3)


def test_a_full_queue_waits_for_our_own_batches(lab: Lab) -> None:
    """For any time: `patience_s` is for a server that accepts no batch at all."""
    engine = lab.engine(patience_s=0.1)
    lab.server.held = True
    first = threading.Thread(target=lambda: engine.generate(requests(["a"]), GREEDY))
    first.start()
    while not engine._under_way:
        time.sleep(0.01)
    answers: list[Completion] = []
    second = threading.Thread(target=lambda: answers.extend(
        engine.generate(requests(["b"]), GREEDY)
    ))  # fmt: skip
    lab.server.endings = ["failed:token_limit_exceeded"]
    second.start()
    while len(lab.server.batches) < 2:
        time.sleep(0.01)
    lab.server.batches["batch_3"].fields |= {"status": "failed", "errors": {
        "data": [{"code": "token_limit_exceeded", "message": "full"}]
    }}  # fmt: skip
    time.sleep(0.4)
    assert len(lab.server.batches) == 2
    lab.server.held = False
    second.join()
    first.join()
    assert [a.text for a in answers] == [reply("b")]


# ------------------------------------------------------------------------------ refusals


def test_a_server_without_a_batch_api_is_an_error_at_once(lab: Lab) -> None:
    with (
        running(FaultServer()) as url,
        pytest.raises(EngineStoppedError, match=r"has no Batch API: .*Leave teacher\.batch_api"),
    ):
        lab.ask(["a"], base_url=url)


@pytest.mark.parametrize("kind", ["list", "upload", "create"])
def test_a_refusal_stops_at_once(lab: Lab, kind: str) -> None:
    lab.server.faults[kind] = ["400"]
    with pytest.raises(EngineStoppedError, match="request refused: no luck"):
        lab.ask(["a"])
    lab.server.faults[kind] = ["404"]
    with pytest.raises(EngineStoppedError, match=r"no Batch API: refused: no luck \(HTTP 404\)"):
        lab.ask(["a"])


@pytest.mark.parametrize(
    ("step", "message"),
    [("401", "key refused: .* The key is read from OPENAI_API_KEY, which is set on"),
     ("404", r"does not exist.*Check teacher.model \('some-model'\)"),
     ("quota", "no credit left: You exceeded your current quota")],
)  # fmt: skip
def test_a_row_that_refuses_everything_stops_and_keeps_the_others(
    lab: Lab, step: str, message: str
) -> None:
    engine = lab.engine()
    asked = requests(["Fine", f"<{step}> a", "Good"])
    with pytest.raises(EngineStoppedError, match=message) as raised:
        engine.generate(asked, GREEDY)
    assert [a is not None for a in raised.value.answered] == [True, False, True]
    engine.resume()  # once it is mended
    assert [a.error for a in engine.generate(asked, GREEDY)] == [None] * 3
    assert lab.server.submitted == {"Fine": 1, f"<{step}> a": 2, "Good": 1}


def test_no_key_reaches_an_error(lab: Lab) -> None:
    lab.server.key = "sk-another"
    with pytest.raises(EngineStoppedError, match="OPENAI_API_KEY, which is set") as raised:
        lab.ask(["Hello"])
    assert "secret" not in f"{raised.value!r} {raised.value.__context__!r} {lab.engines[0]!r}"


def test_a_server_that_is_away_is_waited_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "_REFUSALS", 2)
    lab.server.held = True
    engine = lab.engine(timeout_s=5)
    answers: list[Completion] = []
    thread = threading.Thread(target=lambda: answers.extend(
        engine.generate(requests(["a"]), GREEDY)
    ))  # fmt: skip
    thread.start()
    while not engine._under_way:
        time.sleep(0.01)
    lab.server.faults["any"] = ["drop"] * 10
    while "has not answered for " not in engine.notice():
        time.sleep(0.01)
    lab.server.held = False
    lab.server.faults.clear()
    thread.join()
    assert [a.text for a in answers] == [reply("a")]
    with running(FaultServer()) as url:
        pass  # nobody listens there any more
    with pytest.raises(EngineStoppedError, match=r"longer than teacher\.patience_s=0\.5 allows"):
        lab.ask(["Hello"], base_url=url, patience_s=0.5)


def test_progress_is_in_the_notices(lab: Lab) -> None:
    lab.server.held = True
    engine = lab.engine()
    thread = threading.Thread(target=lambda: engine.generate(requests("abc"), GREEDY))
    thread.start()
    while not (told := engine.notice()):
        time.sleep(0.01)
    assert told == "batch batch_1: 0 of 3 answered"
    engine._next_progress = 0.0
    assert engine.notice() == ""  # nothing new
    lab.server.batches["batch_1"].fields["request_counts"]["completed"] = 2
    while not (told := engine.notice()):
        time.sleep(0.01)
    assert told == "batch batch_1: 2 of 3 answered"
    lab.server.held = False
    thread.join()
    assert engine.notice() == ""


def test_a_server_scores_nothing(lab: Lab) -> None:
    with pytest.raises(UserError, match="cannot score"):
        lab.engine().score([])


# ------------------------------------------------------------------------ files and metadata


def test_files_keep_to_the_servers_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: dict[str, dict[str, Any]] = {f"r{i}": {"prompt": "x" * (i % 50)} for i in range(100)}
    whole = batch_files(bodies)
    assert len(whole) == 1
    monkeypatch.setattr(files, "MOST_ROWS", 30)
    monkeypatch.setattr(files, "MOST_BYTES", 2000)
    several = batch_files(bodies)
    assert b"".join(file.content for file in several) == whole[0].content
    assert {name: body for file in several for name, body in file.bodies.items()} == bodies
    for file in several:
        lines = file.content.splitlines()
        assert [json.loads(line)["custom_id"] for line in lines] == list(file.bodies)
        assert len(lines) <= 30
        assert len(file.content) <= 2000
    assert len(several) < 12


@given(st.sets(st.text(min_size=1), min_size=1), st.sets(st.text(min_size=1)))
def test_metadata_deny_no_request_of_the_batch(names: set[str], others: set[str]) -> None:
    metadata = metadata_of("m", sorted(names))
    assert names <= may_hold(metadata, "m", sorted(names | others))
    assert may_hold(metadata, "another", sorted(names)) == set()


@pytest.mark.parametrize(("count", "most_wrong"), [(1, 0), (1000, 0), (1500, 3), (50_000, 90_000)])
def test_metadata_are_small_and_tell_requests_apart(count: int, most_wrong: int) -> None:
    names = [f"{i:032x}" for i in range(count)]
    metadata = metadata_of("m" * 600, names)
    assert len(metadata) <= 16
    assert all(len(value) <= 512 for value in metadata.values())
    assert may_hold(metadata, "m" * 600, names) == set(names)
    others = [f"other {i}" for i in range(100_000)]
    assert len(may_hold(metadata, "m" * 600, others)) <= most_wrong


def test_damaged_metadata_deny_nothing() -> None:
    metadata = metadata_of("m", ["a", "b"])
    shortened = {key: value[:8] for key, value in metadata.items()}
    assert (
        may_hold(shortened, "m", ["a", "x"])
        == {"a", "x"}
        == may_hold({**metadata, "count": "?"}, "m", ["a", "x"])
    )
    assert may_hold({"somebody": "else"}, "m", ["a"]) == may_hold({}, "m", ["a"]) == set()
