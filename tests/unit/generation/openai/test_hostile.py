"""One engine and a server that gives it every hostile answer there is."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest
from servers.asking import answers_to
from servers.fault_server import FaultServer, reply, running
from servers.hostile import ANSWERS, BOMB_BYTES, moved

from baldistill.answers.completion import Completion
from baldistill.config.engines import OpenAIOptions
from baldistill.generation.engine import EngineStoppedError
from baldistill.generation.openai import limits
from baldistill.generation.openai.engine import OpenAIEngine
from baldistill.generation.types import Message, ModelRef, Request, Sampling

KEY = "canary-0123456789abcdef"
ASKED = Sampling(max_new_tokens=20)
SLOW = {"http_drip", "error_500_retry_later"}  # these end by a time limit


@pytest.fixture
def server() -> Iterator[tuple[FaultServer, str]]:
    server = FaultServer()
    with running(server) as url:
        yield server, url


@pytest.fixture
def engines(
    server: tuple[FaultServer, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[OpenAIEngine]]:
    """An engine that is patient, and one that is not."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(limits, "_BACKOFF_S", 0.02)
    engines = []
    for timeout, patience in ((60.0, 60.0), (0.5, 0.5)):
        options = OpenAIOptions(
            base_url=server[1], timeout_s=timeout, patience_s=patience, max_retries=5
        )
        engines.append(OpenAIEngine(options))
        engines[-1].load(ModelRef("m"))
    yield engines
    for engine in engines:
        engine.close()


def request(name: str, *, chat: bool = False) -> Request:
    """Return a request whose first answer is hostile."""
    prompt = f"<raw:{name}> What is it {'in a chat' if chat else 'as a text'}?"
    return Request(prompt, (Message("user", prompt),) if chat else prompt)


def assert_valid(completion: Completion) -> None:
    assert type(completion.prompt_tokens) is type(completion.completion_tokens) is int
    assert completion.prompt_tokens >= 0 <= completion.completion_tokens
    said = f"{completion.text} {completion.error}"
    said.encode()
    assert KEY[:10] not in said


def test_every_hostile_answer_becomes_a_completion_or_a_fault(
    server: tuple[FaultServer, str], engines: list[OpenAIEngine]
) -> None:
    """A text that is whole is taken at once; what is asked again gets a good answer."""
    engine = engines[0]
    names = [n for n, answer in ANSWERS.items() if not answer.may_stop and n not in SLOW]
    asked = [request(name, chat=chat) for name in names for chat in (False, True)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers = dict(zip(asked, answers_to(engine, asked, ASKED), strict=True))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    assert grown << 10 < BOMB_BYTES
    for row, answer in answers.items():
        assert_valid(answer)
        prompt = row.request_id
        name = prompt[len("<raw:") : prompt.index(">")]
        if ANSWERS[name].keeps_text:
            assert answer.error is None, name
            assert answer.text.removesuffix(" Bearer ***") == reply(prompt), name
            assert server[0].received[prompt] == 1, name
    assert sum(answer.error is None for answer in answers.values()) > 150
    assert server[0].hostilities.keys() == set(names)
    assert {(a.error or "answered").partition(":")[0] for a in answers.values()} == {
        "answered", "model refused", "request refused",
    }  # fmt: skip
    notice = engine.notice()
    assert notice.count("impossible token counts with 1 answers") == 1
    assert "impossible token counts with 10 answers" in notice


@pytest.mark.parametrize("name", [name for name, answer in ANSWERS.items() if answer.may_stop])
def test_an_engine_that_a_hostile_answer_stops_says_why_and_goes_on(
    server: tuple[FaultServer, str], engines: list[OpenAIEngine], name: str
) -> None:
    asked = [request(name)]
    try:
        answers = answers_to(engines[0], asked, ASKED)
    except EngineStoppedError as stopped:
        assert_shown(stopped)
        engines[0].resume()
        answers = answers_to(engines[0], asked, ASKED)
    assert_valid(answers[0])
    (fine,) = answers_to(engines[0], [Request("fine", "Fine")], ASKED)
    assert fine.text == reply("Fine")


def assert_shown(stopped: EngineStoppedError) -> None:
    str(stopped).encode()
    assert KEY[:10] not in str(stopped)
    assert stopped.answered == (None,)


@pytest.mark.parametrize("name", sorted(SLOW))
def test_an_answer_that_does_not_end_ends_by_the_time_limit(
    engines: list[OpenAIEngine], name: str
) -> None:
    (answer,) = answers_to(engines[1], [request(name)], ASKED)
    assert_valid(answer)


def test_a_call_that_the_server_took_and_hung_up_on_is_another_call(
    server: tuple[FaultServer, str], engines: list[OpenAIEngine]
) -> None:
    """It may be charged for, so the ledger decides whether it is made again."""
    (answer,) = engines[0].generate([request("http_nothing")], ASKED)
    assert answer is not None
    assert answer.retriable
    assert server[0].received.total() == 1


@pytest.mark.parametrize("name", ["moved_elsewhere", "moved_elsewhere_301"])
def test_a_redirect_to_another_server_is_not_followed(
    engines: list[OpenAIEngine], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The other server, which would answer, is sent nothing, and the message names it."""
    other = FaultServer()
    with running(other) as url:
        monkeypatch.setitem(ANSWERS, name, moved(f"{url}/chat/completions"))
        with pytest.raises(EngineStoppedError, match="redirected to another server") as stopped:
            answers_to(engines[0], [request(name)], ASKED)
    assert f"sends requests on to {url.removesuffix('/v1')}, where neither" in str(stopped.value)
    assert not other.received


def test_a_redirect_on_the_same_server_is_followed(
    server: tuple[FaultServer, str], engines: list[OpenAIEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ANSWERS, "moved_elsewhere", moved("/v1/moved/completions"))
    (answer,) = answers_to(engines[0], [request("moved_elsewhere")], ASKED)
    assert answer.text == reply("<raw:moved_elsewhere> What is it as a text?")
    assert server[0].received.total() == 2


def test_a_request_that_a_closed_connection_did_not_take_is_no_further_call(
    server: tuple[FaultServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server hangs up after each answer and does not say so."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    engine = OpenAIEngine(OpenAIOptions(base_url=server[1], concurrency=32))
    engine.load(ModelRef("m"))
    left = [request(f"usage_true> {number} <") for number in range(300)]
    lost: list[str] = []
    while left:
        answers = dict(zip(left, engine.generate(left, ASKED), strict=True))
        lost += [answer.error for answer in answers.values() if answer and answer.error]
        left = [row for row, answer in answers.items() if answer is None or answer.error]
    engine.close()
    assert not [error for error in lost if "Can not write" in error]
    assert server[0].received.total() == 300
