"""Opens bundles and asks them, with an audit hook that writes down whatever a bundle has no business doing.

``python -m tests.contracts._watched``: reads ``{"name": {"bundle": …, "decrypt": …, "rows": […]}}`` on stdin, writes ``{"name": {"seen": […],
"labels": […], "probabilities": […]}}`` or ``{"name": {"error": …}}`` on stdout. Every bundle is opened twice: what a library does only once, when
it is imported, is not the bundle's doing, and the hook watches the second time. ``python -m tests.contracts._watched SEEN FLAG…`` runs
the real server with those flags instead, after asking its bundle once, and leaves what it was seen doing as a list in the file SEEN.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import pkgutil
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import CodeType
from typing import Any

import bakeoff
from bakeoff import serving
from bakeoff.runtimes.keys import Keys
from bakeoff.schema.errors import BakeoffError
from bakeoff.serving import __main__ as program
from bakeoff.serving.model import load, open_bundle

FORBIDDEN = frozenset({
    "pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn",
    "socket.connect", "socket.sendto", "socket.bind", "socket.getaddrinfo", "urllib.Request", "ctypes.dlopen", "marshal.loads",
})  # fmt: skip
_LOOPBACK = ("'127.0.0.1'", "'localhost'", "'::1'")
_OURS = tuple(
    str(Path(place).resolve())
    for place in {
        *sysconfig.get_paths().values(),
        sys.prefix,
        sys.base_prefix,
        str(Path(bakeoff.__file__).parent),
        *filter(None, sys.path),
    }
)

_SYSTEM = tuple(map(Path, ("/proc", "/sys", "/dev/urandom", "/dev/null")))
_MEMORY = tuple(Path(place) / "bakeoff-memory-" for place in ("/dev/shm", tempfile.gettempdir()))
"""Where the links to decrypted files lie; ``bakeoff.runtimes.memory`` says why they are safe to follow."""
_WRITTEN = ("/dev/null",)


class Watch:
    """Notes forbidden events while it is armed, ``open`` of what is not the bundle's, installed, or of the system among them.

    An audit hook cannot be taken off again. What a library reads without asking Python is not seen.
    """

    def __init__(self) -> None:
        self.armed = False
        self.bundle = Path("/nowhere")
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event in FORBIDDEN and not _harmless(event, arguments):
            self.seen.append(f"{event} {str(arguments)[:200]}")
        elif event == "exec" and isinstance(arguments[0], CodeType) and not _known(arguments[0].co_filename):
            self.seen.append(f"exec {arguments[0].co_filename}")
        elif event == "compile" and not _known(str(arguments[1])) and not _called_by(ast.__file__, "literal_eval"):
            self.seen.append(f"compile {arguments[1]}")
        elif event == "open" and not self._may_open(*arguments):
            self.seen.append(f"open {arguments[0]} {arguments[1]}")

    def _may_open(self, path: object, mode: object, flags: int) -> bool:
        """Reading what the bundle, the installation or the system holds; a number is a file that is open already.

        A folder of links to memory is removed from the inside, by names without a folder.
        """
        if isinstance(path, int) or _called_by(shutil.__file__, "rmtree"):
            return True
        name = os.path.abspath(os.fsdecode(path))  # type: ignore[arg-type]  # noqa: PTH100 - links are not followed
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or any(sign in str(mode or "") for sign in "wax+")
        if writes:
            return name in _WRITTEN
        held = any(name.startswith(str(place)) for place in _MEMORY)
        return held or _installed(name) or any(Path(name).is_relative_to(place) for place in (self.bundle, *_SYSTEM))


def _harmless(event: str, arguments: tuple[Any, ...]) -> bool:
    """Importing reads code that is installed; a runtime may speak to a thread of its own over the loopback interface."""
    if event == "marshal.loads":
        return _called_by("<frozen importlib")
    return event.startswith("socket.") and any(place in str(arguments) for place in _LOOPBACK)


def _called_by(file: str, function: str = "") -> bool:
    """Whether a function of that file is among the callers; ``ast.literal_eval`` compiles to a tree that nothing executes."""
    frame: Any = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith(file) and function in {"", frame.f_code.co_name}:
            return True
        frame = frame.f_back
    return False


def _known(filename: str) -> bool:
    """Code that is installed, or text that it makes of itself while it is imported, as named tuples and data classes do."""
    return _installed(filename) or (filename.startswith("<") and _called_by("<frozen importlib"))


def _installed(filename: str) -> bool:
    return filename.startswith(("<frozen ", *_OURS))


def ask(bundle: Path, rows: list[dict[str, Any]], watch: Watch, keys: Keys) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for armed in (False, True):
        watch.seen, watch.bundle, watch.armed = [], bundle, armed
        served = load(open_bundle(bundle, keys), 1)
        labels, probabilities = served.classifier.predict(rows)
        served.classifier.close()
        watch.armed = False
        answer = {"seen": watch.seen, "labels": labels.tolist(), "probabilities": probabilities.tolist()}
    return answer


def serve(seen: Path, flags: list[str]) -> int:
    """Run the server as ``python -m bakeoff.serving`` does, watched from before it opens the bundle until it has ended."""
    watch, bundle = Watch(), Path(flags[0])
    ask(bundle, [{}], watch, Keys.given())
    importlib.import_module("uvloop")
    for module in pkgutil.iter_modules(serving.__path__, "bakeoff.serving."):
        if module.name.rpartition(".")[2] not in {"on_ray", "lease"}:
            importlib.import_module(module.name)
    watch.seen, watch.armed = [], True
    code = program.main(flags)
    watch.armed = False
    seen.write_text(json.dumps(watch.seen), encoding="utf-8")
    return code


def main() -> None:
    watch, found = Watch(), {}
    for name, job in json.load(sys.stdin).items():
        try:
            found[name] = ask(Path(job["bundle"]), job["rows"], watch, Keys(decrypt=job["decrypt"]))
        except BakeoffError as error:
            found[name] = {"error": str(error)}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(serve(Path(sys.argv[1]), sys.argv[2:]))
    main()
