"""What each verb does: call the study or one stage, print, return an exit code."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bakeoff.schema.base import Record
from bakeoff.schema.decision import Decision
from bakeoff.schema.errors import SpecError, UserError

OK, INFEASIBLE = 0, 3


def _emit(arguments: argparse.Namespace, document: Any, text: str) -> None:  # noqa: ANN401 - any JSON document
    """Print one JSON document, or the text for people."""
    if arguments.json:
        plain = document.model_dump(mode="json") if isinstance(document, Record) else document
        print(json.dumps(plain, ensure_ascii=False, indent=2))
    else:
        print(text)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _overrides(arguments: argparse.Namespace) -> dict[str, str]:
    """Read ``--set KEY=VALUE``, ``--preset`` and ``--seed`` as dotted overrides of the specification."""
    found: dict[str, str] = {}
    for item in getattr(arguments, "overrides", []):
        key, equals, value = item.partition("=")
        if not equals or not key:
            what = "--set needs KEY=VALUE"
            raise UserError(what, got=item, try_="--set requirements.latency.p95=80ms")
        found[key.strip()] = value.strip()
    for name in ("preset", "seed"):
        if getattr(arguments, name, None) is not None:
            found[name] = str(getattr(arguments, name))
    return found


def init(arguments: argparse.Namespace) -> int:
    """Write a commented specification for a data file."""
    from bakeoff.data.sketch import write_spec
    from bakeoff.schema.loading import load_spec

    output = Path(arguments.output)
    if output.exists() and not arguments.force:
        what = "the file exists already"
        raise UserError(what, where=str(output), try_="another name with -o, or --force to overwrite it")
    answers = {name: getattr(arguments, name) for name in ("target", "task", "name") if getattr(arguments, name)}
    text = write_spec(Path(arguments.data), answers, relative_to=output.parent)
    output.write_text(text, encoding="utf-8")
    spec = load_spec(output)
    _emit(
        arguments,
        {"spec": str(output), "content": spec.model_dump(mode="json")},
        f"wrote {output}; next: bakeoff plan {output}",
    )
    return OK


def validate(arguments: argparse.Namespace) -> int:
    """Check a specification and its data, listing every problem at once."""
    from bakeoff.search import compose
    from bakeoff.study import Study

    study = Study.open(arguments.spec)
    frozen = study.frozen(noise=True)
    candidates, unavailable = compose(study.spec, frozen.profile)
    advice = frozen.profile.advice
    lines = [
        f"{arguments.spec}: valid; {frozen.profile.rows_used} rows, {len(candidates)} candidates, {len(unavailable)} unavailable"
    ]
    lines += [f"  {item.severity}: {item.message.en}\n    {item.action.en}" for item in advice]
    document = {
        "valid": True, "spec": study.spec.model_dump(mode="json"), "rows": frozen.profile.rows_used,
        "candidates": len(candidates), "unavailable": len(unavailable),
        "advice": [item.model_dump(mode="json") for item in advice],
    }  # fmt: skip
    _emit(arguments, document, "\n".join(lines))
    return OK


def plan(arguments: argparse.Namespace) -> int:
    """Show what a run would do."""
    from bakeoff.planned import plan_text
    from bakeoff.study import Study

    found = Study.open(arguments.spec, out=arguments.out, overrides=_overrides(arguments)).plan()
    _emit(arguments, found, plan_text(found))
    return OK


def replay(arguments: argparse.Namespace) -> int:
    """Search a finished study's ledger again, with other rows and other presets."""
    from bakeoff.search.recorded import rehearsals
    from bakeoff.store.archive import Archive

    if arguments.replays < 1:
        what = "--replays must be at least 1"
        raise UserError(what, got=arguments.replays)
    found = rehearsals(Archive(Path(arguments.study)).evidence(), arguments.replays)
    head = f"{found.study}: {found.arms} arms, {found.cells} recorded trainings, {found.rows} rows, judged by {found.metric}"
    lines = [f"{head}; looking at everything in full: {found.exhaustive_seconds:.1f} CPU s"]
    for one in found.presets:
        often = ", ".join(
            f"{name} {count}" for name, count in sorted(one.chosen.items(), key=lambda item: -item[1])[:3]
        )
        lines.append(
            f"  {one.preset:9s} cost {one.cost_ratio:.0%} of that, mean loss {one.regret:.4f}, inside the indifference zone "
            f"{one.within:.0%} of {one.replays} replays (stated {one.stated:.0%}); chosen: {often}"
        )
    _emit(arguments, found, "\n".join(lines))
    return OK


def run(arguments: argparse.Namespace) -> int:
    """Measure and decide."""
    from bakeoff.live import LiveView
    from bakeoff.study import Study

    if arguments.workers < 1:
        what = "--workers must be at least 1"
        raise UserError(what, got=arguments.workers)
    study = Study.open(arguments.spec, out=arguments.out, overrides=_overrides(arguments))
    with LiveView(study.spec) as view:
        decision = study.run(workers=arguments.workers, on_event=view, on_proposal=view.proposed)
    return _decided(arguments, decision, study.directory)


def decide(arguments: argparse.Namespace) -> int:
    """Decide again from the ledger."""
    from bakeoff.study import Study

    study = Study.open(_study(arguments), overrides=_overrides(arguments))
    return _decided(arguments, study.decide(), None)


def _decided(arguments: argparse.Namespace, decision: Decision, directory: Path | None) -> int:
    from bakeoff.report import terminal

    language = arguments.lang or decision.profile.language
    text = terminal(decision, language)
    if directory is not None:
        text += f"\n\n{'报告' if language == 'zh' else 'report'}: {directory / 'report.html'}"
    _emit(arguments, decision, text)
    return INFEASIBLE if decision.outcome == "infeasible" else OK


def _study(arguments: argparse.Namespace) -> Path:
    path = Path(arguments.study)
    if not path.is_dir():
        what = "no such study folder"
        raise UserError(what, got=str(path), try_="bakeoff run SPEC --out STUDY makes one")
    return path


def report(arguments: argparse.Namespace) -> int:
    """Write the report of a study."""
    from bakeoff.study import Study

    study = Study.open(_study(arguments))
    text = study.report(arguments.lang, arguments.format)
    if arguments.output == "-":
        _emit(arguments, {"format": arguments.format, "content": text}, text)
        return OK
    path = Path(arguments.output) if arguments.output else study.directory / f"report.{arguments.format}"
    path.write_text(text, encoding="utf-8")
    _emit(arguments, {"report": str(path), "format": arguments.format}, str(path))
    return OK


def ship(arguments: argparse.Namespace) -> int:
    """Write the bundle."""
    from bakeoff.study import Study

    study = Study.open(_study(arguments))
    manifest = study.ship(arguments.output, arguments.candidate, rows=not arguments.no_rows)
    size = sum(entry.size for entry in manifest.files)
    text = f"bundle of {manifest.candidate}: {arguments.output} ({len(manifest.files)} files, {size / 1e6:.1f} MB)"
    _emit(arguments, manifest, f"{text}\nnext: bakeoff verify {arguments.output} · bakeoff serve {arguments.output}")
    return OK


def verify(arguments: argparse.Namespace) -> int:
    """Check a bundle and re-test its contract."""
    from bakeoff.delivery import verify as verify_bundle

    found = verify_bundle(Path(arguments.bundle))
    _emit(arguments, found, found.text())
    return OK if found.kept else INFEASIBLE


def serve(arguments: argparse.Namespace) -> int:
    """Serve a bundle until stopped."""
    from bakeoff.serving import serve as serve_bundle

    def announce(url: str) -> None:
        _emit(arguments, {"url": url, "docs": f"{url}/docs"}, f"serving {arguments.bundle} at {url} (docs: {url}/docs)")
        sys.stdout.flush()

    bundle = Path(arguments.bundle)
    serve_bundle(bundle, host=arguments.host, port=arguments.port, threads=arguments.threads, announce=announce)
    return OK


def catalog(arguments: argparse.Namespace) -> int:
    """List every plugin and asset."""
    from bakeoff.listing import catalog_document, catalog_text

    document = catalog_document(arguments.task)
    _emit(arguments, document, catalog_text(document))
    return OK


def doctor(arguments: argparse.Namespace) -> int:
    """Say what is installed, what is missing and how quiet the machine is."""
    from bakeoff.listing import doctor_document, doctor_text

    document = doctor_document()
    _emit(arguments, document, doctor_text(document))
    return OK


def fetch(arguments: argparse.Namespace) -> int:
    """Fetch assets by name, or list them."""
    from bakeoff import assets

    known = assets.recipes()
    wrong = [name for name in arguments.names if name not in known]
    if wrong:
        raise SpecError([UserError("no such asset", got=name, allowed=sorted(known)) for name in wrong])
    places = {}
    for name in arguments.names:
        _say(f"{name}: {known[name].download_bytes / 1e6:.0f} MB, licence {known[name].licence}")
        places[name] = str(assets.fetch(name))
    listing = [
        {
            "name": name, "kind": item.kind, "licence": item.licence,
            "megabytes": round(item.download_bytes / 1e6), "here": assets.find(name) is not None,
        }
        for name, item in known.items()
    ]  # fmt: skip
    text = "\n".join(places.values()) if places else "\n".join(
        f"{'✓' if item['here'] else ' '} {item['name']:32} {item['kind']:8} {item['megabytes']:>6} MB  {item['licence']}" for item in listing
    )  # fmt: skip
    _emit(arguments, {"fetched": places, "assets": listing}, text)
    return OK
