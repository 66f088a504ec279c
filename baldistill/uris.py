"""Paths and URIs as users write them: joining names, and no secrets in them.

A URI may end in a query that belongs to the filesystem, not to the path:
`s3://bucket/runs?endpoint_override=127.0.0.1:5000&scheme=http`.
"""

from __future__ import annotations

import re

from baldistill.masking import masked_urls

_QUERY = re.compile(r"\?[A-Za-z_]\w*=[^/*?\[\]]*(&[A-Za-z_]\w*=[^/*?\[\]]*)*$")


def split_query(uri: str) -> tuple[str, str]:
    """Return a URI without its query, and the query with its question mark; paths have none."""
    found = _QUERY.search(uri) if "://" in uri else None
    return (uri[: found.start()], found.group()) if found else (uri, "")


def join(uri: str, name: str) -> str:
    """Return the path or URI of a name in a folder."""
    base, query = split_query(uri)
    return f"{base.rstrip('/')}/{name}{query}"


def holds_secret(uri: str) -> bool:
    """Return whether a URI carries a password or a key, which would end up in logs."""
    return masked_urls(uri) != uri


def masked(uri: str) -> str:
    """Return a URI that can be shown: without user, password and query."""
    base, _ = split_query(uri)
    return re.sub(r"://[^/@]*@", "://...@", masked_urls(base))
