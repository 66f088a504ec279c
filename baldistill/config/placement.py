"""The part of the config that says where processes run: nodes, CPUs, GPUs, replicas."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from baldistill.config.sections import Count, Section


class ReplicaRange(Section):
    """A pool that grows with its cluster."""

    min: Count = 1
    """Engines that the cluster must have room for from the start."""
    max: Count
    """Engines that are asked for; each joins the work when the cluster's autoscaler has brought
    a place for it."""

    @model_validator(mode="after")
    def _in_order(self) -> ReplicaRange:
        if self.max < self.min:
            raise ValueError(f"max={self.max} is below min={self.min}")
        return self


class NodeResources(Section):
    """Nodes that a process may run on, and the resources that it reserves there."""

    accelerator_type: str | None = None
    """Only nodes with this accelerator, as Ray names it: `A100`, `H100`, `L4`, ..."""
    custom_resources: dict[str, Annotated[float, Field(gt=0.0)]] = Field(default_factory=dict)
    """Only nodes that were started with these resources, such as `{teacher: 1}`; an engine on
    several GPUs reserves the amounts for each of them."""

    @field_validator("custom_resources")
    @classmethod
    def _custom(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value:
            if name.upper() in ("CPU", "GPU", "MEMORY", "OBJECT_STORE_MEMORY"):
                raise ValueError(f"{name} is no custom resource: use num_cpus and num_gpus")
        return value


class EngineResources(NodeResources):
    """The actors that hold a model, or talk to a server."""

    replicas: Count | ReplicaRange | Literal["auto"] = "auto"
    """Engines side by side; `auto`: as many as the GPUs hold, one for each CPU (at most 4) for the
    bundled models without one, else 1; `{min: 1, max: 8}`: as many as an autoscaling cluster
    brings."""
    num_cpus: Annotated[float, Field(ge=0.0)] = 0.25
    """CPUs that a replica reserves. Small by default: student and teacher take turns."""
    num_gpus: Annotated[float, Field(ge=0.0)] | Literal["auto"] = "auto"
    """GPUs that a replica reserves: 1, or a fraction to share one; `auto`: what the engine needs
    where the cluster has GPUs (1, or tensor times pipeline parallel size), none for a server."""
    batch_size: Count | Literal["auto"] = "auto"
    """Prompts that an engine is given at once. `auto`: 64; 512 for transformers on a GPU, which
    takes as many of them at a time as its memory holds."""

    @property
    def replica_range(self) -> tuple[int, int] | None:
        """Return the fewest and the most engines; None is `auto`."""
        if self.replicas == "auto":
            return None
        if isinstance(self.replicas, ReplicaRange):
            return self.replicas.min, self.replicas.max
        return self.replicas, self.replicas


class WorkerResources(NodeResources):
    """One worker of Ray Train, with which the student is fine-tuned."""

    num_cpus: Annotated[float, Field(ge=0.0)] | Literal["auto"] = "auto"
    """CPUs that a worker reserves; `auto`: 1 without a GPU, else none beside it."""
    num_gpus: Annotated[int, Field(ge=0, le=1)] | Literal["auto"] = "auto"
    """GPUs that a worker reserves; `auto`: 1 where the cluster has any."""


class NodeConfig(Section):
    """Equal nodes of a cluster."""

    count: Count = 1
    """Number of these nodes that the cluster can have."""
    resources: dict[str, Annotated[float, Field(ge=0.0)]]
    """Resources of each node, as Ray names them: `CPU`, `GPU`, `accelerator_type:A100`, custom
    resources."""


class ClusterConfig(Section):
    """The cluster that the run attaches to; a machine without one needs nothing here."""

    nodes: tuple[NodeConfig, ...] = ()
    """Nodes that a cluster with an autoscaler can have, head included. Checks and `auto` then go by
    this instead of the nodes that are there now, and the run waits for the nodes that it asks
    for."""
    keep_warm: Literal["auto", "always", "never"] = "auto"
    """Keep teacher and student engines while the other works and while the student is trained.
    `auto`: if all fit side by side; `always`: they must fit, or the run does not start; `never`:
    they take turns. Training workers stay between stages where they fit beside engines that stay
    and one CPU."""
