"""Tabular classification: one class per table row of numbers and categories."""

from __future__ import annotations

from bakeoff.schema.base import Words
from bakeoff.schema.plugin import TaskTraits
from bakeoff.tasks.base import Classification, TaskPlugin
from bakeoff.tasks.scoring import METRICS

PLUGIN: TaskPlugin = Classification(
    TaskTraits(label=Words(zh="表格分类", en="Tabular classification"), metrics=METRICS, default_metric="roc_auc")
)
