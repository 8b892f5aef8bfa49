"""Text classification: one class per text."""

from __future__ import annotations

from bakeoff.schema.base import Words
from bakeoff.schema.plugin import TaskTraits
from bakeoff.tasks.base import Classification, TaskPlugin
from bakeoff.tasks.scoring import METRICS

PLUGIN: TaskPlugin = Classification(
    TaskTraits(label=Words(zh="文本分类", en="Text classification"), metrics=METRICS, default_metric="macro_f1")
)
