"""The options of a teacher over HTTP: no secrets, and an identity of what decides the answers."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from baldistill.config.engines import BatchApi, OpenAIOptions
from baldistill.config.teachers import OpenAITeacher


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://me:sk-secret-123456@host/v1", "neither a user nor a query"),
        ("https://host/v1?api-key=sk-secret-123456", "neither a user nor a query"),
        ("127.0.0.1:8000/v1", "must begin with http"),
        ("ftp://host/v1", "must begin with http"),
    ],
)
def test_an_address_that_may_hold_a_secret_is_refused(url: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OpenAITeacher(base_url=url)


def test_the_address_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is then part of the config, so that another server is another teacher."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1/")
    assert OpenAITeacher(model="m").base_url == "http://127.0.0.1:1/v1"
    assert OpenAITeacher(model="m").identity == ("openai", "m@http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:secret@127.0.0.1:1/v1")
    with pytest.raises(ValidationError, match="neither a user nor a query"):
        OpenAITeacher(model="m")
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert OpenAITeacher(model="m").identity == ("openai", "m")


def test_the_identity_is_what_decides_the_answers() -> None:
    one = OpenAITeacher(model="m")
    same = {"concurrency": 3, "timeout_s": 1, "patience_s": 2, "logprobs": True, "max_retries": 0}
    same |= {"requests_per_minute": 9, "tokens_per_minute": 9, "api_key_env": "X"}
    assert OpenAITeacher.model_validate({"model": "m", **same}).identity == one.identity
    for option in ({"api": "chat"}, {"bos": "<s>"}, {"extra_body": {"reasoning_effort": "low"}}):
        other = OpenAITeacher.model_validate({"model": "m", **option})
        assert other.identity != one.identity


def test_the_batch_api_is_not_part_of_the_identity() -> None:
    one, batch = (
        OpenAITeacher.model_validate({"model": "m", "batch_api": b}) for b in (False, True)
    )
    assert (one.batch_api, batch.batch_api) == (None, BatchApi())
    assert one.signature() == batch.signature()
    assert one.identity == batch.identity
    assert (one.finds_again, batch.finds_again) == (False, True)
    assert batch.threads(8, on_gpu=False) == BatchApi().batches < one.threads(8, on_gpu=False)


def test_the_rows_under_way_follow_the_concurrency() -> None:
    engine = OpenAIOptions(concurrency=100)
    for batch_size in (1, 8, 64):  # four times what is in flight, and less than a batch more
        rows = engine.threads(batch_size, on_gpu=False) * batch_size
        assert 400 <= rows < 400 + batch_size
    assert OpenAIOptions(concurrency=1).threads(8, on_gpu=False) == 4
    assert OpenAIOptions(concurrency=4096).threads(1, on_gpu=False) == 2048


def test_rates_of_requests_are_refused_with_batches() -> None:
    with pytest.raises(ValidationError, match=r"say nothing about batch_api.*leave them out"):
        OpenAITeacher.model_validate({"batch_api": {}, "requests_per_minute": 3})
    with pytest.raises(ValidationError, match="completion_window"):
        OpenAITeacher.model_validate({"batch_api": {"completion_window": "soon"}})
    with pytest.raises(ValidationError, match="less than or equal to 50000"):
        OpenAITeacher.model_validate({"batch_api": {"rows": 50_001}})
