"""JSON schema of KubeRay's RayJob, as far as a manifest of ours may go: unknown fields and wrong types are refused.

KubeRay's own definitions (CRDs) come with its Helm chart, not as a Python package. Names and types here were read from
what those are generated from, ``ray-operator/apis/ray/v1/rayjob_types.go`` and ``raycluster_types.go`` of KubeRay's
repository, and those of pods from the models of the Python package ``kubernetes`` 37.0.2. Fields that speak of things
we have no use for (Redis, ingress, mutual TLS) are left out.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
YES_OR_NO: Schema = {"type": "boolean"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
TEXTS: Schema = {"type": "array", "items": TEXT}
MAP: Schema = {"type": "object", "additionalProperties": TEXT}


def fields(required: tuple[str, ...] = (), **known: Schema) -> Schema:
    """An object of `known` fields and no others."""
    return {"type": "object", "properties": known, "required": list(required), "additionalProperties": False}


def several(item: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": item}


def one_of(*words: str) -> Schema:
    """One of some words."""
    return {"enum": list(words)}


METADATA = fields(name=TEXT, namespace=TEXT, labels=MAP, annotations=MAP)
# Quantities are strings or whole numbers ("500m", 2); of what is extended, such as GPUs, whole.
QUANTITIES: Schema = {
    "type": "object",
    "properties": {"nvidia.com/gpu": {"type": ["string", "integer"], "pattern": "^[0-9]+$"}},
    "additionalProperties": {"type": ["string", "integer"], "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"},
}
RESOURCES = fields(limits=QUANTITIES, requests=QUANTITIES)
ENV = several(fields(("name",), name=TEXT, value=TEXT, valueFrom={"type": "object"}))
MOUNTS = several(
    fields(
        ("name", "mountPath"), name=TEXT, mountPath=TEXT, mountPropagation=TEXT, readOnly=YES_OR_NO,
        recursiveReadOnly=TEXT, subPath=TEXT, subPathExpr=TEXT,
    )
)  # fmt: skip
CONTAINER = fields(
    ("name",), name=TEXT, image=TEXT, imagePullPolicy=one_of("Always", "IfNotPresent", "Never"), command=TEXTS,
    args=TEXTS, env=ENV, envFrom={"type": "array"}, lifecycle={"type": "object"}, livenessProbe={"type": "object"},
    ports={"type": "array"}, readinessProbe={"type": "object"}, resources=RESOURCES, restartPolicy=TEXT,
    securityContext={"type": "object"}, startupProbe={"type": "object"}, volumeMounts=MOUNTS, workingDir=TEXT,
)  # fmt: skip
VOLUME = fields(
    ("name",), name=TEXT, configMap={"type": "object"}, csi={"type": "object"}, hostPath={"type": "object"},
    nfs={"type": "object"}, secret={"type": "object"},
    emptyDir=fields(medium=one_of("", "Memory"), sizeLimit=TEXT),
    persistentVolumeClaim=fields(("claimName",), claimName=TEXT, readOnly=YES_OR_NO),
)  # fmt: skip
TOLERATION = fields(
    key=TEXT, operator=one_of("Exists", "Equal"), value=TEXT, tolerationSeconds=WHOLE,
    effect=one_of("NoSchedule", "PreferNoSchedule", "NoExecute"),
)  # fmt: skip
POD = fields(
    ("containers",), activeDeadlineSeconds=WHOLE, affinity={"type": "object"}, containers=several(CONTAINER),
    imagePullSecrets={"type": "array"}, initContainers=several(CONTAINER), nodeSelector=MAP, priorityClassName=TEXT,
    restartPolicy=one_of("Always", "OnFailure", "Never"), runtimeClassName=TEXT, schedulerName=TEXT,
    securityContext={"type": "object"}, serviceAccountName=TEXT, terminationGracePeriodSeconds=WHOLE,
    tolerations=several(TOLERATION), topologySpreadConstraints={"type": "array"}, volumes=several(VOLUME),
)  # fmt: skip
TEMPLATE = fields(metadata=METADATA, spec=POD)
AUTOSCALER = fields(
    resources=RESOURCES, image=TEXT, imagePullPolicy=TEXT, securityContext={"type": "object"}, idleTimeoutSeconds=WHOLE,
    upscalingMode=one_of("Default", "Aggressive", "Conservative"), version=one_of("v1", "v2"), env=ENV,
    envFrom={"type": "array"}, volumeMounts=MOUNTS, command=TEXTS, args=TEXTS,
)  # fmt: skip
HEAD = fields(
    ("template",), template=TEMPLATE, headService={"type": "object"}, enableIngress=YES_OR_NO, resources=MAP,
    labels=MAP, rayStartParams=MAP, serviceType=TEXT,
)  # fmt: skip
WORKERS = fields(
    ("groupName", "minReplicas", "maxReplicas", "template"), suspend=YES_OR_NO, groupName=TEXT, replicas=WHOLE,
    minReplicas=WHOLE, maxReplicas=WHOLE, idleTimeoutSeconds=WHOLE, priority=WHOLE, resources=MAP, labels=MAP,
    rayStartParams=MAP, template=TEMPLATE, scaleStrategy=fields(workersToDelete=TEXTS), numOfHosts=WHOLE,
)  # fmt: skip
CLUSTER = fields(
    ("headGroupSpec",), upgradeStrategy=fields(type=one_of("Recreate", "None")), suspend=YES_OR_NO, managedBy=TEXT,
    authOptions=fields(mode=one_of("disabled", "token"), secretName=TEXT, enableK8sTokenAuth=YES_OR_NO),
    autoscalerOptions=AUTOSCALER, headServiceAnnotations=MAP, enableInTreeAutoscaling=YES_OR_NO, headGroupSpec=HEAD,
    rayVersion=TEXT, workerGroupSpecs=several(WORKERS),
)  # fmt: skip
JOB = fields(
    activeDeadlineSeconds=WHOLE, backoffLimit=WHOLE, rayClusterSpec=CLUSTER, submitterPodTemplate=TEMPLATE,
    metadata=MAP, clusterSelector=MAP, submitterConfig=fields(backoffLimit=WHOLE), managedBy=TEXT, entrypoint=TEXT,
    runtimeEnvYAML=TEXT, jobId=TEXT, submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode"),
    entrypointResources=TEXT, entrypointNumCpus=NUMBER, entrypointNumGpus=NUMBER, ttlSecondsAfterFinished=WHOLE,
    shutdownAfterJobFinishes=YES_OR_NO, suspend=YES_OR_NO,
)  # fmt: skip
RAY_JOB = fields(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion=one_of("ray.io/v1"), kind=one_of("RayJob"), metadata=METADATA, spec=JOB,
)  # fmt: skip
