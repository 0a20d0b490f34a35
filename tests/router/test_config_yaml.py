"""YAML as its version 1.2 has it, and nothing of a file that could hurt."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crux_integrations.router import yaml12
from crux_integrations.router.config import RoutesError, load_routes
from crux_integrations.router.yaml12 import YAMLError, from_data, parse, resolve


def data(text: str) -> Any:
    return parse(text).data()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("no", "no"),
        ("yes", "yes"),
        ("y", "y"),
        ("Off", "Off"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("1_000", "1_000"),
        ("0o17", 15),
        ("017", 17),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("+12", 12),
        ("-0", 0),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", -math.inf),
        ("2026-11-22", "2026-11-22"),
        ("<<", "<<"),
        ("=", "="),
        ("5%", "5%"),
        ("1.2.3", "1.2.3"),
        ("-", "-"),
        (".", "."),
        ("0o8", "0o8"),
        ("0xg", "0xg"),
        ("+", "+"),
        ("e3", "e3"),
    ],
)
def test_plain_scalars_by_the_core_schema(text: str, value: Any) -> None:
    got = resolve(text)
    assert got == value
    assert type(got) is type(value)


def test_nan_is_a_number() -> None:
    got = resolve(".nan")
    assert isinstance(got, float)
    assert math.isnan(got)


def test_quoted_text_stays_text_and_keys_mean_their_letters() -> None:
    assert data("a: '1'\nb: \"true\"\non: 1\n1: x\nnull: y\n'no': z\ntrue: t\n") == {
        "a": "1",
        "b": "true",
        "on": 1,
        "1": "x",
        "null": "y",
        "no": "z",
        "true": "t",
    }
    assert data("!!str 12") == "12"
    assert data("! 12") == "12"
    assert data("!!int 12") == 12
    assert data("|\n  a\n  b\n") == "a\nb\n"


def test_an_empty_document_is_an_empty_mapping() -> None:
    for text in ("", "# nothing\n", "---\n", "null"):
        assert data(text) == {}


def test_lines() -> None:
    node = parse("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n")
    assert isinstance(node.value, dict)
    assert node.key_lines == {"a": 1, "b": 2}
    items = node.value["b"].value
    assert isinstance(items, list)
    assert [n.line for n in items] == [3, 4]
    assert items[1].key_lines == {"c": 4, "d": 5}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a' is here twice, first on line 1"),
        ("x: {on: 1, 'on': 2}\n", 1, "'on' is here twice"),
        ("a: !!python/object/apply:os.system ['echo']\n", 1, "tag"),
        ("a: !mine x\n", 1, "tag"),
        ("a: !!int x\n", 1, "tag"),
        ("a: !!bool on\n", 1, "tag"),
        ("a: !!set {x: null}\n", 1, "tag"),
        ("a: *b\n", 1, "alias *b has no anchor before it"),
        ("a: &x [*x]\n", 1, "alias *x has no anchor before it"),
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("? [a, b]\n: c\n", 1, "a key is a word"),
        ("a: [1, 2\n", 2, "expected ',' or ']'"),
        ("a: 1\n\tb: 2\n", 2, "scalar"),
        ("a: %x\n", 1, "token"),
    ],
)
def test_what_is_refused(text: str, line: int, words: str) -> None:
    with pytest.raises(YAMLError) as caught:
        parse(text)
    assert words in str(caught.value)
    assert caught.value.line == line


def test_an_anchor_is_a_convenience_and_no_bomb() -> None:
    assert data("a: &x {n: 1}\nb: *x\n") == {"a": {"n": 1}, "b": {"n": 1}}
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
    )
    with pytest.raises(YAMLError, match="aliases written out"):
        parse(bomb)


def test_depth_and_length_are_bounded() -> None:
    with pytest.raises(YAMLError, match="nested deeper"):
        parse("[" * 100 + "]" * 100)
    with pytest.raises(YAMLError, match="characters"):
        parse("#" * (yaml12.MAX_BYTES + 1))
    with pytest.raises(YAMLError, match="digits"):
        parse("a: " + "9" * 5000)
    nested: Any = 1
    for _ in range(100):
        nested = [nested]
    with pytest.raises(YAMLError, match="nested deeper"):
        from_data(nested)


def test_a_mapping_given_in_python_holds_plain_data_only() -> None:
    assert from_data({"a": (1, 2), "b": {"c": None}}).data() == {"a": [1, 2], "b": {"c": None}}
    with pytest.raises(YAMLError, match="object is no value"):
        from_data({"a": object()})
    with pytest.raises(YAMLError, match="is not a string"):
        from_data({1: "a"})


def test_the_pure_parser_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: [1, &x {b: 'on', c: off}, *x]\nd: |\n  text\n"
    expected = parse(text)
    monkeypatch.setattr(yaml, "CSafeLoader", yaml.SafeLoader, raising=False)
    again = parse(text)
    assert again.data() == expected.data()
    assert again.key_lines == expected.key_lines


def test_a_syntax_error_has_file_and_line() -> None:
    with pytest.raises(RoutesError, match=r"^<text>:3: yaml: while parsing"):
        load_routes("version: 1\nroutes: [\n", env={})


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False, width=32),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(plain)
def test_json_is_yaml(value: Any) -> None:
    """Every JSON text means the same to both, which YAML 1.1 does not promise."""
    import json

    text = json.dumps(value)
    try:
        got = parse(text).data()
    except YAMLError:
        # PyYAML refuses a few characters that JSON escapes; refusing is not misreading.
        assert "\\u" in text or "\x7f" in text
        return
    assert got == (value if value is not None else {})


@given(st.text(alphabet="abc:{}[],-&*!|>'\"#%@` \n\t0123", max_size=60))
def test_any_text_is_read_or_refused_with_our_error(text: str) -> None:
    with contextlib.suppress(YAMLError):
        parse(text)
