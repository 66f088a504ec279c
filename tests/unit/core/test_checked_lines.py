"""Lines with checksums hold any text, and show every damage."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.checked_lines import from_line, to_line

ANY_TEXT = st.text(st.characters())  # with surrogates and all that Unicode counts as line ends


@given(st.dictionaries(st.sampled_from(["request_id", "domain", "text"]), ANY_TEXT, min_size=1))
def test_any_text_is_one_line_and_comes_back(record):
    line = to_line(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert from_line(line[:-1]) == record
    assert json.loads(line).keys() == record.keys() | {"crc"}


@given(ANY_TEXT, st.data())
def test_a_changed_or_missing_byte_is_noticed(text, data):
    line = to_line({"text": text, "number": 17})[:-1]
    at = data.draw(st.integers(0, len(line) - 1))
    if data.draw(st.booleans()):
        damaged = line[:at] + line[at + 1 :]
    else:
        other = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[at]))
        damaged = line[:at] + bytes([other]) + line[at + 1 :]
    try:
        record = from_line(damaged)
    except ValueError:
        return
    # damage to the key `crc` itself makes the line one of an older version, with a further key
    assert record.items() >= {"text": text, "number": 17}.items()


def test_a_line_of_an_older_version_has_no_checksum():
    assert from_line(b'{"kind": "release", "request_id": "a"}') == {
        "kind": "release",
        "request_id": "a",
    }
    with pytest.raises(ValueError, match="no JSON object"):
        from_line(b"17")
