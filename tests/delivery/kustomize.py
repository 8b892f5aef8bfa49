"""What ``kustomize build`` does with the few features that the manifests use, for machines without kustomize or kubectl.

Knows resources, components, images and patches of one operation, replace; anything else is an error. Where the real tool is
installed, ``test_kubernetes.py`` holds the two against each other.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]
_KNOWN = {"apiVersion", "kind", "resources", "components", "images", "patches"}


def build(folder: Path) -> list[Document]:
    """Return the resources of a kustomization."""
    return _build(folder.resolve(), [], "Kustomization")


def _build(folder: Path, above: list[Document], kind: str) -> list[Document]:
    """Return what is above, for a component, and the folder's own resources, changed as the folder says."""
    whole = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    assert whole["kind"] == kind
    assert not whole.keys() - _KNOWN, f"not known here: {whole.keys() - _KNOWN}"
    found = list(above)
    for name in whole.get("resources", ()):
        path = (folder / name).resolve(strict=True)
        found += _build(path, [], "Kustomization") if path.is_dir() else yaml.safe_load_all(path.read_text("utf-8"))
        identities = [(one["apiVersion"], one["kind"], one["metadata"]["name"]) for one in found]
        assert len(set(identities)) == len(identities), f"{path}: a second resource of the same name"
    for name in whole.get("components", ()):
        found = _build((folder / name).resolve(strict=True), found, "Component")
    for patch in whole.get("patches", ()):
        _patch(found, patch)
    for image in whole.get("images", ()):
        _images(found, image)
    return found


def _patch(documents: list[Document], patch: Document) -> None:
    assert patch["target"].keys() == {"kind"}
    for document in documents:
        if document["kind"] != patch["target"]["kind"]:
            continue
        for operation in yaml.safe_load(patch["patch"]):
            assert operation["op"] == "replace"
            *way, last = operation["path"].removeprefix("/").split("/")
            node = document
            for step in way:
                node = node[step]
            assert last in node, f"{operation['path']}: there is nothing to replace"
            node[last] = operation["value"]


def _images(node: Any, image: Document) -> None:
    """Replace an image's name and tag in every container, however deep."""
    if isinstance(node, list):
        for one in node:
            _images(one, image)
    elif isinstance(node, dict):
        for holder in [*node.get("containers", ()), *node.get("initContainers", ())]:
            if re.fullmatch(re.escape(image["name"]) + r"(:[\w.-]+)?(@sha256:[0-9a-f]{64})?", holder["image"]):
                tail = f"@{image['digest']}" if "digest" in image else f":{image['newTag']}"
                holder["image"] = image["newName"] + tail
        for one in node.values():
            _images(one, image)
