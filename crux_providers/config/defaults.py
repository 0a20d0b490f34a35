"""Every default value, once. Adapters, command line and persistence import from here."""

from __future__ import annotations

DEFAULT_PROVIDER = "openai"
"""Provider of ``crux chat`` where nothing else says one."""

BENCHMARK_RUNS = 5
BENCHMARK_WARMUPS = 0

OPENAI_DEFAULT_MODEL = "o3-mini"
OPENAI_BASE_URL = "https://api.openai.com/v1"
ANTHROPIC_BASE_URL = "https://api.anthropic.com"
ANTHROPIC_VERSION = "2023-06-01"
ANTHROPIC_MAX_TOKENS = 4096
"""Anthropic requires max_tokens; this is sent where the request names none."""
GEMINI_BASE_URL = "https://generativelanguage.googleapis.com"
OLLAMA_BASE_URL = "http://127.0.0.1:11434"
OPENROUTER_MODEL = "openrouter/auto"
OPENROUTER_BASE_URL = "https://openrouter.ai/api/v1"
DEEPSEEK_BASE_URL = "https://api.deepseek.com"
XAI_BASE_URL = "https://api.x.ai/v1"
LITELLM_SERVER_URL = "http://127.0.0.1:4000"
"""Where LiteLLM's proxy listens unless told otherwise."""
LOCAL_SERVER_URL = "http://127.0.0.1:8080/v1"
"""Where llama.cpp's server listens unless told otherwise."""

TIMEOUT_CONNECT_S = 10.0
TIMEOUT_FIRST_TOKEN_S = 60.0
TIMEOUT_IDLE_S = 60.0
TIMEOUT_TOTAL_S = 600.0

RETRY_INITIAL_S = 0.2
RETRY_MAX_S = 5.0
RETRY_JITTER = 0.5
RETRY_PATIENCE_S = 30.0
"""The longest Retry-After a provider on its own waits for."""

SQLITE_JOURNAL_MODE = "WAL"
SQLITE_SYNCHRONOUS = "NORMAL"
SQLITE_BUSY_TIMEOUT_MS = 5000

OBSERVED_EXPIRE_S = 7 * 86400.0
"""How long an observed refusal counts."""
WRITER_BATCH_ROWS = 256
WRITER_INTERVAL_S = 0.2
CATALOG_STALE_DAYS = 90
