"""Whether any file of the artefact could run code, or make the loader reach outside of its folder."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.risk import _common as common
from bakeoff.risk._files import scan
from bakeoff.risk.base import RiskContext
from bakeoff.schema.base import Words
from bakeoff.schema.measurement import Finding, Measurement
from bakeoff.schema.plugin import CheckTraits

_NAME = "unsafe_files"
_TITLE = Words(zh="不安全的模型文件", en="Unsafe model files")
_STANDARDS = (
    "NIST AI RMF MEASURE 2.7", "NIST AI RMF MANAGE 3.1", "生成式人工智能服务管理暂行办法 第七条",
    "OWASP ML Top 10 2023 ML06", "OWASP ML Top 10 2023 ML10",
)  # fmt: skip
_SHOWN = 5


class UnsafeFiles:
    """Reads every file's first bytes and, where it matters, its structure; nothing is loaded."""

    traits = CheckTraits(label=_TITLE, tasks=common.TASKS, standards=_STANDARDS)

    def run(self, context: RiskContext) -> Sequence[Finding]:
        """Judge the files by what is in them."""
        found = scan(context.directory)
        severe = [danger for danger in found if danger.severe]
        count = sum(path.is_file() for path in context.directory.rglob("*"))
        status = "fail" if severe else "warn" if found else "ok"
        numbers = (
            Measurement(name="files_scanned", value=float(count), n=count, unit="files"),
            Measurement(name="unsafe_files", value=float(len(severe)), n=count, unit="files"),
            Measurement(name="unexpected_files", value=float(len(found) - len(severe)), n=count, unit="files"),
        )
        likelihood, impact = {"fail": (0.5, 5), "warn": (0.1, 3), "ok": (0.01, 5)}[status]
        return (
            common.report(
                context, _NAME, _TITLE, status, observed=_observed(count, found), mitigation=_MITIGATION, residual=_RESIDUAL,
                likelihood=likelihood, impact=impact, measurements=numbers, standards=_STANDARDS,
            ),
        )  # fmt: skip


def _observed(count: int, found: Sequence[object]) -> Words:
    if not found:
        return Words(
            zh=f"检查了 {count} 个文件：没有 pickle、程序、脚本或越界引用。",
            en=f"{count} files looked into: no pickle, program, script or reference to the outside.",
        )
    shown = [danger.words for danger in found[:_SHOWN]]  # type: ignore[attr-defined]
    more = len(found) - len(shown)
    return Words(
        zh=f"检查了 {count} 个文件："
        + "；".join(words.zh for words in shown)
        + (f"；另有 {more} 处。" if more else "。"),
        en=f"{count} files looked into: "
        + "; ".join(words.en for words in shown)
        + (f"; and {more} more." if more else "."),
    )


_MITIGATION = Words(
    zh="只交付 JSON、npz、safetensors、ONNX、GGUF 与文本格式；打包时再次扫描，加载前核对清单中的哈希。",
    en="Ship only JSON, npz, safetensors, ONNX, GGUF and text; scan again when packing, compare hashes with the manifest before loading.",
)
_RESIDUAL = Words(
    zh="格式正确但蓄意构造的文件仍可能触发解析库自身的漏洞：请及时升级运行时，并以非特权用户运行。",
    en="A well-formed but malicious file may still hit a bug of the library that parses it: keep runtimes patched and run unprivileged.",
)
PLUGIN = UnsafeFiles()
