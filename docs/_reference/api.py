"""The Python interface: the public names of ``bakeoff`` with signatures and docstrings."""

from __future__ import annotations

import inspect

from docs._reference.text import Tongue, page, table, tick

import bakeoff

MEANINGS = {
    "Study": ("a study: plan, run, decide, report, ship", "一项研究：计划、运行、决策、报告、交付"),
    "Spec": ("the requirement specification", "需求规格书"),
    "Plan": ("what a run would do", "一次运行将做什么"),
    "Decision": ("the answer, see [its fields](decision.md)", "答案，见[字段说明](decision.zh.md)"),
    "load_spec": ("read and check a specification file", "读取并检查规格书文件"),
    "verify": ("re-test a bundle", "复测交付包"),
    "BakeoffError": ("root of every error raised on purpose", "一切有意抛出的错误的根"),
    "UserError": ("an error the caller can mend", "调用者可以改正的错误"),
    "__version__": ("the version", "版本号"),
}


def api_page(tongue: Tongue) -> str:
    """Return the page of the Python interface."""
    names = sorted(bakeoff.__all__, key=list(MEANINGS).index)
    rows = [[f"[{tick(name)}](#{name.lower()})", tongue.say(*MEANINGS[name])] for name in names]
    example = (
        "from bakeoff import Study\n\n"
        'study = Study.open("examples/chinese-reviews/bakeoff.yaml", out="build/demo/study")\n'
        "decision = study.run()  # {}\n"
        "print(decision.outcome, decision.recommended.id, decision.p_best)\n"
        'again = Study.open("build/demo/study", overrides={{"requirements.latency.p95": "5ms"}}).decide()\n'
        'study.ship("build/demo/bundle")'
    ).format(
        tongue.say("resumes what is there; a finished study only decides", "接着已有的结果做；已完成的研究只重新决策")
    )
    return page(
        tongue,
        tongue.say("The Python interface", "Python 接口"),
        tongue.say(
            "The same things the command line does. `import bakeoff` is light: a name is loaded when it is first used. Docstrings are in English.",
            "与命令行功能相同。`import bakeoff` 很轻：名字在第一次使用时才加载。下面的文档字符串为英文原文。",
        ),
        f"```python\n{example}\n```",
        table([tongue.say("name", "名称"), tongue.say("what it is", "说明")], rows),
        *[_entry(name) for name in names],
    )


def _entry(name: str) -> str:
    item = getattr(bakeoff, name)
    if isinstance(item, str):
        return f"## {name}\n\nA string."
    if name == "Study":
        methods = [member for member in vars(item) if not member.startswith("_")]
        return "\n\n".join(
            [
                _said("##", name, item, ""),
                *[_said("###", f"Study.{member}", getattr(item, member), member) for member in methods],
            ]
        )
    if inspect.isclass(item):
        return f"## {name}\n\n{_doc(item)}"
    return _said("##", name, item, name)


def _said(mark: str, title: str, item: object, name: str) -> str:
    signature = f"```python\n{name}{_signature(item)}\n```\n\n" if name else ""
    return f"{mark} {title}\n\n{signature}{_doc(item)}"


def _signature(item: object) -> str:
    if not callable(item):
        return ""
    text = str(inspect.signature(item)).replace("'", "")
    return text.replace("(self, ", "(").replace("(self)", "()")


def _doc(item: object) -> str:
    text = (inspect.getdoc(item) or "").replace("``", "`")
    blocks = text.split("\n\n")
    return "\n\n".join(
        block if not block.startswith(("Args:", "Raises:", "Returns:")) else _listed(block) for block in blocks
    )


def _listed(block: str) -> str:
    head, *lines = block.splitlines()
    items: list[str] = []
    for line in lines:
        text = line.strip()
        if (line.startswith("    ") and not line.startswith("     ")) or not items:
            key, colon, rest = text.partition(": ")
            items.append(f"- {tick(key)}: {rest}" if colon else f"- {text}")
        else:
            items[-1] += f" {text}"
    return "\n".join([head, "", *items])
