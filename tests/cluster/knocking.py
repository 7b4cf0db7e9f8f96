"""Run on a test host: ask each service of a cluster's machine for something, and print by port what it says.

``python knocking.py ADDRESS [TOKEN [PORT …]]``; the ports are those of Ray's workers, the others are known. Ports that
speak gRPC answer UNAUTHENTICATED to whom they do not know, those that speak HTTP 401 or 403.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

GRPC = {
    6379: "ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    6380: "ray.rpc.NodeManagerService/GetNodeStats",
    6381: "ray.rpc.ObjectManagerService/Pull",
    6383: "ray.rpc.ReporterService/GetTraceback",
    10001: "ray.rpc.RayletDriver/ClusterInfo",
}
WORKER = "ray.rpc.CoreWorkerService/GetCoreWorkerStats"
HTTP = {
    5000: "/health",
    6382: "/get_or_create_runtime_env",
    6384: "/metrics",
    8265: "/api/jobs/",
    44217: "/metrics",
    44227: "/metrics",
    52365: "/api/job_agent/jobs/",
}


def call(place: str, method: str, token: str) -> str:
    """What a gRPC method says to an empty question."""
    import grpc  # the environment's, on the host

    told = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(place) as channel:
        try:
            channel.unary_unary(f"/{method}")(b"", timeout=20, metadata=told)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "answered"


def ask(place: str, path: str, token: str) -> str:
    """Status of an HTTP page."""
    told = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://{place}{path}", headers=told), timeout=20) as page:
            return str(page.status)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except OSError as error:
        return str(getattr(error, "reason", error))


if __name__ == "__main__":
    address, token, *workers = [*sys.argv[1:], ""] if len(sys.argv) == 2 else sys.argv[1:]
    for port, method in {**GRPC, **{int(port): WORKER for port in workers}}.items():
        print(port, call(f"{address}:{port}", method, token))
    for port, path in HTTP.items():
        print(port, ask(f"{address}:{port}", path, token))
