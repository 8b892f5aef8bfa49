"""The verbs that deliver: from a decision to a bundle, a server, and the proof that it keeps its promise."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bakeoff import flags
from bakeoff.cli.shared import add_verb, opening_arguments, passphrase_argument

if TYPE_CHECKING:
    from bakeoff.cli.shared import Verbs


def ship(verbs: Verbs) -> None:
    """Declare ``bakeoff ship``."""
    verb = add_verb(verbs, "ship", "write the bundle that keeps the decision's promise")
    verb.add_argument("study", metavar="STUDY", help="study folder")
    verb.add_argument("-o", "--output", required=True, metavar="BUNDLE", help="folder to write")
    verb.add_argument("--candidate", metavar="ID", help="ship this candidate (default: the recommended one)")
    verb.add_argument(
        "--no-rows", action="store_true", help="leave the confirm rows out; verify can then not re-test quality"
    )
    verb.add_argument(
        "--format",
        choices=("onnx", "openvino", "tflite"),
        help="convert the model if its answers stay the same; verify then measures what the trial could not",
    )
    verb.add_argument(
        "--whole", action="store_true",
        help="add whole.onnx: the model in one file with what comes before and after it, run without Bakeoff",
    )  # fmt: skip
    verb.add_argument("--sign", metavar="KEY", help="sign the bundle with this Ed25519 key")
    passphrase_argument(verb)
    verb.add_argument(
        "--encrypt",
        metavar="KEYFILE",
        help="encrypt model, rows, decision and report: a key file, or env:NAME for a variable",
    )
    verb.add_argument(
        "--shards", type=int, metavar="N",
        help="split the model's ONNX graph into N stages of about the same time, so that no server holds the whole",
    )  # fmt: skip
    verb.add_argument(
        "--shard-memory", metavar="SIZE", help="with --shards: bytes of weights that one stage may hold, such as 500MB"
    )


def verify(verbs: Verbs) -> None:
    """Declare ``bakeoff verify``."""
    verb = add_verb(verbs, "verify", "check a bundle's signature and hashes and re-test its contract on this machine")
    verb.add_argument("bundle", metavar="BUNDLE", help="bundle folder")
    opening_arguments(verb)
    verb.add_argument(
        "--quick", action="store_true", help="time nothing: hashes, answers, quality, size and memory only"
    )
    verb.add_argument(
        "--strict", action="store_true", help="exit code 4 when a promise, or the answers, could not be told here"
    )
    verb.add_argument("--lang", choices=("zh", "en"), default="en", help="language of what is printed (default: en)")


def serve(verbs: Verbs) -> None:
    """Declare ``bakeoff serve``."""
    verb = add_verb(verbs, "serve", "serve a bundle over HTTP")
    verb.add_argument("bundle", metavar="BUNDLE", help="bundle folder")
    opening_arguments(verb)
    verb.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    verb.add_argument(
        "--port", type=int, default=8080, metavar="N", help="port, 0 for a free one (default: %(default)s)"
    )
    flags.add_computing(verb)
    flags.add_access(verb)
    verb.add_argument(
        "--limit", action="append", default=[], metavar="NAME=VALUE", dest="limits",
        help="change what is accepted, e.g. body=8388608 or queue-seconds=0.2; may be repeated",
    )  # fmt: skip
    _cluster_arguments(verb)


def _cluster_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--ray", action="store_true", help="compute in replicas on a Ray cluster, as many as are needed")
    verb.add_argument(
        "--address", metavar="ADDRESS",
        help="Ray cluster: 'auto' for the one this machine belongs to, or HOST:PORT (default: one is started on this machine)",
    )  # fmt: skip
    verb.add_argument(
        "--min-replicas",
        type=int,
        default=1,
        metavar="N",
        help="with --ray: replicas kept at least (default: %(default)s)",
    )
    verb.add_argument(
        "--max-replicas", type=int, default=4, metavar="N", help="with --ray: replicas at most (default: %(default)s)"
    )
    verb.add_argument(
        "--shards", choices=("local", "ray"),
        help="where the stages of a split model run: processes of this machine (default), or nodes of a Ray cluster",
    )  # fmt: skip
    verb.add_argument(
        "--route", metavar="REPLICAS",
        help="copies of an ONNX model behind one router that measures them: cpu:THREADS and PROVIDER:DEVICE, comma-separated, or auto",
    )  # fmt: skip


def load(verbs: Verbs) -> None:
    """Declare ``bakeoff load``."""
    verb = add_verb(
        verbs, "load", "send load to a server or a bundle; find the highest rate that keeps the latency limit"
    )
    verb.add_argument("target", metavar="TARGET", help="URL, bundle folder, or 'null' to measure the client itself")
    opening_arguments(verb)
    verb.add_argument(
        "--scenario", choices=("server", "closed", "single-stream", "multi-stream", "offline"),
        help="as MLPerf defines them; 'closed' keeps --clients requests in flight (default: server where a limit is known)",
    )  # fmt: skip
    verb.add_argument(
        "--rate", type=float, metavar="R", help="requests per second, at random times (default: find the highest)"
    )
    verb.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="length of the run (default: %(default)s)"
    )
    verb.add_argument("--clients", type=int, metavar="N", help="requests in flight of a closed loop (default: 32)")
    verb.add_argument(
        "--limit", action="append", default=[], metavar="pN=TIME", dest="limits",
        help="latency limit, e.g. p95=50ms; may be repeated (default: the contract's)",
    )  # fmt: skip
    _sent_arguments(verb)
    verb.add_argument(
        "--gate",
        action="store_true",
        help="hold the server to its contract; exit code 3 when it breaks it, 4 when the run cannot tell",
    )
    verb.add_argument(
        "--bundle", metavar="BUNDLE", help="bundle behind the URL: send its contract rows and compare the labels"
    )
    verb.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the arrivals (default: %(default)s)")
    verb.add_argument("--out", metavar="DIR", help="folder for report.json and the log of every request")
    verb.add_argument("--lang", choices=("zh", "en"), default="en", help="language of what is printed (default: en)")


def _sent_arguments(verb: argparse.ArgumentParser) -> None:
    """Declare what a load test sends, and how."""
    verb.add_argument(
        "--rows", metavar="FILE", help="data file to take rows from (default: the contract's rows, or made-up ones)"
    )
    verb.add_argument("--bodies", metavar="FILE", help="file with one request body a line, posted to the URL as it is")
    verb.add_argument(
        "--rows-per-request",
        type=int,
        metavar="N",
        help="rows of one request (default: 1; multi-stream 8, offline 256)",
    )
    verb.add_argument("--model", metavar="NAME", help="model of an Open Inference Protocol server that is not ours")
    verb.add_argument(
        "--header", action="append", default=[], metavar="NAME:VALUE", dest="headers",
        help="further header; @FILE as the value reads it from a file; may be repeated",
    )  # fmt: skip
    verb.add_argument(
        "--ca", metavar="FILE", help="PEM file of the authorities to trust for HTTPS (default: the system's)"
    )
    verb.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="seconds to wait for an answer (default: %(default)s)"
    )


def predict(verbs: Verbs) -> None:
    """Declare ``bakeoff predict``."""
    verb = add_verb(
        verbs, "predict", "answer every row of a file with a bundle's model; goes on after a stop with --resume"
    )
    verb.add_argument("bundle", metavar="BUNDLE", help="bundle folder")
    opening_arguments(verb)
    verb.add_argument("file", metavar="FILE", help="csv, tsv, jsonl or parquet file; - for standard input")
    verb.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="file of answers, csv or jsonl; - for standard output"
    )
    verb.add_argument("--format", choices=("csv", "jsonl"), help="format of the answers (default: by the name of OUT)")
    verb.add_argument("--resume", action="store_true", help="go on where an earlier run was stopped or killed")
    verb.add_argument("--force", action="store_true", help="overwrite an existing file")
    verb.add_argument(
        "--batch", type=int, default=64, metavar="N", help="rows computed together (default: %(default)s)"
    )
    verb.add_argument("--probabilities", action="store_true", help="write the probability of every class")
    verb.add_argument(
        "--id", metavar="COLUMN", dest="identifier", help="column copied to the answers, beside the row number"
    )
    verb.add_argument("--encoding", default="auto", help="encoding of FILE (default: guessed)")
    verb.add_argument(
        "--threads", type=int, metavar="N", help="threads of the model (default: as promised in the contract)"
    )


def keygen(verbs: Verbs) -> None:
    """Declare ``bakeoff keygen``."""
    verb = add_verb(verbs, "keygen", "make a key to sign bundles with, or one to encrypt them with")
    verb.add_argument(
        "-o", "--output", required=True, metavar="KEY", help="file to write, readable by you alone; never overwritten"
    )
    verb.add_argument(
        "--encryption",
        action="store_true",
        help="a key to encrypt with (default: an Ed25519 key to sign with, and its public half in KEY.pub)",
    )
    passphrase_argument(verb)


def keys(verbs: Verbs) -> None:
    """Declare ``bakeoff keys``."""
    verb = add_verb(
        verbs, "keys", "make, list and revoke the API keys that a server accepts; their file holds hashes only"
    )
    verb.add_argument("action", choices=("add", "list", "revoke"), help="what to do")
    verb.add_argument("name", metavar="NAME", nargs="?", help="who holds the key; shown in metrics, never secret")
    verb.add_argument("--file", required=True, metavar="FILE", help="file of keys, made by the first 'add'")
