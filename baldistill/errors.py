"""Errors that a user can mend: shown without a traceback, exit status 2."""

from __future__ import annotations


class UserError(ValueError):
    """An error that a user can mend. It says what is wrong, where, and what to do about it.

    Raised for a config, data, resource or credential problem. The command line prints the
    message alone and exits with status 2; the Python API raises it as it is.
    """


class ConfigError(UserError):
    """A config key or value that cannot be used."""


class DataError(UserError):
    """A corpus that cannot be used."""


class ResourceError(UserError):
    """The machine or cluster cannot fit what the config asks for."""


class MissingPackageError(UserError):
    """An optional package is not installed; the message names the extra that brings it."""


class FolderInUseError(UserError):
    """Another process works in the folder."""
