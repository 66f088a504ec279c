"""Writes that succeed only if the name is free, on S3, Google Cloud Storage and Azure.

pyarrow has no such writes, obstore has. A store is opened here with the region, endpoint and
account that pyarrow found, and with credentials from the same places.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import pyarrow.fs as pafs

KINDS = ("s3", "gcs", "abfs")
"""The values of `type_name` of the filesystems that are object stores."""

_RETRIES = {"max_retries": 5}  # of a request; pyarrow makes three attempts
_ATTEMPTS = 8  # to create a name that is said to be taken, but is not there
_REFUSED = ("NotSupportedError", "PermissionDeniedError", "PermissionError", "UnauthenticatedError")


def create(fs: pafs.FileSystem, path: str, data: bytes) -> None:
    """Write an object of that path unless there is one.

    A lost response leaves open who wrote the object, and so does S3's answer 409 ("try again"). So
    the object itself decides: if it holds `data`, this call counts as the one that wrote it.

    Raises:
        FileExistsError: There is another object.
        io.UnsupportedOperation: The store has no such writes, or its credentials cannot be read.
        OSError: The store failed; the object may have been written, or may appear yet.
    """
    from obstore import put
    from obstore.exceptions import AlreadyExistsError, BaseError

    if fs.type_name not in KINDS:
        raise io.UnsupportedOperation(f"{path}: no conditional writes on {fs.type_name}")
    bucket, _, key = path.partition("/")
    store = _open(fs, bucket)
    for _ in range(_ATTEMPTS):
        try:
            put(store, key, data, mode="create", use_multipart=False)
            return
        except (BaseError, OSError) as error:
            if type(error).__name__ in _REFUSED or "501 Not Implemented" in str(error):
                raise io.UnsupportedOperation(f"{path}: {_first_line(error)}") from None
            found = _read(fs, path)
            if found == data:
                return
            if found is not None:
                raise FileExistsError(f"{path} is there already") from None
            if not isinstance(error, AlreadyExistsError):
                raise OSError(f"cannot write {path}: {_first_line(error)}") from None
    raise OSError(f"cannot write {path}: the store says that it is there, and does not have it")


def _read(fs: pafs.FileSystem, path: str) -> bytes | None:
    try:
        with fs.open_input_stream(path) as stream:
            return bytes(stream.read())
    except FileNotFoundError:
        return None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _open(fs: pafs.FileSystem, bucket: str) -> Any:
    """Return obstore's view of a bucket; one for all calls of this process."""
    _, (options,) = fs.__reduce__()  # what pyarrow gives another process to open the same store
    settings = {name: value for name, value in options.items() if isinstance(value, str | bool)}
    return _opened(str(fs.type_name), bucket, tuple(sorted(settings.items())))


@lru_cache(maxsize=32)
def _opened(kind: str, bucket: str, settings: tuple[tuple[str, str | bool], ...]) -> Any:
    options: dict[str, Any] = dict(settings)
    return {"s3": _s3, "gcs": _gcs, "abfs": _azure}[kind](bucket, options)


def _s3(bucket: str, options: dict[str, Any]) -> Any:
    from obstore.store import S3Store

    endpoint = _with_scheme(options["endpoint_override"], options["scheme"])
    settings: dict[str, Any] = {"region": options["region"], "conditional_put": "etag"}
    if endpoint:
        settings["endpoint"] = endpoint
    # as pyarrow does: bucket.s3.REGION.amazonaws.com on AWS, ENDPOINT/bucket elsewhere
    settings["virtual_hosted_style_request"] = not endpoint and "." not in bucket
    credentials = None if options["anonymous"] else _aws_credentials()
    if credentials is None:
        settings["skip_signature"] = True
    client = _client(endpoint)
    if options.get("tls_ca_file_path"):
        with open(options["tls_ca_file_path"], "rb") as file:
            client["root_certificate"] = file.read()
    return S3Store(
        bucket,
        credential_provider=credentials,
        client_options=client,
        retry_config=_RETRIES,
        **settings,
    )


def _aws_credentials() -> Any:
    """Return what obstore calls for AWS credentials; None if there are none.

    obstore reads the environment alone. Amazon's own library also reads profiles, single sign-on
    and roles, as the one in pyarrow does.
    """
    from datetime import UTC, datetime, timedelta

    import botocore.session

    found = botocore.session.get_session().get_credentials()
    if found is None:
        return None

    def current() -> dict[str, Any]:
        frozen = found.get_frozen_credentials()  # botocore renews what is about to expire
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + timedelta(minutes=5),
        }

    return current


def _gcs(bucket: str, options: dict[str, Any]) -> Any:
    from obstore.store import GCSStore

    endpoint = _with_scheme(options["endpoint_override"], options["scheme"])
    settings: dict[str, Any] = {"base_url": endpoint} if endpoint else {}
    if options["anonymous"]:
        settings["skip_signature"] = True
    return GCSStore(bucket, client_options=_client(endpoint), retry_config=_RETRIES, **settings)


def _azure(container: str, options: dict[str, Any]) -> Any:
    from obstore.store import AzureStore

    account, authority = options["account_name"], options["blob_storage_authority"]
    if not authority.startswith("."):  # an emulator has its accounts under one host
        authority = f"{authority}/{account}"
        endpoint = f"{options['blob_storage_scheme']}://{authority}"
    else:
        endpoint = f"{options['blob_storage_scheme']}://{account}{authority}"
    return AzureStore(
        container,
        account_name=account,
        endpoint=endpoint,
        client_options=_client(endpoint),
        retry_config=_RETRIES,
    )


def _with_scheme(endpoint: str, scheme: str) -> str:
    return endpoint if not endpoint or "://" in endpoint else f"{scheme or 'https'}://{endpoint}"


def _client(endpoint: str) -> dict[str, Any]:
    return {"allow_http": endpoint.startswith("http://"), "timeout": "60s"}
