"""The command line, read off its parser."""

from __future__ import annotations

import argparse

from docs._reference.text import Tongue, page, table, tick

from bakeoff import cli


def verbs() -> dict[str, argparse.ArgumentParser]:
    """Return every verb with its parser."""
    for action in cli.parser()._actions:  # noqa: SLF001 - argparse has no public way to list subparsers
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return dict(action.choices)
    return {}


def cli_page(tongue: Tongue) -> str:
    """Return the page of the command line."""
    found = verbs()
    summary = table(
        [tongue.say("verb", "动词"), tongue.say("what it does", "作用")],
        [[f"[{tick(name)}](#{name})", tongue.code(verb.description or "")] for name, verb in found.items()],
    )
    return page(
        tongue,
        tongue.say("The command line", "命令行"),
        tongue.say(
            "Every verb takes `--json`: then exactly one JSON document goes to stdout and everything else to stderr. "
            "What the exit codes mean is on [a page of its own](exit-codes.md). "
            "`python -P -m bakeoff.cli VERB` does the same as `bakeoff VERB`.",
            "每个动词都支持 `--json`：此时标准输出上只有一个 JSON 文档，其余内容都写到标准错误。"
            "退出码的含义见[退出码](exit-codes.zh.md)。`python -P -m bakeoff.cli 动词` 与 `bakeoff 动词` 等价。",
        ),
        summary,
        *[_verb(tongue, name, verb) for name, verb in found.items()],
    )


def _verb(tongue: Tongue, name: str, verb: argparse.ArgumentParser) -> str:
    actions = [action for action in verb._actions if action.dest != "help"]  # noqa: SLF001
    rows = [[_written(action), _meaning(action, tongue)] for action in actions]
    head = [tongue.say("argument", "参数"), tongue.say("meaning", "含义")]
    usage = " ".join(["bakeoff", name, *[_usage(action) for action in actions]])
    return f"## {name}\n\n{tongue.code(verb.description or '')}\n\n```text\n{usage}\n```\n\n{table(head, rows)}"


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.choices:
        return "{" + ",".join(str(choice) for choice in action.choices) + "}"
    return str(action.metavar or action.dest.upper())


def _written(action: argparse.Action) -> str:
    if not action.option_strings:
        return tick(_value(action))
    return ", ".join(tick(f"{option} {_value(action)}".strip()) for option in action.option_strings)


def _usage(action: argparse.Action) -> str:
    if not action.option_strings:
        return _value(action) if action.nargs != "*" else f"[{_value(action)} ...]"
    text = f"{action.option_strings[-1] if action.required else action.option_strings[0]} {_value(action)}".strip()
    return text if action.required else f"[{text}]"


def _meaning(action: argparse.Action, tongue: Tongue) -> str:
    text = (action.help or "").replace("(default: %(default)s)", "").strip()
    said = tongue.code(text)
    if "%(default)s" in (action.help or ""):
        said += tongue.say(f" (default: {tick(action.default)})", f"（默认 {tick(action.default)}）")
    if isinstance(action, argparse._AppendAction):  # noqa: SLF001 - the way argparse tells
        said += tongue.say(" (repeatable)", "（可重复）")
    return said
