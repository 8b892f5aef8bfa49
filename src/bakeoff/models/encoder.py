"""Fine-tuned encoder: a pretrained transformer with a linear head, trained as its ``Strategy`` says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bakeoff.models import _transformer as transformer
from bakeoff.models._formats import export_as
from bakeoff.models.base import BuildContext, ExportContext
from bakeoff.models.linear import BALANCED, imbalanced
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.base import Words
from bakeoff.schema.candidate import CostPrior, Strategy, Variant
from bakeoff.schema.errors import StepError
from bakeoff.schema.plugin import FamilyTraits
from bakeoff.schema.profile import Profile
from bakeoff.schema.space import Condition, Parameter, Space
from bakeoff.schema.spec import Spec

if TYPE_CHECKING:
    from bakeoff.training.torch_loop import TrainingLog

_SIMPLICITY = 6
_MIN_ROWS = 100
_MIN_STEPS = 60
_PARAMS = {"min_steps": _MIN_STEPS, "head_start": True, "normalise": False}
_SMALL = Strategy(
    epochs=1, batch_size=16, learning_rate=5e-5, schedule="linear", warmup=0.1, freeze="embeddings",
    precision="bf16", max_length=64,
)  # fmt: skip
_BASE = _SMALL.model_copy(update={"learning_rate": 3e-5, "max_length": 128, "freeze": "none"})
_TUNED = (
    Parameter(
        name="strategy.learning_rate", label=Words(zh="学习率", en="learning rate"), low=5e-6, high=3e-4, log=True, absent=5e-5,
        marks=(2e-5, 5e-5, 1e-4),
    ),
    Parameter(
        name="strategy.epochs", label=Words(zh="训练轮数", en="epochs"), kind="int", low=1, high=5, absent=1, marks=(1, 3),
        slows=("build_per_1000",),
    ),
    Parameter(
        name="strategy.freeze", label=Words(zh="冻结", en="frozen"), kind="categorical", choices=("none", "embeddings"),
        absent="none", marks=("none", "embeddings"),
    ),
    transformer.length_parameter(),
    Parameter(
        name="strategy.schedule", label=Words(zh="学习率曲线", en="schedule"), kind="categorical",
        choices=("linear", "cosine", "constant", "one_cycle"), absent="linear",
    ),
    Parameter(
        name="strategy.warmup", label=Words(zh="预热比例", en="warm-up"), low=0.0, high=0.3, step=0.05, absent=0.1,
        when=Condition(parameter="strategy.schedule", values=("linear", "cosine", "constant")),
    ),
    Parameter(
        name="strategy.weight_decay", label=Words(zh="权重衰减", en="weight decay"), low=0.0, high=0.1, step=0.01, absent=0.01,
    ),
    Parameter(
        name="strategy.batch_size", label=Words(zh="批大小", en="batch size"), kind="categorical", choices=(8, 16, 32, 64), absent=32,
    ),
)  # fmt: skip
_WEIGHED = Parameter(
    name="strategy.class_weights", label=BALANCED.label, kind="categorical", choices=(False, True), absent=False
)
_SMALL_COST = CostPrior(build_fixed=10.0, build_per_1000=40.0, predict_fixed=4.0, predict_per_1000=18.0)
_BASE_COST = CostPrior(build_fixed=15.0, build_per_1000=400.0, predict_fixed=5.0, predict_per_1000=150.0)


def _hub(name: str, hub: str, licence: str, language: tuple[str, ...], *, base: bool = True) -> Variant:
    short = hub.rpartition("/")[2]
    return Variant(
        name=name, hub=hub, licence=licence, languages=language, min_rows=_MIN_ROWS, simplicity=_SIMPLICITY,
        label=Words(zh=f"微调 {short}", en=f"{short}, fine-tuned"), params=_PARAMS,
        strategy=_BASE if base else _SMALL, cost=_BASE_COST if base else _SMALL_COST,
    )  # fmt: skip


_LOCAL = (
    Variant(
        name="e5-small", weights="multilingual-e5-small", hub="intfloat/multilingual-e5-small", licence="MIT",
        label=Words(zh="微调多语言 E5-small 编码器", en="multilingual E5-small encoder, fine-tuned"), languages=("zh", "en"),
        params=_PARAMS, strategy=_SMALL, min_rows=_MIN_ROWS, cost=_SMALL_COST, simplicity=_SIMPLICITY,
    ),
    Variant(
        name="minilm", weights="all-minilm-l6-v2", hub="sentence-transformers/all-MiniLM-L6-v2", licence="Apache-2.0",
        label=Words(zh="微调 MiniLM-L6 编码器", en="MiniLM-L6 encoder, fine-tuned"), languages=("en",),
        params=_PARAMS, min_rows=_MIN_ROWS, simplicity=_SIMPLICITY,
        strategy=_SMALL.model_copy(update={"max_length": 128, "freeze": "none"}),
        cost=CostPrior(build_fixed=8.0, build_per_1000=45.0, predict_fixed=4.0, predict_per_1000=20.0),
    ),
)  # fmt: skip

_ON_HUBS = (
    _hub("bert-base-chinese", "google-bert/bert-base-chinese", "Apache-2.0", ("zh",)),
    _hub("roberta-wwm-zh", "hfl/chinese-roberta-wwm-ext", "Apache-2.0", ("zh",)),
    _hub("macbert-base", "hfl/chinese-macbert-base", "Apache-2.0", ("zh",)),
    _hub("bge-small-zh", "BAAI/bge-small-zh-v1.5", "MIT", ("zh",), base=False),
    _hub("distilbert", "distilbert/distilbert-base-uncased", "Apache-2.0", ("en",)),
    _hub("modernbert", "answerdotai/ModernBERT-base", "Apache-2.0", ("en",)),
    _hub("bge-small-en", "BAAI/bge-small-en-v1.5", "MIT", ("en",), base=False),
    _hub("xlm-roberta", "FacebookAI/xlm-roberta-base", "MIT", ("zh", "en")),
)


class Encoder:
    """Fine-tunes pretrained encoders.

    ``params``: ``min_steps`` adds epochs when rows are so few that one teaches little; ``head_start`` fits the head on the
    frozen encoder before everything is tuned together; ``pooling``, ``normalise`` and ``prefix`` overrule the encoder's own.
    """

    traits = FamilyTraits(
        label=Words(zh="微调编码器", en="fine-tuned encoder"),
        tasks=("text-classification",),
        needs=transformer.NEEDS,
        formats=("transformer",),
        exports=("onnx", "openvino"),
        export_needs=transformer.EXPORT_NEEDS,
        compressible=("dynamic_int8", "static_int8", "bfloat16"),
        excuses={"litert": transformer.NO_LITERT},
        parallel=True,
    )

    def variants(self, spec: Spec, profile: Profile) -> Sequence[Variant]:
        """Return every encoder for the language of the rows; those on hubs are listed even when not at hand."""
        del spec
        return [found for found in (*_LOCAL, *_ON_HUBS) if profile.language in found.languages]

    def space(self, variant: Variant, profile: Profile) -> Space:
        """Return how it is trained: rate, epochs, schedule, decay, batches, what is frozen, and the length of the texts."""
        return Space.around(variant, (*_TUNED, _WEIGHED) if imbalanced(profile) else _TUNED)

    def build(self, context: BuildContext) -> Artifact:
        """Fine-tune, or with ``probe`` only set the network up with initial weights.

        Raises:
            StepError: 'unavailable' weights, 'unsupported' strategy, 'non_finite' loss, 'error' when rows carry one class.

        """
        if not context.probe and len(set(context.train.labels.tolist())) < 2:
            what = "the training rows carry one class only"
            raise StepError("error", what, try_="more training rows, or a stratified sample")
        prepared = transformer.prepare(context, prefix=bool(context.params.get("prefix", False)))
        from bakeoff.training import torch_loop as loop

        loop.initialise(prepared.network.head, context.strategy.initialiser)
        loop.freeze(prepared.network, context.strategy.freeze)
        if context.probe:
            return transformer.write(context, prepared, training=None)
        if context.params.get("head_start") and context.strategy.initialiser == "default":
            self._head_start(context, prepared)
        log = self._train(context, prepared)
        return transformer.write(
            context, prepared, training=log.record(), strategy=context.strategy.model_dump(mode="json")
        )

    def _train(self, context: BuildContext, prepared: transformer.Prepared) -> TrainingLog:
        from bakeoff.training import torch_loop as loop

        train = loop.Encoded(prepared.encode(context.train.rows), context.train.labels)
        calibrate = loop.Encoded(prepared.encode(context.calibrate.rows), context.calibrate.labels)
        how: dict[str, Any] = {
            "seed": context.seed,
            "pad": prepared.pad,
            "min_steps": int(context.params.get("min_steps", 0)),
        }
        if context.processes == 1:
            return loop.Loop(prepared.network, train, calibrate, context.strategy, **how).run()
        from bakeoff.training import distributed

        processes = distributed.Processes(context.processes, context.threads, context.cluster)
        return distributed.fit(prepared.network, train, calibrate, context.strategy, **how, processes=processes)

    def _head_start(self, context: BuildContext, prepared: transformer.Prepared) -> None:
        """Fit the head on the frozen encoder first (Kumar et al. 2022): fine-tuning then starts from a sensible place."""
        from bakeoff.models._head import fit_head

        vectors, _ = transformer.embed(prepared, context.train.rows, context.features)
        fit_head(context, prepared, vectors)

    def export(self, context: ExportContext) -> Artifact:
        """Convert to one graph: token ids in, probabilities out."""
        return export_as(context, transformer.export_onnx, self.traits.exports)


PLUGIN = Encoder()
