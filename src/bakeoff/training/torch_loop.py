"""Fine-tuning a text network in PyTorch, exactly as a neutral ``Strategy`` says. A heavy module: imports PyTorch.

Deterministic for a given seed, number of threads and processes, and version of PyTorch. Several processes may train together: each
takes its share of every batch and gradients are averaged, so that the loss and its gradient are those of the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bakeoff.data.transforms import network as net
from bakeoff.schema.candidate import Strategy
from bakeoff.schema.errors import StepError
from bakeoff.training.batches import bucketed, class_weights
from bakeoff.training.schedules import Patience, Plateau, multiplier

_EVALUATIONS = 4
_EVALUATED_ROWS = 512
_MAX_EPOCHS_STRETCH = 8
AUGMENTATIONS: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """The processes that train together, joined by ``torch.distributed``; one alone needs no joining."""

    rank: int = 0
    size: int = 1


ALONE = Group()
_STREAM = 1_000_003
"""Between the seeds of the processes' dropout: each draws its own."""


@dataclass(frozen=True)
class Encoded:
    """Token ids of texts, and their class indices (n,)."""

    ids: Sequence[Sequence[int]]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.ids)


@dataclass
class TrainingLog:
    """What happened: goes into the artefact's ``meta`` and holds nothing that depends on the clock."""

    epochs: int
    steps: int = 0
    precision: str = "fp32"
    stopped_early: bool = False
    train_loss: list[float] = field(default_factory=list)
    calibrate_loss: list[float] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "epochs": self.epochs, "steps": self.steps, "precision": self.precision, "stopped_early": self.stopped_early,
            "train_loss": [round(loss, 6) for loss in self.train_loss],
            "calibrate_loss": [round(loss, 6) for loss in self.calibrate_loss],
        }  # fmt: skip


def refuse_unsupported(strategy: Strategy, max_positions: int | None) -> None:
    """Refuse what this loop cannot do, with the reason.

    Raises:
        StepError: 'unsupported'.

    """
    if strategy.augmentation:
        what = "augmentation of texts is not implemented in this loop"
        raise StepError("unsupported", what, got=", ".join(strategy.augmentation), allowed=AUGMENTATIONS or "none")
    if max_positions is not None and strategy.max_length > max_positions:
        what = "the encoder was pretrained with fewer positions than max_length"
        raise StepError("unsupported", what, got=strategy.max_length, allowed=f"at most {max_positions}")


def initialise(head: nn.Linear, how: str) -> None:
    """Set the weights of a new layer: ``xavier`` (Glorot & Bengio 2010), ``he`` (He et al. 2015) or N(0, 0.02²) as BERT does."""
    if how == "xavier":
        nn.init.xavier_uniform_(head.weight)
    elif how == "he":
        nn.init.kaiming_normal_(head.weight, nonlinearity="relu")
    else:
        nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)


def freeze(network: net.TextNetwork, what: str) -> None:
    """Stop the gradient of ``embeddings`` (the word table and its companions) or of the whole ``body``."""
    frozen: nn.Module | None = None
    if what == "body":
        frozen = network.encoder
    elif what == "embeddings":
        frozen = cast("nn.Module | None", getattr(network.encoder, "embeddings", None))
        if frozen is None:
            reason = f"{type(network.encoder).__name__} has no separate embeddings to freeze"
            raise StepError("unsupported", reason, allowed=("none", "body"))
    if frozen is not None:
        frozen.requires_grad_(requires_grad=False)


def planned_epochs(strategy: Strategy, rows: int, min_steps: int) -> int:
    """Return the epochs to train: more than the strategy says when few rows would mean hardly any updates."""
    per_epoch = math.ceil(rows / strategy.batch_size)
    return max(strategy.epochs, min(_MAX_EPOCHS_STRETCH, math.ceil(min_steps / per_epoch)))


class Loop:
    """One fine-tuning run.

    Args:
        network: changed in place; on return it holds the best weights seen when the strategy stops early, else the last.
        train: rows to learn from.
        calibrate: rows that decide about early stopping and plateaus; never learnt from.
        strategy: how.
        seed: of shuffling and dropout.
        pad: id of padding.
        min_steps: updates to make at least (more epochs when rows are few).
        group: who trains together; every process is given the same network, rows and seed.

    Attributes:
        after_step: called after every update; keeps checkpoints.

    """

    def __init__(
        self, network: net.TextNetwork, train: Encoded, calibrate: Encoded, strategy: Strategy,
        *, seed: int, pad: int, min_steps: int = 0, group: Group = ALONE,
    ) -> None:  # fmt: skip
        self.network, self.train, self.strategy, self.pad = network, train, strategy, pad
        self.calibrate = Encoded(calibrate.ids[:_EVALUATED_ROWS], calibrate.labels[:_EVALUATED_ROWS])
        self.watching = (strategy.patience is not None or strategy.schedule == "reduce_on_plateau") and len(
            calibrate
        ) > 0
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed + _STREAM * group.rank)
        self.group = group
        self.after_step: Callable[[], None] | None = None
        self._together = DistributedDataParallel(network) if group.size > 1 else network
        self.begun: Any = {}
        self.done, self.losses = 0, list[float]()
        epochs = planned_epochs(strategy, len(train), min_steps)
        self.per_epoch = math.ceil(len(train) / strategy.batch_size)
        self.total = epochs * self.per_epoch
        wanted = strategy.precision == "bf16" and net.bfloat16_is_fast()
        self.log = TrainingLog(epochs=epochs, precision="bf16" if wanted else "fp32")
        self.optimiser = torch.optim.AdamW(self._groups(), lr=strategy.learning_rate)
        self.plateau, self.patience = Plateau(), Patience(strategy.patience)
        self.best: dict[str, Tensor] | None = None
        weights = class_weights(train.labels, network.head.out_features) if strategy.class_weights else None
        self.loss = nn.CrossEntropyLoss(weight=None if weights is None else torch.tensor(weights, dtype=torch.float32))

    def _groups(self) -> list[dict[str, Any]]:
        learnt = [(name, value) for name, value in self.network.named_parameters() if value.requires_grad]
        plain = [value for _, value in learnt if value.ndim < 2]
        decayed = [value for _, value in learnt if value.ndim >= 2]
        return [{"params": decayed, "weight_decay": self.strategy.weight_decay}, {"params": plain, "weight_decay": 0.0}]

    def run(self) -> TrainingLog:
        """Train.

        Raises:
            StepError: 'non_finite' when the loss is no longer a number.

        """
        every = max(1, self.total // max(_EVALUATIONS, self.log.epochs))
        self.network.train()
        while len(self.log.train_loss) < self.log.epochs:
            self.begun = (
                self.rng.bit_generator.state
            )  # with what is done of the epoch, all that says where a checkpoint was
            batches = bucketed([len(ids) for ids in self.train.ids], self.strategy.batch_size, self.rng)
            for batch in batches[self.done :]:
                self.losses.append(self._step(batch))
                self.done += 1
                if self.watching and self.log.steps % every == 0 and self._evaluate():
                    return self._finish(self.losses, stopped=True)
                if self.after_step is not None:
                    self.after_step()
            self.log.train_loss.append(float(np.mean(self.losses)))
            self.done, self.losses = 0, []
        return self._finish([], stopped=False)

    def _step(self, batch: NDArray[np.int64]) -> float:
        rate = self.strategy.learning_rate * self.plateau.multiplier
        rate *= multiplier(self.strategy.schedule, self.log.steps, total=self.total, warmup=self.strategy.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss, value = self._loss(batch)
        if not math.isfinite(value):
            what = f"the loss became {value} in update {self.log.steps + 1} of {self.total}"
            raise StepError("non_finite", what, try_="a smaller learning_rate, or a clip_norm")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.strategy.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.strategy.clip_norm)
        self.optimiser.step()
        self.log.steps += 1
        return value

    def _loss(self, batch: NDArray[np.int64]) -> tuple[Any, float]:
        """Return what this process is to differentiate, and the loss of the whole batch."""
        if self.group.size == 1:
            loss = self._mean(batch)
            return loss, float(loss.detach())
        mine = batch[self.group.rank :: self.group.size]
        share = self._weight(mine) / self._weight(batch)
        loss = self._mean(mine if len(mine) else batch[:1]) * share  # of none, nothing: but every process takes part
        whole = loss.detach().clone()
        torch.distributed.all_reduce(whole)
        return loss * self.group.size, float(whole)  # gradients are averaged over processes, losses are to be added

    def _mean(self, rows: NDArray[np.int64]) -> Tensor:
        ids, mask = net.tensors([self.train.ids[at] for at in rows], self.pad)
        with net.precision(self.log.precision):
            logits = self._together(ids, mask)
        return cast("Tensor", self.loss(logits.float(), torch.from_numpy(self.train.labels[rows])))

    def _weight(self, rows: NDArray[np.int64]) -> float:
        if self.loss.weight is None:
            return float(len(rows))
        return float(self.loss.weight[torch.from_numpy(self.train.labels[rows])].sum())

    def _evaluate(self) -> bool:
        """Measure the loss on calibrate; return whether to stop."""
        self.network.eval()
        probabilities = net.run(self.network, self.calibrate.ids, self.pad, dtype=self.log.precision)
        self.network.train()
        picked = probabilities[np.arange(len(self.calibrate)), self.calibrate.labels]
        loss = self._agreed(float(-np.log(np.clip(picked, 1e-12, 1.0)).mean()))
        self.log.calibrate_loss.append(loss)
        if self.strategy.schedule == "reduce_on_plateau":
            self.plateau.see(loss)
        if self.patience.see(loss) and self.strategy.patience is not None:
            self.best = {name: value.detach().clone() for name, value in self.learnt()}
        return self.patience.exhausted

    def _agreed(self, loss: float) -> float:
        """Return the first process's value: rounding may differ between machines, and what follows from it must not."""
        if self.group.size == 1:
            return loss
        said = torch.tensor(loss, dtype=torch.float64)
        torch.distributed.broadcast(said, 0)
        return float(said)

    def learnt(self) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters that change."""
        return [(name, value) for name, value in self.network.named_parameters() if value.requires_grad]

    def _finish(self, losses: list[float], *, stopped: bool) -> TrainingLog:
        if losses:
            self.log.train_loss.append(float(np.mean(losses)))
        self.log.stopped_early = stopped
        if self.best is not None:
            with torch.no_grad():
                for name, value in self.learnt():
                    value.copy_(self.best[name])
        self.network.eval()
        return self.log
