"""What several verbs take, declared once."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bakeoff import flags

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names the type only so

EPILOG = (
    "exit codes: 0 decided or done, 2 something to mend in the input, 3 infeasible or contract broken, "
    "4 cannot be told from this run, 1 a fault of ours"
)


def add_verb(verbs: Verbs, name: str, summary: str) -> argparse.ArgumentParser:
    """Declare a verb with what every verb takes."""
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=summary, description=summary, epilog=EPILOG)
    verb.add_argument(
        "--json", action="store_true", help="print one JSON document on stdout, everything else on stderr"
    )
    return verb


def spec_argument(verb: argparse.ArgumentParser) -> None:
    """Take a specification."""
    verb.add_argument("spec", metavar="SPEC", help="requirement specification (YAML)")


def set_argument(verb: argparse.ArgumentParser) -> None:
    """Take changes of the specification."""
    verb.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="change one field of the specification, e.g. requirements.latency.p95=80ms; may be repeated",
    )  # fmt: skip


def passphrase_argument(verb: argparse.ArgumentParser) -> None:
    """Take the passphrase of a signing key."""
    verb.add_argument(
        "--passphrase", metavar="FILE", help="file with the passphrase of the signing key, or env:NAME for a variable"
    )


def opening_arguments(verb: argparse.ArgumentParser) -> None:
    """Take the keys a bundle is opened with."""
    verb.add_argument(
        "--key", metavar="PUB", help="public key that must have signed the bundle (default: $BAKEOFF_VERIFY_KEY)"
    )
    verb.add_argument(
        "--decrypt",
        metavar="KEYFILE",
        help="key of an encrypted bundle: a file, or env:NAME for a variable (default: $BAKEOFF_BUNDLE_KEY)",
    )
    flags.add_endpoints(verb)
