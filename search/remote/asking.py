"""The agent on every machine of a cluster, asked at once: questions go to all, answers come back by machine."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from search.remote import agent
from search.remote.cluster_file import Cluster
from search.remote.ssh import hearing, ssh_words, told

ANSWER = 60.0
"""Seconds that a machine has for one answer; a shared folder whose server is gone hangs for ever."""
SILENT = "no answer within a minute"


class Agent:
    """The agent on one machine; `problem` says why it does not answer, None while it does."""

    def __init__(self, cluster: Cluster, address: str) -> None:
        self.address, self.problem = address, None
        text = base64.b64encode(Path(agent.__file__).read_bytes()).decode()
        # The environment's Python where there is one; what is wrong with another it says itself.
        python = "$(command -v python || command -v python3 || echo python)"
        line = f"exec {python} -u -c \"import base64; exec(base64.b64decode('{text}'))\""
        words = [*ssh_words(cluster, address), hearing(line)]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, and says why when it is asked
            self._process.stdin.write(told(cluster))
            self._process.stdin.flush()

    def ask(self, question: str, **fields: Any) -> Any:
        """The answer, or None with `problem` set."""
        if self.problem is not None:
            return None
        timer = threading.Timer(ANSWER, self._give_up)
        timer.start()
        try:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps({"ask": question, **fields}) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            self.problem = self.problem or self._last_words()
            return None
        finally:
            timer.cancel()

    problem: str | None

    def end(self) -> None:
        """Let the agent end; the ports that it listens on are free again."""
        with suppress(OSError, ValueError):
            self._process.communicate(timeout=5)
        self._process.kill()
        self._process.wait()

    def _give_up(self) -> None:
        self.problem = SILENT
        self._process.kill()

    def _last_words(self) -> str:
        with suppress(OSError, ValueError, subprocess.TimeoutExpired):
            _, said = self._process.communicate(timeout=5)
            lines = said.strip().splitlines()
            if lines:
                return lines[-1]
        return "the connection ended"


class Agents:
    """The agents of all machines of a cluster."""

    def __init__(self, agents: Mapping[str, Agent], pool: ThreadPoolExecutor) -> None:
        self.agents, self._pool = agents, pool

    def ask(self, question: str, **fields: Any) -> dict[str, Any]:
        """The answers by address, of the machines that answer."""
        return self.ask_each(question, dict.fromkeys(self.agents, fields))

    def ask_each(self, question: str, fields: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Ask each machine of `fields` with fields of its own."""
        asked = {
            address: self._pool.submit(self.agents[address].ask, question, **own) for address, own in fields.items()
        }
        answers = {address: future.result() for address, future in asked.items()}
        return {address: answer for address, answer in answers.items() if self.agents[address].problem is None}

    def problems(self) -> dict[str, str]:
        """Why machines do not answer, by address."""
        return {address: each.problem for address, each in self.agents.items() if each.problem is not None}


@contextmanager
def asking(cluster: Cluster) -> Iterator[Agents]:
    """The agents of all machines, ended with the context."""
    with ThreadPoolExecutor(max_workers=max(1, len(cluster.nodes))) as pool:
        agents = {address: Agent(cluster, address) for address in cluster.nodes}
        try:
            yield Agents(agents, pool)
        finally:
            list(pool.map(Agent.end, agents.values()))
