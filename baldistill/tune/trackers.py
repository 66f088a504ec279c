"""Where trials are logged to: TensorBoard by default, MLflow and W&B by config."""

from __future__ import annotations

import importlib.util
import os

from ray.tune import Callback

from baldistill.errors import MissingPackageError, UserError
from baldistill.tune.space import Space


def trackers_of(space: Space) -> list[Callback]:
    """Ray's callbacks for what the space asks for.

    Raises:
        MissingPackageError: One of them needs a package that is not installed.
    """
    callbacks: list[Callback] = []
    if space.tensorboard:
        _need("tensorboardX", "tensorboard", "pip install tensorboardX, or tensorboard: false")
        from ray.tune.logger import TBXLoggerCallback

        callbacks.append(TBXLoggerCallback())
    if space.mlflow is not None:
        _need("mlflow", "mlflow", "pip install 'baldistill[mlflow]'")
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        callbacks.append(
            MLflowLoggerCallback(
                tracking_uri=space.mlflow.tracking_uri, experiment_name=space.mlflow.experiment
            )
        )
    if space.wandb is not None:
        _need("wandb", "wandb", "pip install 'baldistill[wandb]'")
        from ray.air.integrations.wandb import WandbLoggerCallback

        _need_key()
        callbacks.append(WandbLoggerCallback(project=space.wandb.project, group=space.wandb.group))
    return callbacks


def _need(package: str, key: str, remedy: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingPackageError(f"the space's {key} needs the package {package}: {remedy}")


def _need_key() -> None:
    import wandb

    offline = os.environ.get("WANDB_MODE") in ("offline", "disabled")
    if not (offline or os.environ.get("WANDB_API_KEY") or wandb.api.api_key):
        raise UserError(
            "the space's wandb needs a key: set WANDB_API_KEY, or WANDB_MODE=offline, or run "
            "`wandb login`"
        )
