"""What the delivering verbs do: call one stage, print, return an exit code."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.schema.errors import UserError

if TYPE_CHECKING:
    from bakeoff.delivery.shards import Sharding
    from bakeoff.serving.engine import Computing
    from bakeoff.serving.on_ray import Scaling
from bakeoff.commands.shared import INFEASIBLE, OK, UNTOLD, emit, say, study_folder


def keygen(arguments: argparse.Namespace) -> int:
    """Make a key to sign with, or one to encrypt with."""
    from bakeoff.delivery.sealing import read_passphrase
    from bakeoff.runtimes import encryption, signing

    path = Path(arguments.output)
    if arguments.encryption:
        if arguments.passphrase:
            what = "a key to encrypt with has no passphrase"
            raise UserError(what, try_="leave --passphrase out, and keep the file where only you can read it")
        key = encryption.new_key()
        signing.write_secret(path, f"{key}\n".encode())
        name = encryption.key_id(bytes.fromhex(key))
        emit(
            arguments,
            {"key": str(path), "id": name},
            f"wrote {path}; it is key {name}, and lost with it is what it encrypts",
        )
        return OK
    public = signing.fingerprint(signing.generate(path, read_passphrase(arguments.passphrase)))
    text = f"wrote {path} (keep it to yourself) and {path}.pub (give it to whoever verifies); fingerprint {public}"
    emit(arguments, {"key": str(path), "public": f"{path}.pub", "fingerprint": public}, text)
    return OK


def _keys_given(arguments: argparse.Namespace) -> None:
    """Hand --key and --decrypt to everything that opens the bundle, this process's children included."""
    from bakeoff.runtimes.keys import Keys

    Keys.given(arguments.key, arguments.decrypt, tuple(arguments.allow_endpoint)).export()


def ship(arguments: argparse.Namespace) -> int:
    """Write the bundle."""
    from bakeoff.delivery.sealing import Seal
    from bakeoff.study import Study

    study = Study.open(study_folder(arguments))
    seal = Seal.given(arguments.sign, arguments.encrypt, arguments.passphrase)
    manifest = study.ship(
        arguments.output, arguments.candidate, rows=not arguments.no_rows, seal=seal, sharding=_sharding(arguments),
        target=arguments.format, whole=arguments.whole,
    )  # fmt: skip
    size = sum(entry.size for entry in manifest.files)
    text = f"bundle of {manifest.candidate}: {arguments.output} ({len(manifest.files)} files, {size / 1e6:.1f} MB)"
    flags = "" if arguments.encrypt is None else f" --decrypt {arguments.encrypt}"
    flags = flags if arguments.sign is None else f" --key {arguments.sign}.pub{flags}"
    after = " · ".join(f"bakeoff {verb} {arguments.output}{flags}" for verb in ("verify", "serve"))
    image = "image: its base is pinned only by docker build --build-arg BASE=IMAGE@sha256:DIGEST (Dockerfile)"
    emit(arguments, manifest, f"{text}\n{image}\nnext: {after}")
    return OK


def _sharding(arguments: argparse.Namespace) -> Sharding | None:
    """Return how the model is split, None for leaving it whole."""
    from bakeoff.delivery.shards import Sharding
    from bakeoff.schema.units import parse_size

    if arguments.shards is None:
        return None
    try:
        most = None if arguments.shard_memory is None else int(float(str(parse_size(arguments.shard_memory))))
    except ValueError as error:
        raise UserError(str(error), where="--shard-memory") from None
    return Sharding(arguments.shards, most, say)


def verify(arguments: argparse.Namespace) -> int:
    """Check a bundle and re-test its contract."""
    from bakeoff.delivery import verify as verify_bundle

    _keys_given(arguments)
    found = verify_bundle(Path(arguments.bundle), quick=arguments.quick)
    emit(arguments, found, found.text(arguments.lang))
    if not found.kept:
        return INFEASIBLE
    return UNTOLD if arguments.strict and found.untold else OK


def serve(arguments: argparse.Namespace) -> int:
    """Serve a bundle until stopped."""
    from bakeoff.serving import serve as serve_bundle
    from bakeoff.serving.access import access_of
    from bakeoff.serving.limits import limits_of

    _keys_given(arguments)

    def announce(url: str) -> None:
        emit(arguments, {"url": url, "docs": f"{url}/docs"}, f"serving {arguments.bundle} at {url} (docs: {url}/docs)")
        sys.stdout.flush()

    bundle = Path(arguments.bundle)
    serve_bundle(
        bundle, host=arguments.host, port=arguments.port, announce=announce, access=access_of(arguments), limits=limits_of(arguments.limits),
        cluster=_cluster(arguments), computing=_staged(arguments),
    )  # fmt: skip
    return OK


def _cluster(arguments: argparse.Namespace) -> Scaling | None:
    """Return how the model is spread over a Ray cluster, None for serving on this machine."""
    if not arguments.ray:
        if arguments.address is not None and arguments.shards != "ray":
            what = "--address is of a Ray cluster"
            raise UserError(what, got=arguments.address, try_="--ray")
        return None
    if arguments.shards is not None:
        what = "--ray makes copies of a whole model, --shards places the stages of one that was split"
        raise UserError(what, try_="one of them")
    from bakeoff.serving.on_ray import Scaling

    return Scaling(
        address=arguments.address, least=arguments.min_replicas, most=arguments.max_replicas, threads=arguments.threads
    )


def _staged(arguments: argparse.Namespace) -> Computing:
    """Return where the model, its stages or its copies run."""
    from bakeoff.serving.engine import Computing

    if arguments.shards is None and arguments.route is None:
        return Computing(threads=arguments.threads, replicas=arguments.replicas, mode=arguments.compute)
    from bakeoff.serving import replicas, shards

    if arguments.route is None:
        return Computing(threads=arguments.threads, loader=shards.loader(arguments.shards, arguments.address))
    if arguments.shards is not None or arguments.ray:
        what = "--route spreads copies of a whole model over this machine"
        raise UserError(what, try_="--route alone")
    return Computing(threads=arguments.threads, loader=replicas.loader(arguments.route))


def load(arguments: argparse.Namespace) -> int:
    """Send load and judge what came back."""
    from bakeoff.delivery.loading import load as load_target
    from bakeoff.delivery.loading import wanted_of
    from bakeoff.loadgen.text import text

    _keys_given(arguments)
    found = load_target(wanted_of(arguments), say)
    emit(arguments, found, text(found, arguments.lang))
    if found.gate is None or found.gate.passed:
        return OK
    return INFEASIBLE if found.gate.broken else UNTOLD


def predict(arguments: argparse.Namespace) -> int:
    """Answer every row of a file; a row without an answer has its error in the file, and only a file of nothing else is a failure."""
    from bakeoff.serving.files import Job, predict_file
    from bakeoff.serving.progress import bar

    if arguments.json and arguments.output == "-":
        what = "--json and -o - both want standard output"
        raise UserError(what, try_="name a file with -o")
    _keys_given(arguments)
    job = Job(
        bundle=Path(arguments.bundle), source=Path(arguments.file), target=Path(arguments.output), format=arguments.format,
        batch=arguments.batch, resume=arguments.resume, force=arguments.force, probabilities=arguments.probabilities,
        identifier=arguments.identifier, encoding=arguments.encoding, threads=arguments.threads,
    )  # fmt: skip
    with bar(job.source.name) as progress:
        found = predict_file(job, progress)
    text = f"{found.target}: {found.rows} rows, {found.failed} failed, {found.seconds:.1f} s"
    if found.already:
        text = f"{found.target}: is complete already ({found.rows} rows, {found.failed} failed); --force answers the file again"
    if arguments.output == "-":
        say(text)
    else:
        emit(arguments, found, text)
    return INFEASIBLE if found.fruitless else OK


def keys(arguments: argparse.Namespace) -> int:
    """Make, list or revoke API keys."""
    from bakeoff.serving import auth

    path, name = Path(arguments.file), arguments.name
    if arguments.action == "list":
        known = auth.read(path)
        lines = [f"{key.name}  since {key.created}" for key in known] or ["no keys"]
        emit(arguments, {"keys": [key.model_dump() for key in known]}, "\n".join(lines))
        return OK
    if name is None:
        what = "a key needs a name"
        raise UserError(what, try_=f"bakeoff keys {arguments.action} NAME --file {path}")
    if arguments.action == "revoke":
        auth.revoke(path, name)
        emit(arguments, {"revoked": name}, f"{name} is revoked; running servers notice within seconds")
        return OK
    secret = auth.add(path, name)
    say(f"key of {name}, shown this once:")
    emit(arguments, {"name": name, "key": secret}, secret)
    return OK
