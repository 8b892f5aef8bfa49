"""The servers compared: ours, and four others as their documentation shows them, each a program of its own.

All read ``{"texts": [...]}`` or ``{"values": [[...]]}``, tokenise with the same library, run the same graph on one thread of ONNX
Runtime and answer a label and its probabilities. LitServe, BentoML and Ray Serve batch up to 32. Each computes in as many workers
as ours does: threads behind one front here, processes there.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks._serve_models import SEQUENCE, Network

PEERS = ("fastapi", "litserve", "bentoml", "ray")
VENV = Path("build/peers-venv")
_PACKAGES = ("fastapi", "uvicorn", "litserve", "bentoml", "ray", "onnxruntime", "numpy", "tokenizers")

_MODEL = '''
import numpy as np, onnxruntime, json
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
class Model:
    """Tokenise, run, word: the same in every server."""
    def __init__(self):
        self.session = onnxruntime.InferenceSession(GRAPH, options, providers=["CPUExecutionProvider"])
        if TEXT:
            from tokenizers import Tokenizer
            self.tokenizer = Tokenizer.from_file(TOKENIZER)
            self.tokenizer.enable_truncation(SEQUENCE)
    def __call__(self, rows):
        if TEXT:
            ids = [found.ids for found in self.tokenizer.encode_batch_fast(rows, add_special_tokens=False)]
            longest = max(map(len, ids))
            table, mask = np.zeros((len(ids), longest), np.int64), np.zeros((len(ids), longest), np.int64)
            for at, row in enumerate(ids):
                table[at, :len(row)], mask[at, :len(row)] = row, 1
            feeds = {"input_ids": table, "attention_mask": mask}
        else:
            feeds = {"features": np.asarray(rows, np.float32)}
        found = self.session.run(["probabilities"], feeds)[0]
        return [{"label": f"c{label}", "probabilities": row} for label, row in zip(found.argmax(1).tolist(), found.tolist())]
FIELD = "texts" if TEXT else "values"
'''

_PROGRAMS = {
    "fastapi": """
from fastapi import FastAPI
from pydantic import BaseModel
class Ask(BaseModel):
    texts: list[str] = []
    values: list[list[float]] = []
app, model = FastAPI(), Model()
@app.post("/predict")
async def predict(ask: Ask):
    return {"predictions": model(ask.texts if TEXT else ask.values)}
if __name__ == "__main__":
    import uvicorn
    uvicorn.run("server:app", host="127.0.0.1", port=PORT, workers=WORKERS, log_level="warning", access_log=False)
""",
    "litserve": """
import litserve as ls
class Api(ls.LitAPI):
    def setup(self, device):
        self.model = Model()
    def decode_request(self, request):
        return request[FIELD][0]
    def batch(self, inputs):
        return list(inputs)
    def predict(self, rows):
        return self.model(rows)
    def unbatch(self, output):
        return output
    def encode_response(self, output):
        return {"predictions": [output]}
if __name__ == "__main__":
    server = ls.LitServer(Api(max_batch_size=32, batch_timeout=0.001), accelerator="cpu", workers_per_device=WORKERS)
    server.run(host="127.0.0.1", port=PORT, log_level="warning", generate_client_file=False)
""",
    "bentoml": """
import bentoml
@bentoml.service(traffic={"timeout": 60}, workers=WORKERS)
class Predictor:
    def __init__(self):
        self.model = Model()
    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=10000)
    def predict(self, rows: ROWS) -> list[dict]:
        return self.model(rows)
""",
    "ray": """
import ray
from ray import serve
from starlette.requests import Request
@serve.deployment(num_replicas=WORKERS, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=100)
class Predictor:
    def __init__(self):
        self.model = Model()
    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
    async def many(self, rows):
        return self.model(rows)
    async def __call__(self, request: Request):
        document = await request.json()
        return {"predictions": [await self.many(document[FIELD][0])]}
if __name__ == "__main__":
    import time
    ray.init(
        address="local", include_dashboard=False, num_cpus=WORKERS + 1, object_store_memory=100 << 20, log_to_driver=False, logging_level="ERROR",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Predictor.bind(), route_prefix="/predict")
    while True:
        time.sleep(1)
""",
}  # fmt: skip


@contextmanager
def running(
    name: str, network: Network, folder: Path, *flags: str, workers: int = 1
) -> Iterator[tuple[psutil.Popen, str]]:
    """Start a server by name (``bakeoff`` or a peer); yield its process and the URL to post to, once it answers."""
    port = _free_port()
    place = folder / f"{name}-{network.name}"
    place.mkdir(parents=True, exist_ok=True)
    if name == "bakeoff":
        command = [
            sys.executable,
            "-m",
            "bakeoff.serving",
            str(network.bundle),
            "--port",
            str(port),
            "--replicas",
            str(workers),
            *flags,
        ]
        url = f"http://127.0.0.1:{port}/v1/predict"
    else:
        command, url = _peer(name, network, place, port, workers), f"http://127.0.0.1:{port}/predict"
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "BENTOML_DO_NOT_TRACK": "True",
        "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(place.resolve()), "DO_NOT_TRACK": "1",
        "NO_COLOR": "1", "LITSERVE_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    with (place / "log.txt").open("w") as log:
        started = psutil.Popen(
            command, stdout=log, stderr=log, env=environment, cwd=place if name != "bakeoff" else None
        )
    try:
        _wait(url, network, started, place)
        yield started, url
    finally:
        end(started)


def _peer(name: str, network: Network, place: Path, port: int, workers: int) -> list[str]:
    tokenizer = str((network.graph.parent / "tokenizer.json").resolve())
    facts = {
        "GRAPH": str(network.graph.resolve()), "TEXT": network.text, "TOKENIZER": tokenizer, "SEQUENCE": SEQUENCE, "PORT": port,
        "WORKERS": workers,
    }  # fmt: skip
    head = "".join(f"{key} = {value!r}\n" for key, value in facts.items())
    head += f"ROWS = {'list[str]' if network.text else 'list[list[float]]'}\n"
    (place / "network.py").write_text(head + _MODEL, encoding="utf-8")
    (place / "server.py").write_text(
        "from network import FIELD, PORT, ROWS, TEXT, WORKERS, Model\n" + _PROGRAMS[name], encoding="utf-8"
    )
    binaries = (VENV / "bin").resolve()
    if name == "bentoml":
        return [str(binaries / "bentoml"), "serve", "server:Predictor", "--host", "127.0.0.1", "--port", str(port)]
    return [str(binaries / "python"), "server.py"]


def versions() -> dict[str, dict[str, str]]:
    """Return the versions of what the peers run on, and of the same packages under ours."""
    code = (
        "import json, sys; from importlib.metadata import distributions; wanted = sys.argv[1:]; "
        "print(json.dumps({one.name.lower(): one.version for one in distributions() if one.name.lower() in wanted}))"
    )
    pythons = {
        "bakeoff": (sys.executable, ("bakeoff", *_PACKAGES[-3:])),
        "peers": (str(VENV / "bin" / "python"), _PACKAGES),
    }
    return {
        name: json.loads(subprocess.run([python, "-c", code, *wanted], capture_output=True, check=True).stdout)
        for name, (python, wanted) in pythons.items()
        if Path(python).exists()
    }


def body(name: str, network: Network, row: object) -> dict[str, object]:
    """Return the document that asks a server about one row."""
    if name == "bentoml":
        return {"rows": [row]}
    return {"texts" if network.text else "values": [row]}


def _wait(url: str, network: Network, started: psutil.Popen, place: Path, seconds: float = 120.0) -> None:
    name = "bentoml" if "bentoml" in place.name else "other"
    data = json.dumps(body(name, network, network.rows[0])).encode()
    end_time = time.monotonic() + seconds
    while time.monotonic() < end_time:
        if started.poll() is not None:
            break
        try:
            asked = urllib.request.Request(url, data, {"content-type": "application/json"})  # noqa: S310 - loopback
            with urllib.request.urlopen(asked, timeout=20):  # noqa: S310
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    message = f"{place.name} did not answer: {(place / 'log.txt').read_text()[-2000:]}"
    raise RuntimeError(message)


def tree(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and everything below it."""
    return [process, *process.children(recursive=True)]


def cpu(process: psutil.Process) -> float:
    """Return the CPU time [s] of a process and everything below it, children that have ended included."""
    total = 0.0
    for one in tree(process):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory(process: psutil.Process) -> float:
    """Return the resident memory [MB] of a process and everything below it."""
    total = 0
    for one in tree(process):
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 1e6


@contextmanager
def alone(process: psutil.Popen | None, others: Iterable[psutil.Popen]) -> Iterator[None]:
    """Stop every other server for a while: some poll when they are idle, and whoever is measured would pay for it."""
    stopped = [one for other in others if other is not process for one in tree(other)]
    for one in stopped:
        one.suspend()
    try:
        yield
    finally:
        for one in reversed(stopped):
            one.resume()


def end(process: psutil.Popen) -> None:
    """End a server and everything below it."""
    if process.poll() is not None:
        return
    family = tree(process)
    process.terminate()
    _, alive = psutil.wait_procs(family, timeout=8)
    for one in alive:
        one.kill()
    psutil.wait_procs(alive, timeout=5)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
