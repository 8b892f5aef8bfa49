"""A small convolutional network for grey square pictures, trained from scratch on one thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BATCH = 64


class ConvNet:
    """Convolutions of 3x3 with pooling after each, one dense layer: width, depth, dropout, rate, epochs, norm, shift, flip.

    Args:
        params: ``width`` channels of the first layer (doubled in each), ``depth`` layers, ``shift`` pixels and ``flip`` augment.
        seed: of initial weights and of the order of rows.

    """

    def __init__(self, params: Mapping[str, Any], seed: int) -> None:
        self._params, self._seed = params, seed
        self._net: Any = None

    def fit(self, X: NDArray[np.float64], y: NDArray[np.int64]) -> ConvNet:
        """Train with AdamW and a rate that warms up and falls to zero."""
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(self._seed)
        images, labels = _images(X), torch.from_numpy(y)
        classes = max(10, int(y.max()) + 1)
        self._net = net = _network(self._params, images.shape[-1], classes).to(memory_format=torch.channels_last)
        steps = self._params["epochs"] * -(-len(y) // _BATCH)
        optimiser = torch.optim.AdamW(net.parameters(), lr=self._params["rate"], weight_decay=0.01)
        plan = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, self._params["rate"], total_steps=max(steps, 2), pct_start=0.2
        )
        rng = np.random.default_rng(self._seed)
        net.train()
        for _ in range(self._params["epochs"]):
            for rows in np.array_split(rng.permutation(len(y)), -(-len(y) // _BATCH)):
                batch = self._augmented(images[torch.from_numpy(rows)], rng)
                loss = torch.nn.functional.cross_entropy(net(batch), labels[torch.from_numpy(rows)])
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                plan.step()
        net.eval()
        return self

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the class of every picture."""
        import torch

        torch.set_num_threads(1)
        images = _images(X)
        with torch.inference_mode():
            found = [self._net(images[at : at + 500]).argmax(dim=1).numpy() for at in range(0, len(images), 500)]
        return np.concatenate(found)

    def _augmented(self, batch: Any, rng: np.random.Generator) -> Any:  # noqa: ANN401 - a tensor; torch comes with the first call
        import torch

        if reach := int(self._params.get("shift", 0)):
            down, right = (int(step) for step in rng.integers(-reach, reach + 1, size=2))
            batch = torch.roll(batch, (down, right), dims=(2, 3))
        if self._params.get("flip") and rng.random() < 0.5:
            batch = batch.flip(3)
        return batch


def _images(X: NDArray[np.float64]) -> Any:  # noqa: ANN401
    import torch

    side = round(X.shape[1] ** 0.5)
    pixels = torch.from_numpy(np.ascontiguousarray(X, dtype=np.float32)).reshape(-1, 1, side, side)
    return (pixels - 0.3).contiguous(memory_format=torch.channels_last)


def _network(params: Mapping[str, Any], side: int, classes: int) -> Any:  # noqa: ANN401
    from torch import nn

    layers: list[nn.Module] = []
    before, width = 1, int(params["width"])
    for _ in range(int(params["depth"])):
        layers.append(nn.Conv2d(before, width, 3, padding=1))
        layers.extend([nn.BatchNorm2d(width)] if params["norm"] else [])
        layers.extend([nn.ReLU(), nn.MaxPool2d(2)])
        before, width, side = width, 2 * width, side // 2
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Dropout(float(params["dropout"])), nn.Linear(before * side * side, classes)
    )
