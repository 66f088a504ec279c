r"""R52 and Reuters: topics of newswire texts (Reuters-21578, the ModApte split).

Both have a label for each domain. What the paper says (section 4, table 1): 52 and 90 domains,
2,570 and 3,745 test rows.

- R52 is the documents with exactly one of the topics that have a training and a test document.
  `mingi-sid/r52-raw` holds them with their case and figures, 2,570 of them to test on: the paper's
  number. (The preprocessed R52 of Cardoso-Cachopo has 2,568.)
- Reuters is ApteMod: every document with a topic, and the 90 topics that have a training and a test
  document. A document may have several; 3,019 test documents with 1.24 topics each are some 3,745
  pairs of document and topic, so the paper has, and this recipe makes, one row for each pair. How
  the paper marks a document's second topic is not said; here each row has its own gold topic.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

from baldistill.data.recipes.row import Row
from baldistill.data.sources import Role

R52_COLUMNS = ("file", "label_id", "label", "text")
"""Of `r52-raw.txt`, which has no header: file id, label number, label, text; tab-separated."""

_SPLITS: dict[str, Role] = {"TRAIN": "train", "TEST": "evaluation"}


def r52(row: Mapping[str, Any]) -> Iterator[Row]:
    """Read a line of `r52-raw.txt`; its file id is `training/9865` or `test/14826`, as in NLTK."""
    split: Role = "evaluation" if str(row["file"]).startswith("test") else "train"
    label = str(row["label"]).strip()
    yield Row(label, str(row["text"]).strip(), label, split=split)


def reuters(row: Mapping[str, Any]) -> Iterator[Row]:
    r"""Read a document of Reuters-21578: `topics`, `title`, `text` (or `body`), `lewis_split`.

    In some copies the values are quoted as in the SGML (`"\"TRAIN\""`). Documents outside the
    split (NOT-USED) and documents without a topic give no row.
    """
    text = _unquoted(row.get("text") or row.get("body"))
    title = _unquoted(row.get("title"))
    if title and not text.startswith(title):
        text = f"{title}\n\n{text}".strip()
    lewis = _unquoted(row.get("lewis_split")).upper()
    if not text or (lewis and lewis not in _SPLITS):
        return
    for topic in dict.fromkeys(row.get("topics") or ()):
        yield Row(str(topic), text, str(topic), split=_SPLITS.get(lewis))


def _unquoted(value: object) -> str:
    text = str(value or "").strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return html.unescape(text.replace("\\n", "\n")).strip()
