"""Flags that two command lines share: ``bakeoff serve`` and ``python -P -m bakeoff.serving``. Nothing but argparse is imported."""

from __future__ import annotations

import argparse
from pathlib import Path


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    number = int(text)
    if number < 1:
        what = f"at least 1 is needed, {number} was given"
        raise argparse.ArgumentTypeError(what)
    return number


def add_computing(parse: argparse.ArgumentParser) -> None:
    """Add the flags that say how many copies of the model compute, and where."""
    parse.add_argument(
        "--threads", type=positive, metavar="N", help="threads of the model (default: as promised in the contract)"
    )
    parse.add_argument(
        "--replicas", type=positive, metavar="N",
        help="batches computed at the same time (default: as many as the cores hold where that costs no memory, else 1)",
    )  # fmt: skip
    parse.add_argument(
        "--compute", choices=("auto", "inline", "threads", "processes"), default="auto",
        help="where the model computes: on the event loop, in threads or in processes (default: measured at start-up)",
    )  # fmt: skip


def add_endpoints(parse: argparse.ArgumentParser) -> None:
    """Add the flag that says where a model may send rows."""
    parse.add_argument(
        "--allow-endpoint", action="append", default=[], metavar="URL",
        help="endpoint that a bundle's model may ask though the bundle is not signed by --key; may be repeated "
        "(also: $BAKEOFF_ALLOW_ENDPOINT)",
    )  # fmt: skip


def add_access(parse: argparse.ArgumentParser) -> None:
    """Add the flags that say who may ask and how often."""
    parse.add_argument(
        "--api-keys", type=Path, metavar="FILE",
        help="file of API keys, made by 'bakeoff keys'; needed off the loopback interface (default: $BAKEOFF_API_KEYS)",
    )  # fmt: skip
    parse.add_argument(
        "--no-keys", action="store_true", help="serve other machines without keys: a gateway decides who may ask"
    )
    parse.add_argument(
        "--public", action="append", default=[], metavar="PATH",
        help="path that needs no key besides the health checks, e.g. /metrics; may be repeated",
    )  # fmt: skip
    parse.add_argument(
        "--rate",
        type=float,
        default=0.0,
        metavar="N",
        help="requests a second one client may make (default: any number)",
    )
    parse.add_argument(
        "--burst", type=float, default=0.0, metavar="N",
        help="requests it may make at once after a pause (default: twice --rate)",
    )  # fmt: skip
    parse.add_argument(
        "--tls-certificate", type=Path, metavar="FILE", help="PEM chain; the server then speaks HTTPS only"
    )
    parse.add_argument("--tls-key", type=Path, metavar="FILE", help="PEM private key of the certificate")
    parse.add_argument(
        "--log", choices=("none", "requests", "text"), default="none",
        help="a line of JSON per request on standard error; 'text' writes rows and answers too, personal data in them included "
        "(default: none)",
    )  # fmt: skip
