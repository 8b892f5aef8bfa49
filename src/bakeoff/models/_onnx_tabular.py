"""ONNX graphs of scorecards and boosted trees, written from their own files.

The trees are written node by node rather than with a converter: thresholds stay exact (``below``), categories keep
their sets, and a missing value goes where the library sends it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bakeoff.models._onnx import MODEL, Graph, tensor
from bakeoff.models.base import ExportContext
from bakeoff.schema.artifact import Artifact
from bakeoff.schema.errors import StepError

_BATCH = 1024
_LEQ, _LT, _MEMBER = 0, 1, 6  # node modes of ai.onnx.ml TreeEnsemble


def export_scorecard(context: ExportContext) -> Artifact:
    """Write a scorecard as two comparisons and three small products."""
    card = json.loads((context.source / context.artifact.meta["card"]).read_text(encoding="utf-8"))
    graph = Graph()
    start, steps, kinds = _steps(card)
    gone = graph.add("IsNaN", ["features"], "gone")
    # a missing value is in no bin and in no category; not every runtime says so when it compares NaN
    graph.add("Where", [gone, graph.constant("nowhere", np.float32(np.finfo(np.float32).min)), "features"], "known")
    for kind, (columns, values, weights) in steps.items():
        picked = graph.add("Gather", ["known", graph.constant(f"{kind}_at", np.asarray(columns))], f"{kind}_in", axis=1)
        cut = graph.constant(f"{kind}_cut", np.asarray(values, dtype=np.float32))
        side = graph.add({"number": "Greater", "category": "Equal"}[kind], [picked, cut], f"{kind}_side")
        _product(graph, side, np.asarray(weights, dtype=np.float32), kind)
    _product(graph, gone, kinds, "missing")
    parts = [*(f"{kind}_part" for kind in steps), "missing_part", graph.constant("start", start)]
    graph.add("Sum", parts, "scores")
    return _finish(context, graph)


def _product(graph: Graph, flags: str, weights: NDArray[np.float32], kind: str) -> None:
    numbers = graph.add("Cast", [flags], f"{kind}_flags", to=1)
    graph.add("MatMul", [numbers, graph.constant(f"{kind}_weights", weights)], f"{kind}_part")


def _steps(card: Mapping[str, Any]) -> tuple[NDArray[np.float32], dict[str, Any], NDArray[np.float32]]:
    """Return the score of a row in the first bin of every number and in no category, what each cut or code adds to it,
    and what a missing value adds (columns × cards); columns the card does not use add nothing.
    """  # noqa: D205 - one sentence
    start = np.asarray(card["intercept"], dtype=np.float64)
    steps: dict[str, tuple[list[int], list[float], list[Any]]] = {}
    width = int(card["width"])
    missing = np.zeros((width, len(start)))
    for column in card["columns"]:
        weights, gone = np.asarray(column["weights"]), np.asarray(column["missing"])
        if column["edges"] is None:
            cuts, adds = [float(code) for code in range(len(weights))], list(weights)
            missing[column["at"]] = gone
        else:
            cuts, adds = column["edges"], list(np.diff(weights, axis=0))
            start = start + weights[0]
            missing[column["at"]] = gone - weights[0]
        columns, values, added = steps.setdefault("number" if column["edges"] is not None else "category", ([], [], []))
        columns.extend([column["at"]] * len(cuts))
        values.extend(cuts)
        added.extend(adds)
    kept = {kind: found for kind, found in steps.items() if found[0]}
    return start.astype(np.float32), kept, missing.astype(np.float32)


def export_trees(context: ExportContext) -> Artifact:
    """Write a LightGBM or XGBoost model as one TreeEnsemble."""
    artifact = context.artifact
    if artifact.format == "lightgbm":
        trees, base = _lightgbm(
            (context.source / artifact.meta["model"]).read_text(encoding="utf-8"), len(artifact.classes)
        )
    else:
        trees, base = _xgboost((context.source / artifact.meta["model"]).read_bytes(), len(artifact.classes))
    graph = Graph()
    trees.write(graph, targets=len(base))
    graph.add("Add", ["sums", graph.constant("base", base)], "scores")
    return _finish(context, graph)


def _finish(context: ExportContext, graph: Graph) -> Artifact:
    artifact = context.artifact
    link = "sigmoid" if len(artifact.classes) == 2 else "softmax"
    graph.link("scores", str(artifact.meta.get("link", link)))
    width = len(artifact.transform["columns"])
    graph.write(context.out / MODEL, [tensor("features", "FLOAT", "batch", width)], len(artifact.classes))
    meta = {"model": MODEL, "batch": _BATCH, "origin": artifact.format}
    return artifact.model_copy(update={"format": "onnx", "meta": meta, "files": ()})


def below(threshold: float) -> float:
    """Return the largest float32 that is not above ``threshold``: for float32 inputs both split alike."""
    nearest = np.float32(threshold)
    return float(nearest if float(nearest) <= threshold else np.nextafter(nearest, np.float32(-np.inf)))


@dataclass
class Trees:
    """Binary trees in the layout of ``TreeEnsemble``: inner nodes and leaves numbered apart, over all trees."""

    roots: list[int] = field(default_factory=list)
    feature: list[int] = field(default_factory=list)
    split: list[float] = field(default_factory=list)
    mode: list[int] = field(default_factory=list)
    missing_true: list[int] = field(default_factory=list)
    branches: list[list[tuple[int, int]]] = field(default_factory=list)  # per node: (id, is a leaf) if true, if false
    members: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)

    def node(self, feature: int, split: float, mode: int, *, missing_true: bool) -> int:
        """Add an inner node and return its number; its branches are set when they are known."""
        self.feature.append(feature)
        self.split.append(split)
        self.mode.append(mode)
        self.missing_true.append(int(missing_true))
        self.branches.append([(0, 0), (0, 0)])
        return len(self.feature) - 1

    def member(self, feature: int, codes: list[int], *, missing_true: bool) -> int:
        """Add a node that asks whether a feature is one of ``codes``."""
        self.members.extend([*map(float, codes), math.nan])
        return self.node(feature, 0.0, _MEMBER, missing_true=missing_true)

    def leaf(self, weight: float, target: int) -> tuple[int, int]:
        """Add a leaf and return it as a branch."""
        self.weights.append(weight)
        self.targets.append(target)
        return len(self.weights) - 1, 1

    def root(self, branch: tuple[int, int]) -> None:
        """Start a tree with this branch; a tree of one leaf gets a node that always leads there."""
        at, is_leaf = branch
        if is_leaf:
            node = self.node(0, 0.0, _LEQ, missing_true=False)
            self.branches[node] = [branch, branch]
            at = node
        self.roots.append(at)

    def write(self, graph: Graph, targets: int) -> None:
        """Add the ensemble to ``graph``: ``features`` → ``sums`` (n, targets)."""
        from onnx import numpy_helper

        true, false = ([pair[side] for pair in self.branches] for side in (0, 1))
        members = {}
        if self.members:
            members = {"membership_values": numpy_helper.from_array(np.asarray(self.members, dtype=np.float32))}
        graph.add(
            "TreeEnsemble", ["features"], "sums", "ai.onnx.ml",
            n_targets=targets, aggregate_function=1, post_transform=0,
            tree_roots=self.roots, nodes_featureids=self.feature,
            nodes_splits=numpy_helper.from_array(np.asarray(self.split, dtype=np.float32)),
            nodes_modes=numpy_helper.from_array(np.asarray(self.mode, dtype=np.uint8)),
            nodes_missing_value_tracks_true=self.missing_true,
            nodes_truenodeids=[at for at, _ in true], nodes_trueleafs=[leaf for _, leaf in true],
            nodes_falsenodeids=[at for at, _ in false], nodes_falseleafs=[leaf for _, leaf in false],
            leaf_weights=numpy_helper.from_array(np.asarray(self.weights, dtype=np.float32)),
            leaf_targetids=self.targets, **members,
        )  # fmt: skip


def _lightgbm(model: str, classes: int) -> tuple[Trees, NDArray[np.float32]]:
    import lightgbm

    dump = lightgbm.Booster(model_str=model).dump_model()
    width = int(dump["num_tree_per_iteration"])
    trees = Trees()
    for at, tree in enumerate(dump["tree_info"]):
        trees.root(_lightgbm_branch(trees, tree["tree_structure"], at % width))
    return trees, np.zeros(1 if classes == 2 else classes, dtype=np.float32)


def _lightgbm_branch(trees: Trees, node: Mapping[str, Any], target: int) -> tuple[int, int]:
    if "leaf_value" in node:
        return trees.leaf(float(node["leaf_value"]), target)
    feature = int(node["split_feature"])
    if node["decision_type"] == "==":
        codes = [int(code) for code in str(node["threshold"]).split("||")]
        at = trees.member(feature, codes, missing_true=False)  # a missing category is in no set
    else:
        threshold = float(node["threshold"])
        # without missing values in training the library reads a later one as zero
        missing = bool(node["default_left"]) if node["missing_type"] == "NaN" else threshold >= 0.0
        at = trees.node(feature, below(threshold), _LEQ, missing_true=missing)
    left = _lightgbm_branch(trees, node["left_child"], target)
    trees.branches[at] = [left, _lightgbm_branch(trees, node["right_child"], target)]
    return at, 0


def _xgboost(model: bytes, classes: int) -> tuple[Trees, NDArray[np.float32]]:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(bytearray(model))
    learner = json.loads(booster.save_raw(raw_format="json"))["learner"]
    forest = learner["gradient_booster"]["model"]
    trees = Trees()
    for tree, target in zip(forest["trees"], forest["tree_info"], strict=True):
        sets = _category_sets(tree)
        trees.root(_xgboost_branch(trees, tree, sets, 0, int(target)))
    score = json.loads(learner["learner_model_param"]["base_score"])
    scores = np.asarray(score if isinstance(score, list) else [score], dtype=np.float64)
    objective = learner["objective"]["name"]
    if objective == "binary:logistic":
        return trees, np.log(scores / (1.0 - scores)).astype(np.float32)
    if objective == "multi:softprob":
        return trees, np.broadcast_to(scores, classes).astype(np.float32)
    what = "this objective has no ONNX form here"
    raise StepError("unsupported", what, got=objective)


def _category_sets(tree: Mapping[str, Any]) -> dict[int, list[int]]:
    parts = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    return {node: tree["categories"][start : start + size] for node, start, size in parts}


def _xgboost_branch(
    trees: Trees, tree: Mapping[str, Any], sets: Mapping[int, list[int]], at: int, target: int
) -> tuple[int, int]:
    left, right = tree["left_children"][at], tree["right_children"][at]
    if left < 0:
        return trees.leaf(float(tree["split_conditions"][at]), target)
    feature, goes_left = int(tree["split_indices"][at]), bool(tree["default_left"][at])
    if at in sets:  # the set leads to the right
        node = trees.member(feature, sets[at], missing_true=not goes_left)
        branches = right, left
    else:
        node = trees.node(feature, float(np.float32(tree["split_conditions"][at])), _LT, missing_true=goes_left)
        branches = left, right
    trees.branches[node] = [_xgboost_branch(trees, tree, sets, branch, target) for branch in branches]
    return node, 0
