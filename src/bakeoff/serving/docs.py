"""A page for people: what the model reads and answers, a form to try it, examples to copy. It loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from typing import Any

from bakeoff.schema.contract import Manifest

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--accent:#2563eb}
body{font:16px/1.6 system-ui,-apple-system,"Segoe UI","PingFang SC","Microsoft YaHei",sans-serif;
max-width:58rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin-top:2rem}small,.soft{opacity:.7}
table{border-collapse:collapse;width:100%;display:block;overflow-x:auto}
td,th{border-bottom:1px solid var(--line);padding:.35rem .6rem;text-align:left}
pre{background:var(--soft);padding:.8rem;border-radius:6px;overflow-x:auto}code{font-size:.9em}
label{display:block;margin:.6rem 0 .2rem}
input,textarea{font:inherit;width:100%;box-sizing:border-box;padding:.4rem;border:1px solid var(--line);border-radius:6px}
nav{display:flex;flex-wrap:wrap;gap:.2rem 1rem;margin:1rem 0}
button{font:inherit;margin-top:.8rem;
padding:.45rem 1.2rem;border:0;border-radius:6px;background:var(--accent);color:#fff;cursor:pointer}
"""
_SCRIPT = """
const form=document.getElementById('try'),out=document.getElementById('out');
form.addEventListener('submit',async event=>{event.preventDefault();const row={};
for(const field of form.querySelectorAll('[data-kind]')){if(field.value!=='')
row[field.name]=field.dataset.kind==='number'?Number(field.value):field.value;}
out.textContent='…';const started=performance.now();
const headers={'content-type':'application/json'},key=document.getElementById('key');
if(key&&key.value)headers['x-api-key']=key.value;
try{const answer=await fetch('v1/predict',{method:'POST',headers,body:JSON.stringify({row})});
out.textContent=answer.status+' · '+(performance.now()-started).toFixed(1)+' ms\\n'+JSON.stringify(await answer.json(),null,2);}
catch(error){out.textContent=String(error);}});
"""


def _source(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


HEADERS = [
    (
        b"content-security-policy",
        f"default-src 'none'; style-src {_source(_STYLE)}; script-src {_source(_SCRIPT)}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'".encode(),
    ),
    (b"x-content-type-options", b"nosniff"),
]


def page(manifest: Manifest, name: str, *, keyed: bool = False, base: str = "") -> bytes:
    """Return the HTML of the page, Chinese and English side by side.

    Args:
        manifest: of the bundle.
        name: of the model.
        keyed: the form asks for an API key, which it keeps nowhere, and the examples show one.
        base: where the client reached the server: scheme and host; empty when that is not known.

    """
    columns = "".join(
        f"<tr><td><code>{escape(column.name)}</code></td><td>{escape(_KINDS[column.kind])}</td></tr>"
        for column in manifest.inputs
    )
    classes = " · ".join(f"<code>{escape(label)}</code>" for label in manifest.classes)
    tensors = [_tensor(column.name, column.kind) for column in manifest.inputs]
    row = _curl({"row": _example(manifest)}, f"{base or _SOMEWHERE}/v1/predict", keyed=keyed)
    infer = _curl({"inputs": tensors}, f"{base or _SOMEWHERE}/v2/models/{name}/infer", keyed=keyed)
    links = "".join(
        f'<a href="{path}">{path}</a>'
        for path in ("openapi.json", "v1/contract", "v1/status", "metrics", "readyz", "v2")
    )
    key = _KEY if keyed else ""
    return f"""<!doctype html><html lang="zh"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(name)}</title><style>{_STYLE}</style></head><body>
<h1>{escape(name)}</h1><div>{escape(manifest.label.zh)} / {escape(manifest.label.en)}<br>
<small><code>{escape(manifest.candidate)}</code></small></div><nav>{links}</nav>
<h2>输入列 Input columns</h2><table>{columns}</table><p class="soft">缺少的列与 null 视为缺失。 Absent columns and null are missing values.</p>
<h2>输出 Classes</h2><p>{classes}</p>
<h2>试一试 Try it</h2><form id="try">{_fields(manifest)}{key}<button>预测 Predict</button></form><pre id="out"></pre>
<h2>POST v1/predict</h2><pre>{escape(row)}</pre>
<p class="soft">多行 Several rows: <code>{{"rows": [ … ]}}</code></p>
<h2>Open Inference Protocol v2</h2><pre>{escape(infer)}</pre>
<script>{_SCRIPT}</script></body></html>""".encode()


_KEY = '<label for="key">API 密钥 API key</label><input type="password" id="key" autocomplete="off">'
_SOMEWHERE = "http://HOST:PORT"
_KINDS = {"text": "文本 text", "number": "数值 number", "category": "类别 category"}


def _curl(document: dict[str, Any], url: str, *, keyed: bool) -> str:
    """Return a command to copy; the key comes from a variable, so that it is in no history."""
    key = ' -H "X-API-Key: $KEY"' if keyed else ""
    body = json.dumps(document, ensure_ascii=False).replace("'", "'\\''")
    return f"curl -H 'Content-Type: application/json'{key} -d '{body}' {url}"


def _value(kind: str) -> str | float:
    return 0.0 if kind == "number" else "…"


def _example(manifest: Manifest) -> dict[str, Any]:
    return {column.name: _value(column.kind) for column in manifest.inputs}


def _tensor(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "shape": [1], "datatype": "FP64" if kind == "number" else "BYTES", "data": [_value(kind)]}


def _fields(manifest: Manifest) -> str:
    fields = []
    for column in manifest.inputs:
        attributes = f'name="{escape(column.name)}" data-kind="{column.kind}" id="in-{escape(column.name)}"'
        box = f"<textarea {attributes} rows=3></textarea>" if column.kind == "text" else f"<input {attributes}>"
        if column.kind == "number":
            box = f'<input type="number" step="any" {attributes}>'
        fields.append(f'<label for="in-{escape(column.name)}">{escape(column.name)}</label>{box}')
    return "".join(fields)
