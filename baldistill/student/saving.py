"""Decide when a training under way writes a checkpoint, write it, and go on from one.

The state is all that decides the steps to come: weights that are trained, optimiser, scheduler,
random state of each worker, position in the data; and the losses that are not reported yet.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import TrainerCallback

from baldistill.config.student import CheckpointConfig
from baldistill.errors import UserError
from baldistill.student import snapshot
from baldistill.student.checkpoints import Checkpoints
from baldistill.student.snapshot import Snapshot
from baldistill.student.training import Progress

STATE_FILE = "trainer_state.json"  # the name that Trainer reads
_LOOKS = 400  # in a training, at the clock: several workers must agree, which takes time
_SHARE = 9  # a checkpoint takes at most a tenth of the time


class Saving(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Writes the state of a training, and takes it up again. Belongs to one `StepTrainer`."""

    def __init__(
        self,
        checkpoints: Checkpoints | None = None,
        options: CheckpointConfig | None = None,
        losses: list[tuple[int, float]] | None = None,
        resumed: Path | None = None,
        report: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        """Prepare for a training.

        Args:
            checkpoints: Where to write; None for nowhere.
            options: When.
            losses: What was reported so far. It is filled where a training goes on.
            resumed: A checkpoint to go on from.
            report: Is told of a checkpoint that cannot be written.
        """
        self._report = report
        self._checkpoints = checkpoints if options is not None else None
        self._options = options or CheckpointConfig()
        self._losses = losses if losses is not None else []
        self._resumed = Snapshot(resumed) if resumed is not None else None
        self._due = time.monotonic() + 60 * self._options.every_minutes
        self._epoch_start: dict[str, Any] = {}
        self.trainer: Any = None

    # when

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a checkpoint, if it is time. After the last step the student itself is saved."""
        if self._checkpoints is None or state.global_step >= state.max_steps:
            return
        if self._options.every_steps is not None:
            control.should_save = state.global_step % self._options.every_steps == 0
        elif state.global_step % max(1, state.max_steps // _LOOKS) == 0:
            control.should_save = _of_main(time.monotonic() >= self._due)

    # what

    def save(self) -> None:
        """Write a checkpoint. All workers call this after the same step."""
        trainer, checkpoints = self.trainer, self._checkpoints
        assert checkpoints is not None
        start = time.monotonic()
        tree = {
            "weights": trained_weights(trainer.model),
            "optimizer": trainer.optimizer.state_dict(),
            "scheduler": trainer.lr_scheduler.state_dict(),
            "workers": _gathered(self._of_this_worker()),
            "losses": self._losses,
        }
        try:
            if _rank() == 0:
                self._write(checkpoints, tree)
            else:
                snapshot.write(tree, None)
        except TypeError as error:
            raise UserError(
                f"the state of this optimiser cannot be kept ({error}): set "
                "student.checkpoint=false or another student.optimizer"
            ) from None
        now = time.monotonic()
        self._due = now + max(60 * self._options.every_minutes, _SHARE * (now - start))

    def _write(self, checkpoints: Checkpoints, tree: dict[str, Any]) -> None:
        """Write a checkpoint as the main worker; a training does not end for want of one."""
        state, has_gathered = self.trainer.state, False
        try:
            with checkpoints.adding(state.global_step) as folder:
                has_gathered = True
                snapshot.write(tree, folder)
                state.save_to_json(str(folder / STATE_FILE))
        except OSError as error:
            status = f"cannot write a checkpoint: {error}"
            self._report(Progress(state.global_step, state.max_steps, status=status))
            if not has_gathered:  # other workers wait for it
                snapshot.write(tree, None)

    def _of_this_worker(self) -> dict[str, Any]:
        trainer, now = self.trainer, _random_state()
        ends_epoch = float(trainer.state.epoch).is_integer()
        return {
            "random": now,
            # what the order of the examples was drawn from, or will be
            "epoch_start": now if ends_epoch else self._epoch_start,
            "ends_epoch": ends_epoch,
            "loss": trainer._tr_loss.cpu(),  # since the last report
            "reported": trainer._globalstep_last_logged,
        }

    # going on

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take up the losses that were not reported yet, which Trainer has just reset."""
        if self._resumed is not None:
            own, trainer = self._own(), self.trainer
            trainer._tr_loss = own["loss"].to(trainer._tr_loss.device)
            trainer._globalstep_last_logged = own["reported"]

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Let all workers draw the same order of examples, and remember its random state."""
        if self._resumed is not None and not self._epoch_start:
            _set_random_state(self._own()["epoch_start"])
        # dropout may have taken different amounts of random numbers from the workers
        torch.set_rng_state(_of_main(torch.get_rng_state()))
        self._epoch_start = _random_state()

    def load_weights(self) -> None:
        """Set the weights that are trained."""
        assert self._resumed is not None
        found = self._resumed["weights"]
        weights = trained_weights(self.trainer.model)
        assert found.keys() == weights.keys(), "the key of the checkpoint is that of this training"
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(_like(found[name], weight))

    def load_optimizer(self) -> None:
        """Set optimiser and scheduler."""
        assert self._resumed is not None
        trainer, state = self.trainer, self._resumed["optimizer"]
        groups = trainer.optimizer.param_groups
        weights = [weight for group in groups for weight in group["params"]]
        for number, values in state["state"].items():
            for name, value in values.items():
                if isinstance(value, torch.Tensor) and value.shape == weights[number].shape:
                    values[name] = _like(value, weights[number])
        trainer.optimizer.load_state_dict(state)
        trainer.lr_scheduler.load_state_dict(self._resumed["scheduler"])
        self._losses[:] = [(step, loss) for step, loss in self._resumed["losses"]]

    def load_random_state(self) -> None:
        """Set what dropout is drawn from; the order of this epoch's examples has been drawn."""
        if self._resumed is not None and not (own := self._own())["ends_epoch"]:
            _set_random_state(own["random"])

    def _own(self) -> dict[str, Any]:
        assert self._resumed is not None
        return dict(self._resumed["workers"][_rank()])


def trained_weights(model: Any) -> dict[str, torch.Tensor]:
    """Return the weights that are trained by name: all, or an adapter's; tied ones once."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _like(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Share a tensor out among the workers as a weight is, which may be whole on each."""
    if not isinstance(weight, DTensor):
        return value
    return distribute_tensor(
        value.to(weight.device, weight.dtype),
        weight.device_mesh,
        weight.placements,
        src_data_rank=None,  # every worker has the whole
    )


def _random_state() -> dict[str, Any]:
    numpy: Any = np.random.get_state()
    kind, keys, *rest = numpy
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {
        "python": random.getstate(),
        "numpy": (kind, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def _set_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _are_several() -> bool:
    return distributed.is_initialized() and distributed.get_world_size() > 1


def _rank() -> int:
    return distributed.get_rank() if _are_several() else 0


def _of_main(value: Any) -> Any:
    """Return the main worker's value. All workers call this."""
    if not _are_several():
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def _gathered(value: Any) -> list[Any]:
    """Return the values of all workers, by rank. All workers call this."""
    if not _are_several():
        return [value]
    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values
