"""The Dockerfile of a bundle: two stages, pinned by hash, not root, nothing to write to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bakeoff.delivery.container import DRAIN, STOP, USER, Sizing
from bakeoff.delivery.locks import FILE

IGNORED = """# What lies beside a bundle's files by accident, keys above all, stays out of the image.
**/.*
!.dockerignore
**/*.key
**/*.pem
**/__pycache__
"""
_HEALTHY = (
    "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', 8000, timeout=2); c.request('GET', '/readyz'); "
    "sys.exit(c.getresponse().status != 200)"
)
_OPENMP = """
# LightGBM's wheel uses the system's OpenMP library; its version is the base image's.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*"""
_PIP = "/opt/venv/bin/python -m pip --disable-pip-version-check --no-cache-dir"


def dockerfile(sizing: Sizing, pins: Mapping[str, str], unknown: Sequence[str]) -> str:
    """Return the Dockerfile; the bundle is its build context and needs nothing unpublished.

    Args:
        sizing: names, versions, threads.
        pins: distribution → version.
        unknown: what no hash is known of; nothing is pinned by hash unless this is empty.

    """
    base = f"python:{sizing.python}-slim"
    return f"""# docker build -t {sizing.image} .
# Pin the base image too: --build-arg BASE={base}@sha256:DIGEST (docker buildx imagetools inspect {base} tells it).
ARG BASE={base}

FROM ${{BASE}} AS build
{_install(pins, unknown)}

FROM ${{BASE}}
LABEL org.opencontainers.image.title="{sizing.name}" \\
      org.opencontainers.image.version="{sizing.tag}" \\
      org.opencontainers.image.description="Model service chosen and delivered by Bakeoff" \\
      org.opencontainers.image.base.name="{base}"{_OPENMP if "lightgbm" in pins else ""}
RUN groupadd --gid {USER} serve \\
    && useradd --uid {USER} --gid {USER} --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin serve
COPY --from=build /opt/venv /opt/venv
COPY . /bundle
# The variables about keys name files, which a Secret or a mount brings.
# hadolint ignore=DL3064
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \\
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS={sizing.threads} \\
    {" ".join(f"{name}={value}" for name, value in sizing.environment.items())}
WORKDIR /bundle
USER {USER}:{USER}
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \\
    CMD ["python", "-I", "-c", "{_HEALTHY}"]
ENTRYPOINT ["python", "-P", "-m", "bakeoff.serving", "/bundle", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--drain-seconds", "{DRAIN}", "--stop-seconds", "{STOP}"]
"""


def _install(pins: Mapping[str, str], unknown: Sequence[str]) -> str:
    lines = []
    if "torch" in pins:
        lines.append("# The CPU build of PyTorch is on an index of its own: --build-arg PIP_EXTRA_INDEX_URL=…")
    if unknown:
        listed, more = ", ".join(unknown[:6]), f" and {len(unknown) - 6} more" if len(unknown) > 6 else ""
        lines.append(f"# Versions are pinned, hashes are not: none is known of {listed}{more}.")
        copied, wanted = "requirements.txt", "-r requirements.txt ./wheels/*.whl"
    else:
        copied, wanted = FILE, f"--no-deps --require-hashes -r {FILE}"
    return "\n".join([
        *lines,
        "ARG PIP_EXTRA_INDEX_URL=",
        "WORKDIR /build",
        f"COPY {copied} ./",
        "COPY wheels ./wheels",
        "RUN python -m venv /opt/venv \\",
        f"    && {_PIP} install --only-binary :all: {wanted} \\",
        f"    && {_PIP} uninstall --yes pip",
    ])  # fmt: skip
