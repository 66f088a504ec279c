"""Uploads to the Hugging Face hub, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

from baldistill.data.hub import is_of_the_network
from baldistill.errors import UserError

Kind: TypeAlias = Literal["dataset", "model"]


def upload(
    files: Mapping[str, Path | bytes], name: str, kind: Kind, *, public: bool, command: str
) -> str:
    """Upload files to the repository OWNER/NAME in one commit, and return its address.

    A repository that is not there yet is made, private unless `public`. HF_TOKEN or `hf auth login`
    says who uploads; HF_ENDPOINT names another hub.

    Args:
        files: Path in the repository -> a file on this machine, or its content.
        name: OWNER/NAME.
        kind: What the repository holds.
        public: Whether a repository that is made here can be seen by all.
        command: Of ours, for the commit's message and for errors.

    Raises:
        UserError: The name is none, nobody is logged in, or the hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi  # which transformers needs, too

    check_name(name)
    with _errors_of_the_hub(name):
        api = HfApi()
        made = api.create_repo(name, repo_type=kind, private=not public, exist_ok=True)
        api.create_commit(
            repo_id=made.repo_id,
            repo_type=kind,
            operations=[CommitOperationAdd(path, content) for path, content in files.items()],
            commit_message=f"Upload with baldistill {command}",
        )
        return str(made)


def check_name(name: str) -> None:
    """Raise UserError for what cannot be the name of a repository, as OWNER/NAME is."""
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if name.count("/") != 1:
        raise UserError(f"{name!r} is no name on the hub, as OWNER/NAME is")
    with _errors_of_the_hub(name):
        validate_repo_id(name)


@contextmanager
def _errors_of_the_hub(name: str) -> Iterator[None]:
    """Turn what the hub's client raises into errors that the user can mend."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise UserError(f"{name!r} is no name on the hub, as OWNER/NAME is: {error}") from None
    except errors.LocalTokenNotFoundError:
        raise UserError(_LOG_IN) from None
    except errors.OfflineModeIsEnabled:
        raise UserError("HF_HUB_OFFLINE is set: unset it to upload to the hub") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            raise UserError(_LOG_IN) from None
        if status == 403:
            raise UserError(
                f"your token may not write to {name}: use one with write access, or another OWNER"
            ) from None
        said = str(error).splitlines()[0]
        raise UserError(f"the hub did not take {name} (status {status}): {said}") from None
    except Exception as error:
        if not is_of_the_network(error):
            raise
        raise UserError(
            f"the hub cannot be reached ({type(error).__name__}: {error}): try the same "
            "command again"
        ) from None


_LOG_IN = (
    "the hub does not know you: run `hf auth login`, or set HF_TOKEN to a token with write access"
)
