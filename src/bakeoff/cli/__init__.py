"""The command line: parse, call the study or one stage, print, exit code.

Exit codes: 0 decided (or done), 2 the user can mend it, 3 infeasible (or a broken contract), 4 cannot be told from this run, 1 ours.
With ``--json`` exactly one JSON document goes to stdout and everything else to stderr.
Nothing heavy is imported before a verb is known, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from bakeoff.cli import delivering, studying
from bakeoff.cli.shared import EPILOG

OK, OURS, MISTAKE, STOPPED = 0, 1, 2, 130


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
        epilog=EPILOG,
        description="Measured technology selection for AI applications: one decision you can defend.",
    )
    top.add_argument("--version", action="version", version=_version())
    verbs = top.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for add in (
        studying.init,
        studying.validate,
        studying.plan,
        studying.run,
        studying.report,
        studying.decide,
        studying.replay,
        studying.ledger,
        delivering.ship,
        delivering.verify,
        delivering.serve,
        delivering.load,
        delivering.predict,
        delivering.keygen,
        delivering.keys,
        studying.catalog,
        studying.doctor,
        studying.fetch,
    ):
        add(verbs)
    return top


def _version() -> str:
    from bakeoff import __version__

    return f"bakeoff {__version__}"
