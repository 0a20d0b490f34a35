"""Record the project's cassettes again, from servers that are running.

    python -m tests.record_cassettes --list
    python -m tests.record_cassettes --llamacpp http://127.0.0.1:18091 --only 'openai_chat/*'

A scenario is recorded where the address of its server is given. `cassettes/README.md` says how
the servers are started.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import httpx

from crux_integrations.testing import use_cassette
from tests.cassette_scenarios import (
    Scenario,
    anthropic_messages,
    demo,
    gemini_generate,
    ollama_chat,
    openai_chat,
    openai_responses,
)

CASSETTES = Path(__file__).resolve().parent.parent / "cassettes"

_MODEL = "SmolLM2-135M-Instruct Q4_1"
_LLAMACPP = {
    "kind": "real server",
    "name": f"llama.cpp server of the wheel xllamacpp, {_MODEL}",
    "version": "2026.10.11549",
}
ANSWERED_BY: Mapping[str, Mapping[str, str]] = {
    "llamacpp": _LLAMACPP,
    "llamacpp_tools": _LLAMACPP | {"note": "chat template tests/record_servers/chatml_tools.jinja"},
    "llamacpp_tools_eager": _LLAMACPP
    | {"note": "chat template tests/record_servers/chatml_tools_eager.jinja"},
    "llamacpp_key": _LLAMACPP | {"note": "started with another key than the requests carry"},
    "llamacpp_python": {
        "kind": "real server",
        "name": f"llama-cpp-python[server], chat format chatml-function-calling, {_MODEL}",
        "version": "0.3.36",
    },
    "litellm": {
        "kind": "real server",
        "name": f"LiteLLM proxy in front of llama-cpp-python 0.3.36, {_MODEL}",
        "version": "1.106.2",
    },
    "aimock": {
        "kind": "emulator",
        "name": "@copilotkit/aimock, fixtures tests/aimock_fixtures",
        "version": "1.43.0",
        "note": "no evidence of how a provider behaves",
    },
}
MODULES = (
    openai_chat,
    anthropic_messages,
    openai_responses,
    gemini_generate,
    ollama_chat,
    demo,
)
SCENARIOS: list[Scenario] = [scenario for module in MODULES for scenario in module.SCENARIOS]


def record(scenario: Scenario, server: str, key: str, folder: Path = CASSETTES) -> Path:
    """Record one scenario; the file."""
    path = folder / f"{scenario.name}.yaml"
    # A connection for each request: llama.cpp drops one after a stream without saying so.
    limits = httpx.Limits(max_keepalive_connections=0)
    client = httpx.Client(base_url=server, timeout=120, limits=limits)

    def call(endpoint: str, body: dict[str, Any], headers: Mapping[str, str] = {}) -> bytes:
        sent = {**_auth(endpoint, key), **headers}
        answer = client.post(endpoint, json=body, headers=sent)
        if answer.is_error and "error" not in path.stem and scenario.name != "demo/openai":
            raise SystemExit(f"{scenario.name}: {answer.status_code} {answer.text[:300]}")
        return answer.content

    who = dict(ANSWERED_BY[scenario.server])
    if scenario.name.startswith("emulated/") and who["kind"] != "emulator":
        who["note"] = "the error is made up by the proxy; no evidence of how a provider behaves"
    with client, use_cassette(path, mode="rewrite", answered_by=who):
        scenario.run(call)
    return path


def _auth(endpoint: str, key: str) -> dict[str, str]:
    if endpoint.startswith("/v1beta"):
        return {"x-goog-api-key": key}
    if endpoint.startswith("/v1/messages"):
        return {"x-api-key": key}
    return {"authorization": f"Bearer {key}"}


def main(arguments: list[str] | None = None) -> int:
    """The command; 2 where nothing was asked for that could be recorded."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.record_cassettes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for server in dict.fromkeys(scenario.server for scenario in SCENARIOS):
        option = f"--{server.replace('_', '-')}"
        parser.add_argument(option, metavar="URL", help=ANSWERED_BY[server]["name"])
    parser.add_argument("--only", metavar="PATTERN", default="*", help="names, e.g. 'demo/*'")
    parser.add_argument("--list", action="store_true", help="print the scenarios and stop")
    args = parser.parse_args(arguments)
    chosen = [s for s in SCENARIOS if fnmatch(s.name, args.only)]
    if args.list:
        for scenario in chosen:
            print(f"{scenario.name:48} {scenario.server}")
        return 0
    recorded = 0
    for scenario in chosen:
        url = getattr(args, scenario.server)
        if url is None:
            continue
        # A key of its own for every run: the tests look for it in what was written.
        litellm = os.environ.get("LITELLM_MASTER_KEY")
        key = litellm if scenario.server == "litellm" and litellm else secrets.token_urlsafe(32)
        path = record(scenario, url, key)
        if key in path.read_text("utf-8"):
            raise SystemExit(f"{path} holds the key it was recorded with")
        print(f"{scenario.name} <- {scenario.server}")
        recorded += 1
    if not recorded:
        print("nothing recorded: no server's address given for these scenarios", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
