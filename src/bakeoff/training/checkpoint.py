"""Where a training run stands, as one safetensors file: weights, optimiser, and the loop's own state as JSON in its header. No pickle."""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from bakeoff.training.torch_loop import Loop

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_STATE = "state"


def saved(loop: Loop) -> bytes:
    """Return everything that is needed to go on after the update that was just made."""
    tensors: dict[str, Tensor] = {}
    for name, value in loop.learnt():
        tensors[f"weight:{name}"] = value.detach().contiguous()
        moments = loop.optimiser.state.get(value, {})
        tensors |= {f"{moment}:{name}": moments[moment].contiguous() for moment in _MOMENTS if moment in moments}
    if loop.best is not None:
        tensors |= {f"best:{name}": value.contiguous() for name, value in loop.best.items()}
    state = {
        "done": loop.done, "losses": loop.losses, "rng": loop.begun, "plateau": vars(loop.plateau), "patience": vars(loop.patience),
        "log": {"steps": loop.log.steps, "train_loss": loop.log.train_loss, "calibrate_loss": loop.log.calibrate_loss},
    }  # fmt: skip
    return save(tensors, metadata={_STATE: json.dumps(state)})


def restore(loop: Loop, data: bytes) -> None:
    """Put a new loop of the same network, rows and strategy where a saved one stood; dropout draws on from its place in the run.

    Raises:
        KeyError | ValueError: the file is of something else.

    """
    tensors, state = load(data), _state(data)
    with torch.no_grad():
        for name, value in loop.learnt():
            value.copy_(tensors[f"weight:{name}"])
            moments = {moment: tensors[f"{moment}:{name}"] for moment in _MOMENTS if f"{moment}:{name}" in tensors}
            if moments:
                loop.optimiser.state[value] = moments
    best = {name.removeprefix("best:"): value for name, value in tensors.items() if name.startswith("best:")}
    loop.best = best or None
    loop.done, loop.losses = int(state["done"]), list(state["losses"])
    loop.rng.bit_generator.state = state["rng"]
    for name in ("plateau", "patience", "log"):
        vars(getattr(loop, name)).update(state[name])
    torch.manual_seed(torch.initial_seed() + loop.log.steps)


def _state(data: bytes) -> dict[str, Any]:
    """Read the JSON in the header: eight bytes of length, then the header (safetensors' format)."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    found: dict[str, Any] = json.loads(header["__metadata__"][_STATE])
    return found
