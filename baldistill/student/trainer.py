"""Transformers' Trainer, with steps of micro-batches and with checkpoints of our own."""

from __future__ import annotations

from typing import Any

from transformers import Trainer

from baldistill.processes import without_old_objects
from baldistill.student.encode import IGNORED
from baldistill.student.saving import Saving
from baldistill.student.sharding import is_sharded, most


class StepTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """A Trainer whose batches arrive as micro-batches, and whose model returns summed losses."""

    loss_is_scaled_for_ga = True

    def __init__(self, *, saving: Saving, **values: Any) -> None:
        super().__init__(**values)
        self._is_sharded = is_sharded(self.model)
        self._saving = saving
        saving.trainer = self
        self.add_callback(saving)
        self.model_accepts_loss_kwargs = True  # count the target tokens of a step, of all workers
        self.args._n_gpu = min(self.args.n_gpu, 1)  # DataParallel would cut packed rows

    def train(self, *arguments: Any, **options: Any) -> Any:
        """Train, without a search for garbage in all that was imported."""
        with without_old_objects():
            return super().train(*arguments, **options)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Go back through each micro-batch; workers exchange gradients after the last alone.

        They may have different numbers of micro-batches. Workers that share the weights exchange
        gradients after each, because no worker has room for all of them.
        """
        micro_batches = list(inputs["micro_batches"])
        if self._is_sharded:  # each pass gathers weights, so all workers need as many
            missing = most(len(micro_batches)) - len(micro_batches)
            micro_batches += [self._without_targets()] * missing
        *first, last = micro_batches
        loss: Any = 0.0
        for batch in first:
            with self.accelerator.no_sync(model):
                loss = loss + super().training_step(model, batch, num_items_in_batch)
        return loss + super().training_step(model, last, num_items_in_batch)

    def _without_targets(self) -> Any:
        """Return a micro-batch of one token, whose loss and gradients are 0."""
        row = {"input_ids": [0], "labels": [IGNORED]}
        return self._prepare_inputs(self.data_collator([row])["micro_batches"][0])

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return a micro-batch's share of the mean over the step's target tokens."""
        # the mean over workers, which DDP takes of the gradients, becomes the sum
        return model(**inputs) * self.accelerator.num_processes / num_items_in_batch

    # Trainer's own checkpoints use pickle and can only be on a disk. These methods replace them:
    # Trainer calls them when it saves and when it resumes.

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self._saving.save()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._saving.load_weights()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            self._saving.load_optimizer()

    def _load_rng_state(self, checkpoint: str | None) -> None:
        self._saving.load_random_state()

    def _load_scaler(self, checkpoint: str | None) -> None:
        """Load nothing: bfloat16 needs no scaled loss."""
