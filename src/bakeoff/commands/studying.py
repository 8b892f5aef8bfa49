"""What the studying verbs do: call the study or one stage, print, return an exit code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.schema.decision import Decision
from bakeoff.schema.errors import SpecError, UserError

if TYPE_CHECKING:
    from bakeoff.evaluation.launchers.base import Launcher
from bakeoff.commands.shared import INFEASIBLE, OK, emit, say, study_folder


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
    emit(
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
    emit(arguments, document, "\n".join(lines))
    return OK


def plan(arguments: argparse.Namespace) -> int:
    """Show what a run would do."""
    from bakeoff.planned import plan_text
    from bakeoff.study import Study

    found = Study.open(arguments.spec, out=arguments.out, overrides=_overrides(arguments)).plan()
    emit(arguments, found, plan_text(found))
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
    emit(arguments, found, "\n".join(lines))
    return OK


def run(arguments: argparse.Namespace) -> int:
    """Measure and decide."""
    from bakeoff.live import LiveView
    from bakeoff.study import Study

    if arguments.workers is not None and arguments.workers < 1:
        what = "--workers must be at least 1"
        raise UserError(what, got=arguments.workers)
    places = {"ledger": arguments.ledger, "artifacts": arguments.artifacts}
    study = Study.open(arguments.spec, out=arguments.out, overrides=_overrides(arguments), **places)
    with LiveView(study.spec) as view:
        launcher = _launcher(arguments)
        decision = study.run(workers=arguments.workers, on_event=view, on_proposal=view.proposed, launcher=launcher)
    return _decided(arguments, decision, study.directory)


def _launcher(arguments: argparse.Namespace) -> Launcher | None:
    """Return where trials run, None for this machine; nothing is connected yet."""
    if arguments.launcher == "ray":
        from bakeoff.evaluation.launchers.ray import RayLauncher

        if arguments.ddp < 1:
            what = "--ddp must be at least 1"
            raise UserError(what, got=arguments.ddp)
        return RayLauncher(arguments.address, arguments.ddp)
    for name, given in (("--address", arguments.address), ("--ddp", arguments.ddp if arguments.ddp != 1 else None)):
        if given is not None:
            what = f"{name} is of a Ray cluster"
            raise UserError(what, got=given, try_="--launcher ray")
    return None


def ledger(arguments: argparse.Namespace) -> int:
    """Say what is in a ledger, or copy it."""
    from bakeoff.store.copying import copied, described

    if arguments.to is None:
        found = described(arguments.place)
        emit(arguments, found, found.text())
        return OK
    added, there = copied(arguments.place, arguments.to, arguments.artifacts)
    emit(arguments, {"copied": added, "there": there}, f"{added} records copied, {there} were there already")
    return OK


def decide(arguments: argparse.Namespace) -> int:
    """Decide again from the ledger."""
    from bakeoff.study import Study

    study = Study.open(study_folder(arguments), overrides=_overrides(arguments))
    return _decided(arguments, study.decide(), None)


def _decided(arguments: argparse.Namespace, decision: Decision, directory: Path | None) -> int:
    from bakeoff.report import terminal

    language = arguments.lang or decision.profile.language
    text = terminal(decision, language)
    if directory is not None:
        text += f"\n\n{'报告' if language == 'zh' else 'report'}: {directory / 'report.html'}"
    emit(arguments, decision, text)
    return INFEASIBLE if decision.outcome == "infeasible" else OK


def report(arguments: argparse.Namespace) -> int:
    """Write the report of a study."""
    from bakeoff.study import Study

    study = Study.open(study_folder(arguments))
    text = study.report(arguments.lang, arguments.format)
    if arguments.output == "-":
        emit(arguments, {"format": arguments.format, "content": text}, text)
        return OK
    path = Path(arguments.output) if arguments.output else study.directory / f"report.{arguments.format}"
    path.write_text(text, encoding="utf-8")
    emit(arguments, {"report": str(path), "format": arguments.format}, str(path))
    return OK


def catalog(arguments: argparse.Namespace) -> int:
    """List every plugin and asset."""
    from bakeoff.listing import catalog_document, catalog_text

    document = catalog_document(arguments.task)
    emit(arguments, document, catalog_text(document))
    return OK


def doctor(arguments: argparse.Namespace) -> int:
    """Say what is installed, what is missing and how quiet the machine is."""
    from bakeoff.listing import doctor_document, doctor_text

    document = doctor_document()
    emit(arguments, document, doctor_text(document))
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
        say(f"{name}: {known[name].download_bytes / 1e6:.0f} MB, licence {known[name].licence}")
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
    emit(arguments, {"fetched": places, "assets": listing}, text)
    return OK
