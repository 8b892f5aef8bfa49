"""Dockerfile and Kubernetes manifests of one bundle: slim, not root, read-only, probed, sized from what was measured."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_MIB = 2**20
_STEP = 32
_HEADROOM = 1.5
_WITHOUT_FIGURE = 512
_DRAIN, _STOP = 10, 30


@dataclass(frozen=True)
class Sizing:
    """What one replica gets.

    Attributes:
        name: DNS-1123 name of every Kubernetes object.
        tag: image tag, from the artefact's content.
        python: minor version of the interpreter the contract was measured with.
        threads: threads of the serving process.
        memory: measured resident bytes; None when nothing was measured.
        replicas: processes needed at the peak, at least two so that one may go away.

    """

    name: str
    tag: str
    python: str
    threads: int
    memory: float | None
    replicas: int

    @property
    def request(self) -> int:
        """MiB asked for: what was measured, rounded up."""
        measured = self.memory / _MIB if self.memory else _WITHOUT_FIGURE / _HEADROOM
        return max(_STEP, math.ceil(measured * 1.1 / _STEP) * _STEP)

    @property
    def limit(self) -> int:
        """MiB allowed: half as much again, for batches larger than the trial's single requests."""
        return math.ceil(self.request * _HEADROOM / _STEP) * _STEP


def object_name(study: str, tag: str) -> str:
    """Return a DNS-1123 label made of the study's name, or of the tag when nothing of the name can be used."""
    cleaned = re.sub(r"[^a-z0-9]+", "-", study.lower()).strip("-")[:40].strip("-")
    return cleaned if cleaned and cleaned[0].isalpha() else f"model-{cleaned or tag}"


def dockerfile(sizing: Sizing, pins: dict[str, str]) -> str:
    """Return the Dockerfile; the bundle is its build context and needs nothing unpublished."""
    system = ""
    if "lightgbm" in pins:
        system = (
            "# LightGBM's wheel uses the system's OpenMP library.\n"
            "RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*\n"
        )
    torch = (
        "# The CPU build of PyTorch is on an index of its own: pass it with --build-arg PIP_EXTRA_INDEX_URL=…\n"
        if "torch" in pins
        else ""
    )
    return f"""# docker build -t {sizing.name}:{sizing.tag} .    docker run --rm -p 8000:8000 {sizing.name}:{sizing.tag}
ARG PYTHON={sizing.python}
FROM python:${{PYTHON}}-slim
{torch}ARG PIP_EXTRA_INDEX_URL=
{system}COPY requirements.txt /tmp/requirements.txt
COPY wheels /tmp/wheels
RUN pip install --no-cache-dir -r /tmp/requirements.txt && pip install --no-cache-dir --no-deps /tmp/wheels/*.whl \\
    && rm -rf /tmp/requirements.txt /tmp/wheels && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin serve
COPY --chown=root:root . /bundle
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS={sizing.threads} TOKENIZERS_PARALLELISM=false
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \\
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["python", "-m", "bakeoff.serving", "/bundle", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--drain-seconds", "{_DRAIN}", "--stop-seconds", "{_STOP}"]
"""


def kubernetes(sizing: Sizing) -> dict[str, str]:
    """Return file name → YAML of deployment, service, autoscaler, disruption budget and kustomization."""
    return {
        "deployment.yaml": _deployment(sizing),
        "service.yaml": _service(sizing),
        "hpa.yaml": _autoscaler(sizing),
        "pdb.yaml": _budget(sizing),
        "kustomization.yaml": _kustomization(sizing),
    }


def _deployment(sizing: Sizing) -> str:
    name = sizing.name
    return f"""apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{app.kubernetes.io/name: {name}, app.kubernetes.io/managed-by: bakeoff}}
spec:
  replicas: {sizing.replicas}
  selector:
    matchLabels: {{app.kubernetes.io/name: {name}}}
  strategy:
    rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata:
      labels: {{app.kubernetes.io/name: {name}}}
      annotations: {{prometheus.io/scrape: "true", prometheus.io/port: "8000", prometheus.io/path: /metrics}}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {_DRAIN + _STOP + 5}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        seccompProfile: {{type: RuntimeDefault}}
      containers:
        - name: serve
          image: {name}
          imagePullPolicy: IfNotPresent
          ports:
            - {{name: http, containerPort: 8000}}
          resources:  # memory: measured in the trial plus a tenth; the limit leaves room for batches
            requests: {{cpu: "{sizing.threads}", memory: {sizing.request}Mi}}
            limits: {{memory: {sizing.limit}Mi}}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{drop: [ALL]}}
          startupProbe:
            httpGet: {{path: /healthz, port: http}}
            periodSeconds: 2
            failureThreshold: 60
          livenessProbe:
            httpGet: {{path: /healthz, port: http}}
            periodSeconds: 10
            timeoutSeconds: 3
          readinessProbe:
            httpGet: {{path: /readyz, port: http}}
            periodSeconds: 2
            timeoutSeconds: 2
          volumeMounts:
            - {{name: tmp, mountPath: /tmp}}
      volumes:
        - name: tmp
          emptyDir: {{sizeLimit: 64Mi}}
"""


def _service(sizing: Sizing) -> str:
    return f"""apiVersion: v1
kind: Service
metadata:
  name: {sizing.name}
  labels: {{app.kubernetes.io/name: {sizing.name}}}
spec:
  selector: {{app.kubernetes.io/name: {sizing.name}}}
  ports:
    - {{name: http, port: 80, targetPort: http}}
"""


def _autoscaler(sizing: Sizing) -> str:
    return f"""apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {sizing.name}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {sizing.name}}}
  minReplicas: {sizing.replicas}
  maxReplicas: {max(4, sizing.replicas * 3)}
  metrics:
    - type: Resource
      resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 70}}}}
"""


def _budget(sizing: Sizing) -> str:
    return f"""apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {sizing.name}
spec:
  minAvailable: {sizing.replicas - 1}
  selector:
    matchLabels: {{app.kubernetes.io/name: {sizing.name}}}
"""


def _kustomization(sizing: Sizing) -> str:
    return f"""# kubectl apply -k kubernetes
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [deployment.yaml, service.yaml, hpa.yaml, pdb.yaml]
images:
  - name: {sizing.name}  # where the image was pushed to: kustomize edit set image {sizing.name}=REGISTRY/{sizing.name}:{sizing.tag}
    newTag: "{sizing.tag}"
"""
