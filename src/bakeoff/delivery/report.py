"""What ``verify`` found: one verdict per promise, with the numbers measured on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from bakeoff.delivery.readme import amount
from bakeoff.delivery.whole import WHOLE, WholeSeen
from bakeoff.evaluation.parity import EXPORT_DRIFT
from bakeoff.runtimes.signing import SignatureState
from bakeoff.schema.base import Record, Words
from bakeoff.schema.contract import Promise
from bakeoff.schema.measurement import Measurement

Kept = Literal["kept", "broken", "refused"]
_SIGNS = {"kept": "✓", "broken": "✗", "refused": "?"}
_SAID = {
    "kept": Words(zh="兑现", en="kept"),
    "broken": Words(zh="未兑现", en="broken"),
    "refused": Words(zh="无法判定", en="cannot be told"),
}


class PromiseVerdict(Record):
    """One clause re-tested. ``refused``: this machine or this bundle does not allow an answer, and ``reason`` says why."""

    promise: Promise
    here: Measurement
    verdict: Kept
    reason: Words


class VerifyReport(Record):
    """The delivered bundle against its trial and its contract."""

    candidate: str
    bundle: str = Field(description="First 12 digits of the manifest's hash.")
    files: int = Field(description="Files whose hashes agree.")
    rows: int = Field(description="Contract rows compared with the trial.")
    same_labels: int = Field(
        description="Rows with the trial's label, ties within the allowed drift counted as the same."
    )
    largest_drift: float | None = Field(None, description="Largest difference of a probability from the trial's.")
    allowed_drift: float = Field(
        EXPORT_DRIFT,
        description="Largest difference that is allowed: 0.001, for models in few bits and endpoints 0.05.",
    )
    promises: tuple[PromiseVerdict, ...] = ()
    latency: tuple[Measurement, ...] = Field((), description="Percentiles measured here, promised or not.")
    p95_ratio: float | None = Field(
        None, description="95th percentile here over the trial's; only where both were measured."
    )
    noisy: bool = Field(False, description="Other load was seen on this machine while timing.")
    quick: bool = False
    signature: SignatureState = Field(default_factory=SignatureState, description="Who signed the bundle.")
    encrypted: bool = Field(False, description="Whether files had to be decrypted.")
    whole: WholeSeen | None = Field(None, description="How whole.onnx answers; null: there is none in the bundle.")
    kept: bool = Field(
        description="Nothing is broken: same answers on every row and no promise broken (refused is not broken)."
    )
    untold: tuple[str, ...] = Field(
        (),
        description="What could not be told: promises by name, 'answers' without rows, 'whole.onnx' where it was not asked.",
    )

    @property
    def parity(self) -> bool:
        """Whether every contract row got the trial's label, and no probability is further from the trial's than it may."""
        return self.same_labels == self.rows and (self.largest_drift or 0.0) <= self.allowed_drift

    def text(self, language: str = "en") -> str:
        """Return the report in a few lines."""
        lines = [self._head().said(language), self._signed().said(language), self._rows().said(language)]
        if self.whole is not None:
            lines.append(self.whole.said().said(language))
        for found in self.promises:
            sign = "≥" if found.promise.direction == "min" else "≤"
            unit = found.promise.unit
            here = amount(found.here.value, unit)
            if found.here.value is None and found.here.low is not None:
                here = f"> {amount(found.here.low, unit)}"
            elif found.here.low is not None and found.here.high is not None:
                here += f" [{amount(found.here.low, unit)}, {amount(found.here.high, unit)}]"
            said = f"{_SIGNS[found.verdict]} {found.promise.name} {sign} {amount(found.promise.limit, unit)}: {here}"
            trial = amount(found.promise.trial.value, unit)
            note = Words(zh=f"试验 {trial}；{_SAID[found.verdict].zh}", en=f"trial {trial}; {_SAID[found.verdict].en}")
            reason = found.reason.said(language)
            lines.append(f"{said} ({note.said(language)}{'; ' + reason if reason else ''})")
        if self.p95_ratio is not None:
            lines.append(Words(
                zh=f"p95 为试验的 {self.p95_ratio:.2f} 倍", en=f"p95 is {self.p95_ratio:.2f} times the trial's"
            ).said(language))  # fmt: skip
        return "\n".join(lines)

    def _head(self) -> Words:
        """Say how far the verdict carries, in the line that people and pipelines read first."""
        count, kept = len(self.promises), sum(found.verdict == "kept" for found in self.promises)
        if not self.kept:
            said = Words(zh="契约不成立", en="the contract does not hold")
        elif self.untold:
            said = Words(zh="能判定的部分成立", en="what could be told holds")
        else:
            said = Words(zh="契约成立", en="the contract holds")
        zh = f"{said.zh}：{count} 项承诺中 {kept} 项兑现" + "；无法判定：" * bool(self.untold) + "、".join(self.untold)
        en = (
            f"{said.en}: {kept} of {count} promises kept"
            + "; cannot be told: " * bool(self.untold)
            + ", ".join(self.untold)
        )
        return Words(
            zh=f"{self.candidate}（{self.bundle}）：{zh}；{self.files} 个文件哈希一致",
            en=f"{self.candidate} ({self.bundle}): {en}; {self.files} files as shipped",
        )

    def _signed(self) -> Words:
        who = self.signature.signer[:16]
        said = {
            "none": Words(zh="未签名：哈希只能发现意外损坏，发现不了有意的改动",
                          en="not signed: the hashes find accidents, not someone who means it"),
            "untrusted": Words(zh=f"由 {who} 签名，未与您信任的公钥核对（--key）",
                               en=f"signed by {who}, not checked against a key you trust (--key)"),
            "trusted": Words(zh=f"由您信任的 {who} 签名", en=f"signed by {who}, which you trust"),
        }[self.signature.state]  # fmt: skip
        return Words(zh=f"{said.zh}；静态加密", en=f"{said.en}; encrypted at rest") if self.encrypted else said

    def _rows(self) -> Words:
        if not self.rows:
            return Words(
                zh="包内没有契约行，未能与试验逐行对照",
                en="no contract rows in the bundle, so no comparison with the trial",
            )
        drift = f"{self.largest_drift:.1e}" if self.largest_drift is not None else "–"
        return Words(
            zh=f"{self.same_labels}/{self.rows} 行的标签与试验相同，概率最大偏差 {drift}（允许 {self.allowed_drift:g}）",
            en=f"{self.same_labels} of {self.rows} rows have the trial's label; probabilities differ by at most {drift} "
            f"({self.allowed_drift:g} allowed)",
        )


def untold(promises: Sequence[PromiseVerdict], whole: WholeSeen | None, *, rows: bool) -> tuple[str, ...]:
    """Return what this machine, this bundle or this way of looking does not tell."""
    answers = () if rows else ("answers",)
    graph = (WHOLE,) if whole is not None and whole.reason.en else ()
    return (*answers, *graph, *(found.promise.name for found in promises if found.verdict == "refused"))
