from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.models import tiny  # noqa: E402

from bakeoff.data.transforms import network as net  # noqa: E402
from bakeoff.schema import StepError, Strategy  # noqa: E402
from bakeoff.training import torch_loop as loop  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_encoder(tmp_path_factory.mktemp("encoder"))


def network(folder: Path) -> net.TextNetwork:
    torch.manual_seed(0)
    net.set_threads(1)
    made = net.TextNetwork(net.pretrained_encoder(folder), 2, pooling="mean", normalise=False)
    loop.initialise(made.head, "default")
    return made


def encoded(count: int, seed: int) -> loop.Encoded:
    found = tiny.rows(count, seed)
    number = tiny.tokenizer()["model"]["vocab"]
    return loop.Encoded([[0, *(number[sign] for sign in row["text"]), 2] for row in found.rows], found.labels)


def fit(folder: Path, seed: int = 0, **changes: object) -> tuple[net.TextNetwork, loop.TrainingLog]:
    given = {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3, "max_length": 32, **changes}
    made = network(folder)
    log = loop.Loop(made, encoded(160, 1), encoded(40, 2), Strategy.model_validate(given), seed=seed, pad=1).run()
    return made, log


def accuracy(made: net.TextNetwork) -> float:
    held = encoded(100, 3)
    return float((net.run(made, held.ids, 1).argmax(axis=1) == held.labels).mean())


def same(one: net.TextNetwork, two: net.TextNetwork) -> bool:
    theirs = two.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "one_cycle", "reduce_on_plateau"])
def test_it_learns_with_every_schedule(folder: Path, schedule: str) -> None:
    made, log = fit(folder, schedule=schedule, epochs=3)
    assert accuracy(made) > 0.9
    assert log.steps == 60
    assert log.train_loss[-1] < log.train_loss[0]
    assert bool(log.calibrate_loss) == (schedule == "reduce_on_plateau")


def test_same_seed_same_weights_other_seed_others(folder: Path) -> None:
    one, two, three = (fit(folder, seed=seed)[0] for seed in (1, 1, 2))
    assert same(one, two)
    assert not same(one, three)


def test_early_stopping_returns_the_best_weights(folder: Path) -> None:
    held = encoded(40, 2)
    wrong = loop.Encoded(
        held.ids, np.where(np.arange(40) % 3 == 0, 1 - held.labels, held.labels)
    )  # sureness is punished
    made = network(folder)
    strategy = Strategy(epochs=8, batch_size=8, learning_rate=3e-3, patience=2, schedule="constant")
    log = loop.Loop(made, encoded(160, 1), wrong, strategy, seed=0, pad=1).run()
    assert log.stopped_early
    assert log.steps < 8 * 20
    probabilities = net.run(made, wrong.ids, 1)
    loss = -np.log(probabilities[np.arange(40), wrong.labels]).mean()
    assert loss == pytest.approx(min(log.calibrate_loss), rel=1e-4)
    assert loss < log.calibrate_loss[-1]


def test_frozen_parts_do_not_move(folder: Path) -> None:
    before = network(folder).state_dict()
    for what, part in (("embeddings", "encoder.embeddings."), ("body", "encoder.")):
        made = network(folder)
        loop.freeze(made, what)
        strategy = Strategy(epochs=1, batch_size=8, learning_rate=1e-2, freeze="none")
        loop.Loop(made, encoded(32, 1), encoded(8, 2), strategy, seed=0, pad=1).run()
        for name, value in made.state_dict().items():
            assert torch.equal(value, before[name]) == name.startswith(part), name


def test_few_rows_get_more_epochs_but_not_endlessly() -> None:
    strategy = Strategy(epochs=1, batch_size=16)
    assert loop.planned_epochs(strategy, 10_000, 60) == 1
    assert loop.planned_epochs(strategy, 320, 60) == 3
    assert loop.planned_epochs(strategy, 20, 60) == 8
    assert loop.planned_epochs(strategy.model_copy(update={"epochs": 12}), 20, 60) == 12


def test_class_weights_help_the_rare_class(folder: Path) -> None:
    rows = encoded(200, 1)
    keep = [at for at, label in enumerate(rows.labels) if label == 0 or at % 20 == 1]
    skewed = loop.Encoded([rows.ids[at] for at in keep], rows.labels[keep])
    found = []
    for weigh in (False, True):
        made = network(folder)
        strategy = Strategy(epochs=1, batch_size=8, learning_rate=1e-3, class_weights=weigh)
        loop.Loop(made, skewed, encoded(8, 2), strategy, seed=0, pad=1).run()
        found.append(net.run(made, encoded(100, 3).ids, 1)[:, 1].mean())
    assert found[1] > found[0] + 0.1


@pytest.mark.parametrize(("how", "spread"), [("default", 0.02), ("he", 0.25), ("xavier", 0.24)])
def test_initialisers(how: str, spread: float) -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(32, 400)
    loop.initialise(head, how)
    expected = {"default": 0.02, "he": (2 / 32) ** 0.5, "xavier": (2 / 432) ** 0.5}[how]
    assert float(head.weight.detach().std()) == pytest.approx(expected, rel=0.05)
    assert float(head.bias.detach().abs().max()) == 0.0
    assert spread > 0


def test_a_loss_that_is_no_number_ends_with_its_reason(folder: Path) -> None:
    made = network(folder)
    with torch.no_grad():
        made.head.bias[0] = float("nan")
    with pytest.raises(StepError, match="loss became nan") as caught:
        loop.Loop(made, encoded(16, 1), encoded(8, 2), Strategy(), seed=0, pad=1).run()
    assert caught.value.code == "non_finite"


def test_what_cannot_be_done_is_refused() -> None:
    for strategy in (Strategy(augmentation=("synonyms",)), Strategy(max_length=128)):
        with pytest.raises(StepError) as caught:
            loop.refuse_unsupported(strategy, 64)
        assert caught.value.code == "unsupported"
    loop.refuse_unsupported(Strategy(max_length=64), 64)
    loop.refuse_unsupported(Strategy(max_length=9999), None)


def test_freezing_what_is_not_there(folder: Path) -> None:
    made = network(folder)
    del made.encoder.embeddings
    with pytest.raises(StepError, match="no separate embeddings"):
        loop.freeze(made, "embeddings")


def test_bf16_learns_as_well_where_the_processor_has_it(folder: Path) -> None:
    made, log = fit(folder, precision="bf16", epochs=3)
    assert log.precision == ("bf16" if net.bfloat16_is_fast() else "fp32")
    assert accuracy(made) > 0.9


def test_the_log_is_json_without_a_clock(folder: Path) -> None:
    _, log = fit(folder, epochs=1)
    record = log.record()
    assert set(record) == {"epochs", "steps", "precision", "stopped_early", "train_loss", "calibrate_loss"}
    assert record == fit(folder, epochs=1)[1].record()
