"""Every key of a routes file, once: what it takes, what it means, what it is built into.

The loader reads by this table and the JSON Schema is made from it, so neither can know a key that
the other does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields as dataclass_fields
from types import MappingProxyType
from typing import Any

from crux_providers.base.errors import ErrorCode
from crux_providers.base.models import ChatRequest
from crux_providers.base.pricing import Price

from .containers import (
    Anything,
    ByShape,
    Field,
    ListOf,
    MapOf,
    Section,
)
from .fields import (
    BAD,
    Boolean,
    Context,
    Duration,
    JSONSchema,
    Number,
    Share,
    Text,
    Word,
    WordOr,
    suggestion,
)
from .needs import Needs
from .routes import (
    ACTIONS,
    CAPABILITIES,
    CONTENT_TRIGGERS,
    DIALECTS,
    PREFERENCES,
    UNKNOWN,
    Breaker,
    Budget,
    Candidate,
    Hedge,
    Ledger,
    ModelConfig,
    Observed,
    OnTable,
    Retry,
    RouteTest,
    StreamPolicy,
    Timeouts,
)
from .yaml12 import Node

PROVIDER_NAME = r"[a-z0-9][a-z0-9_.-]*"
ROUTE_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
MODEL_REF = rf"{PROVIDER_NAME}:.+"

REQUEST_PARAMS = tuple(
    f.name
    for f in dataclass_fields(ChatRequest)
    if f.name not in ("model", "messages", "tools", "extra")
)
TRIGGERS = (*(str(code) for code in ErrorCode), *CONTENT_TRIGGERS)


def _capability_map(value: Mapping[str, bool] | Iterable[str]) -> Mapping[str, bool]:
    return MappingProxyType(
        dict(value) if isinstance(value, Mapping) else dict.fromkeys(value, True)
    )


_CAPABILITY = Word(CAPABILITIES)
_CAPABILITIES = ByShape(
    list=ListOf(_CAPABILITY, build=_capability_map),
    mapping=MapOf(Boolean(), keys=CAPABILITIES, build=_capability_map),
)
_DOLLARS = Number()

_TIMEOUT = {
    "connect": Field(Duration(positive=True), "Reaching the server."),
    "first_token": Field(Duration(positive=True), "Up to the first content."),
    "total": Field(Duration(positive=True), "One attempt, from start to end."),
}


class _Params:
    """Request fields of a candidate; a name that is nearly one of ours is refused as a slip."""

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        if not isinstance(node.value, dict):
            return ctx.problem(node, path, "expected a mapping of request fields")
        values = Anything().read(node, path, ctx)
        for name in node.value:
            line = (node.key_lines or {}).get(name, node.line)
            if name in ("model", "messages", "tools"):
                ctx.problem(
                    Node(None, line), f"{path}.{name}", "belongs to the call, not to params"
                )
            elif name not in REQUEST_PARAMS and (near := suggestion(name, REQUEST_PARAMS, 0.8)):
                ctx.problem(Node(None, line), f"{path}.{name}", f"unknown request field{near}")
        return BAD if BAD in values.values() else MappingProxyType(values)

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        return {"type": "object", "properties": {name: {} for name in REQUEST_PARAMS}}


class _CandidateRef:
    """``provider:model`` as a candidate of its own."""

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        text = Text("provider:model").read(node, path, ctx)
        return text if text is BAD else candidate(model=text, line=node.line)

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        return {"type": "string", "pattern": rf"^(?:{MODEL_REF}|.*\$\{{.*)$"}


def candidate(
    *,
    model: str | None = None,
    route: str | None = None,
    weight: float = 1.0,
    params: Mapping[str, Any] = MappingProxyType({}),
    tags: tuple[str, ...] = (),
    line: int | None = None,
) -> Candidate:
    """A candidate from what its line says; a reference without ``:`` has no provider yet."""
    provider, _, name = (model or "").partition(":")
    if model is not None and not name:
        provider, name = "", model
    return Candidate(provider, name, route, float(weight), params, frozenset(tags), line)


CANDIDATE = ByShape(
    value=_CandidateRef(),
    mapping=Section(
        {
            "model": Field(Text("provider:model"), "The model, as provider:model."),
            "route": Field(Text("the name of a route"), "Another route, as one block."),
            "weight": Field(Number(), "Its share where the route prefers `weighted`."),
            "params": Field(_Params(), "Request fields that hold where the call says nothing."),
            "tags": Field(ListOf(Text("a word")), "Words that a call may ask for."),
        },
        candidate,
        located=True,
        doc="A model with params, weight or tags, or a route as one block.",
        rules={
            "oneOf": [
                {"required": ["model"]},
                {"required": ["route"], "not": {"required": ["params"]}},
            ]
        },
    ),
)


class _Verify:
    """true, false, or the path of a file of certificates."""

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        value = ctx.scalar(node, path)
        if value is BAD or isinstance(value, bool) or (isinstance(value, str) and value):
            return value
        return ctx.problem(node, path, "expected true, false or a file of certificates")

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        return {"anyOf": [{"type": "boolean"}, {"type": "string", "minLength": 1}]}


class _Version:
    """The number 1."""

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        if node.value == 1 and not isinstance(node.value, bool):
            return 1
        return ctx.problem(node, path, "this program reads version 1")

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        return {"const": 1}


class _Expect:
    """One ``provider:model``, or the first ones in order."""

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        if isinstance(node.value, list):
            return _REFS.read(node, path, ctx)
        text = Text("provider:model").read(node, path, ctx)
        return text if text is BAD else (text,)

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        return {"anyOf": [Text().schema(), _REFS.schema()]}


_REFS = ListOf(Text("provider:model"))


def _route_values(**values: Any) -> dict[str, Any]:
    prefer = values.get("prefer")
    require = values.get("require")
    if isinstance(prefer, str):
        values["prefer"] = (prefer,)
    if require is not None:
        values["require"] = frozenset({require} if isinstance(require, str) else require)
    return values


ROUTE = Section(
    {
        "candidates": Field(ListOf(CANDIDATE, least=1), "Who may answer, in order.", required=True),
        "prefer": Field(
            ByShape(value=Word(PREFERENCES), list=ListOf(Word(PREFERENCES), least=1)),
            "What decides the order; the first decides, the rest break ties.",
        ),
        "require": Field(
            ByShape(value=_CAPABILITY, list=ListOf(_CAPABILITY)),
            "Capabilities needed besides what the request itself needs.",
        ),
        "unknown": Field(Word(UNKNOWN), "A needed capability that nobody has declared or seen."),
        "on": Field(
            MapOf(Word(ACTIONS), keys=TRIGGERS, build=OnTable.over_defaults),
            "What an error, or an answer that is not good enough, does next.",
        ),
        "retry": Field(
            Section(
                {
                    "attempts": Field(Number(1, whole=True), "All requests to one candidate."),
                    "initial": Field(Duration(), "The first wait."),
                    "max": Field(Duration(), "The longest wait."),
                    "patience": Field(Duration(), "The longest Retry-After worth waiting for."),
                },
                Retry,
            ),
            "Trying the same candidate again.",
        ),
        "stream": Field(
            Section(
                {
                    "hold": Field(
                        WordOr({"all": None}, Duration()),
                        "Keep back this much of a stream before committing to it, or `all`.",
                    ),
                    "idle": Field(Duration(positive=True), "The longest silence between events."),
                },
                StreamPolicy,
            ),
            "Streams.",
        ),
        "timeout": Field(
            Section(
                {
                    **_TIMEOUT,
                    "route_total": Field(Duration(positive=True), "All attempts together."),
                },
                Timeouts,
            ),
            "Limits of time.",
        ),
        "breaker": Field(
            Section(
                {
                    "failures": Field(Number(1, whole=True), "So many failures …"),
                    "window": Field(Duration(positive=True), "… within this time …"),
                    "open": Field(Duration(positive=True), "… leave it out for this long."),
                },
                Breaker,
            ),
            "Leaving out a candidate that keeps failing.",
        ),
        "hedge": Field(
            Section(
                {
                    "after": Field(
                        WordOr({"p95": "p95"}, Duration(positive=True)),
                        "Ask a second candidate after this long, or the first one's own p95.",
                    ),
                    "max_extra": Field(Share(), "The share of dollars this may add."),
                },
                Hedge,
            ),
            "Asking a second candidate when the first is slow.",
        ),
        "budget": Field(
            Section(
                {
                    "per_call": Field(Number(0, above=True), "US dollars of one call."),
                    "per_day": Field(Number(0, above=True), "US dollars of the route per UTC day."),
                },
                Budget,
            ),
            "US dollars that may be spent.",
        ),
    },
    _route_values,
    doc="One route.",
)

PROVIDER = Section(
    {
        "dialect": Field(Word(DIALECTS), "The protocol a gateway speaks."),
        "base_url": Field(
            Text("an address"), "What the provider's official SDK takes; needs its own api_key."
        ),
        "api_key": Field(
            Text("a key", empty=True, secret=True), "The key, as ${NAME}; empty for none."
        ),
        "api": Field(Word(("chat", "responses", "auto")), "Which of OpenAI's dialects."),
        "transport": Field(Word(("http", "sdk")), "Our own HTTP, or the provider's SDK."),
        "headers": Field(
            MapOf(
                Text("a header's text", empty=True, secret=True),
                pattern=r"[A-Za-z0-9!#$%&'*+.^_|~-]+",
                noun="header name",
            ),
            "Headers added to every call.",
        ),
        "timeout": Field(
            ByShape(value=Duration(positive=True), mapping=Section(_TIMEOUT, Timeouts)),
            "Seconds for the start of a call, or connect, first_token and total.",
        ),
        "proxy": Field(Text("an address", secret=True), "An HTTP proxy."),
        "verify": Field(
            _Verify(), "false, or a file of certificates; needs an api_key of its own."
        ),
    },
    located=True,
    doc="A gateway of your own, or settings over a provider's defaults.",
)


class _Provider:
    """A provider's section; variables that are not set are kept in ``missing``, not refused."""

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        outer, ctx.lenient = ctx.lenient, []
        values = PROVIDER.read(node, path, ctx)
        missing, ctx.lenient = tuple(ctx.lenient), outer
        return values if values is BAD else {**values, "missing": missing}

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        return PROVIDER.schema()


MODEL = Section(
    {
        "context": Field(Number(0, above=True, whole=True), "The window, in tokens."),
        "price": Field(
            Section(
                {
                    "input": Field(_DOLLARS, "US dollars per million tokens read."),
                    "output": Field(_DOLLARS, "US dollars per million tokens written."),
                    "cached": Field(_DOLLARS, "US dollars per million read from the cache."),
                    "cache_write": Field(_DOLLARS, "US dollars per million put into the cache."),
                },
                Price,
            ),
            "Its price; what is left out is unknown, never zero.",
        ),
        "capabilities": Field(
            _CAPABILITIES, "What it can do: a list, or a mapping to true and false."
        ),
    },
    ModelConfig,
    doc="What you know of one model.",
)

_STATE = Section(
    {
        "key": Field(ListOf(Text("a provider")), "Providers without a key."),
        "observed": Field(
            MapOf(MapOf(Boolean(), keys=CAPABILITIES), pattern=MODEL_REF, noun="provider:model"),
            "Capabilities as seen.",
        ),
        "breaker": Field(_REFS, "Candidates whose breaker is open."),
        "admission": Field(_REFS, "Candidates at their rate limit."),
        "spent": Field(_DOLLARS, "US dollars of the route today."),
        "latency": Field(
            MapOf(Duration(), pattern=MODEL_REF, noun="provider:model"), "Seconds as seen."
        ),
    },
    doc="What the router has seen before the call.",
)


class _Needs:
    """Fields of ``Needs`` as a mapping, or the capabilities among them as a list."""

    def read(self, node: Node, path: str, ctx: Context) -> Any:
        """See :meth:`Kind.read`."""
        if isinstance(node.value, list):
            words = ListOf(_CAPABILITY).read(node, path, ctx)
            return BAD if words is BAD else dict.fromkeys(words, True)
        if not isinstance(node.value, dict):
            return ctx.problem(node, path, "expected a mapping or a list of capabilities")
        values: dict[str, Any] = {}
        for key, child in node.value.items():
            where = f"{path}.{key}"
            match key:
                case "input_tokens" | "output_tokens":
                    value = Number(whole=True).read(child, where, ctx)
                case "tags":
                    value = ListOf(Text("a word"), build=frozenset).read(child, where, ctx)
                case _ if key in CAPABILITIES:
                    value = Boolean().read(child, where, ctx)
                case _:
                    line = (node.key_lines or {}).get(key, node.line)
                    near = suggestion(key, NEEDS) or f"; known: {', '.join(NEEDS)}"
                    value = ctx.problem(Node(None, line), where, f"unknown key{near}")
            if value is not BAD:
                values[key] = value
        return values

    def schema(self) -> JSONSchema:
        """See :meth:`Kind.schema`."""
        counts = {"input_tokens": Number(whole=True), "output_tokens": Number(whole=True)}
        properties = {
            **{word: Boolean().schema() for word in CAPABILITIES},
            **{word: kind.schema() for word, kind in counts.items()},
            "tags": ListOf(Text()).schema(),
        }
        return {
            "anyOf": [
                {"type": "object", "properties": properties, "additionalProperties": False},
                ListOf(_CAPABILITY).schema(),
            ]
        }


NEEDS = tuple(f.name for f in dataclass_fields(Needs))

TEST = Section(
    {
        "name": Field(Text("a name"), "What the row shows.", required=True),
        "route": Field(Text("the name of a route"), "The route asked; `default` unless said."),
        "needs": Field(_Needs(), "What the request needs."),
        "state": Field(_STATE, "What the router has seen; nothing unless said."),
        "expect": Field(
            _Expect(),
            "Who comes first, or the first ones in order; an empty list: nobody is left.",
            required=True,
        ),
    },
    RouteTest,
    located=True,
    doc="A plan that must come out, checked by `crux routes test`.",
)

FILE = Section(
    {
        "version": Field(_Version(), "The version of this format: 1."),
        "providers": Field(
            MapOf(_Provider(), pattern=PROVIDER_NAME, noun="provider name"),
            "Gateways, and settings over the providers' defaults.",
        ),
        "models": Field(
            MapOf(MODEL, pattern=MODEL_REF, noun="provider:model"),
            "What you know of models: window, price, capabilities.",
        ),
        "routes": Field(
            MapOf(ROUTE, pattern=ROUTE_NAME, noun="route name"), "The routes.", required=True
        ),
        "tests": Field(ListOf(TEST), "Plans that must come out."),
        "observed": Field(
            Section(
                {"expire": Field(Duration(positive=True), "How long a refusal counts.")}, Observed
            ),
            "What the router learns.",
        ),
        "ledger": Field(
            Section(
                {"keep": Field(Duration(positive=True), "How long attempts are kept.")}, Ledger
            ),
            "The record of attempts.",
        ),
        "chat_logs": Field(Boolean(), "Keep prompts and answers too; off unless said."),
    },
    doc="Which models may answer, in what order, and what happens when one fails.",
)
