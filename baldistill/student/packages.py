"""Optional packages of a training: whether they are there. Needs no torch."""

from __future__ import annotations

import importlib.util

from baldistill.config import StudentConfig
from baldistill.errors import MissingPackageError


def check_packages(config: StudentConfig) -> None:
    """Check what a training of this student needs, before a run pays for anything.

    Raises:
        MissingPackageError: A package is not installed here.
    """
    if config.quantization is not None:
        require_bitsandbytes()
    if config.trainer.get("use_liger_kernel"):
        require_liger()


def require_bitsandbytes() -> None:
    """Raise MissingPackageError where bitsandbytes is not installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingPackageError(
            "student.quantization=4bit needs bitsandbytes, which is not installed: "
            "pip install 'baldistill[qlora]' on every node that trains, or leave it out"
        )


def require_liger() -> None:
    """Raise MissingPackageError where Liger's kernels are not installed."""
    if importlib.util.find_spec("liger_kernel") is None:
        raise MissingPackageError(
            "student.trainer.use_liger_kernel needs Liger's kernels, which are not installed: "
            "pip install 'baldistill[liger]' on every node that trains, or leave it out"
        )
