"""Secrets in text are masked, however the text spells them, and before it is cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.masking import MASK, masked_key, masked_start, masked_text, masked_urls
from baldistill.uris import holds_secret, masked

CANARY = "canary0123456789"
SECRET_URLS = [
    f"https://user:{CANARY}@host/v1",
    f"https://{CANARY}@host/v1",
    f"s3://AKIAKEY:{CANARY}@bucket/run?region=us-east-1",
    f"https://b.s3.amazonaws.com/a.jsonl?X-Amz-Algorithm=AWS4&X-Amz-Signature={CANARY}&x=1",
    f"https://b.s3.amazonaws.com/a.jsonl?AWSAccessKeyId=AKIA&Signature={CANARY}%3D&Expires=1",
    f"https://a.blob.core.windows.net/c/a.jsonl?sv=2020&sp=r&sig={CANARY}%2B",
    f"https://storage.googleapis.com/b/o?X-Goog-Credential=a%2Fb&X-Goog-Signature={CANARY}",
    f"http://host/v1?api_key={CANARY}",
    f"http://host/v1?key={CANARY}&a=b",
    f"abfs://c@a.dfs.core.windows.net/run?sas_token={CANARY}",
]
SECRET_TEXTS = [
    *SECRET_URLS,
    f"Incorrect API key: Bearer {CANARY}",
    f"authorization: Basic {CANARY}",
    f'{{"Authorization": "Bearer {CANARY}", "x": 1}}',
    f"{{'api_key': '{CANARY}'}}",
    f"api_key={CANARY}, x-api-key: {CANARY}",
    f"password={CANARY}; AccountKey={CANARY}==",
    f"sk-proj-{CANARY}",
    f"hf_{CANARY}abcdefgh",
]
HARMLESS = [
    "s3://bucket/runs?endpoint_override=127.0.0.1:5000&scheme=http",
    "abfs://container@account.dfs.core.windows.net/run",
    "hdfs://user@namenode:8020/run",
    "a/b?c.jsonl",
    "budget.tokens=100000 teacher.api_key_env=OPENAI_API_KEY student.max_length=512",
    "the key: read the signature of the function, and bear the token of it: bearer of news",
    "teacher.patience_s=600 allows: max_tokens=12, prompt_tokens: 300",
    "{'prompt_tokens': 12345678, 'completion_tokens': 12345678}",
]


@pytest.mark.parametrize("text", SECRET_TEXTS)
def test_secrets_are_masked(text: str) -> None:
    for around in (text, f"could not read {text}: no luck", json.dumps({"message": text})):
        shown = masked_text(around)
        assert CANARY[:6] not in shown
        assert MASK in shown
        assert masked_text(shown) == shown


@pytest.mark.parametrize("uri", SECRET_URLS)
def test_urls_with_secrets_are_known_and_shown_without(uri: str) -> None:
    assert holds_secret(uri)
    assert CANARY[:6] not in masked(uri)
    assert CANARY[:6] not in masked_urls(f"see {uri}, and {uri}")


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert masked_text(text) == masked_urls(text) == text
    assert not holds_secret(text)


def test_secrets_of_the_environment_are_masked_by_their_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOME_SERVICE_API_KEY", "zebra-crossing-77")
    monkeypatch.setenv("A_TOKEN", "none")
    assert masked_text("it is zebra-crossing-77, none other") == f"it is {MASK}, none other"
    assert masked_text("it is", ["zebra"]) == "it is"


@given(st.text(min_size=8), st.text(), st.text())
def test_a_key_is_masked_however_a_text_spells_it(key: str, before: str, after: str) -> None:
    for spelled in (key, repr(key)[1:-1], json.dumps(key)[1:-1]):
        assert masked_key(f"{before}{spelled}{after}", key) == (
            before.replace(key, MASK) + MASK + after.replace(key, MASK)
        ) or key not in masked_key(f"{before}{spelled}{after}", key)


@given(st.integers(0, 30_000))
def test_no_half_of_a_key_is_left_at_the_end(start: int) -> None:
    shown = masked_start("x " * (start // 2) + CANARY + " y" * 10_000, [CANARY])
    assert CANARY[:3] not in shown
    assert len(shown) >= 10_000


@pytest.mark.parametrize(
    "piece", ["token", "?", "://a:", "authorization: ", "secret_key", "Bearer ", "a", "https://"]
)
def test_a_text_that_is_made_to_be_slow_is_masked_soon(piece: str) -> None:
    """The patterns are bounded: without that these took hours, and held up the event loop."""
    text = "https://@?" + piece * (16_000 // len(piece)) + f"&sig={CANARY}"
    assert CANARY not in masked_text(text)
