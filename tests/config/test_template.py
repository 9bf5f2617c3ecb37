from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, StrictUndefined, TemplateSyntaxError, UndefinedError

from pipeline.config import compile_template
from pipeline.config.jinja import MOST_CHARACTERS
from pipeline.errors import Rejected, UsageError
from pipeline.types import Json

REAL = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701 - prompts are no HTML
NAMES = ["a", "b", "c_1", "A"]
VALUES = st.one_of(
    st.text(max_size=8),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
)


def rejected(source: str, data: Mapping[str, Json]) -> str:
    with pytest.raises(Rejected) as caught:
        compile_template(source, "prompt")(data)
    assert caught.value.code == "template"
    return caught.value.message


@given(
    st.lists(
        st.one_of(
            st.sampled_from([f"{{{{ {name} }}}}" for name in NAMES]),
            st.sampled_from(
                ["{{", "}}", "{%", "{{{ a }}}", "{{a\n}}", "{{ not }}", "{{ none }}", "{{ self }}", "{{ä}}"]
            ),
            st.sampled_from(["{{-a-}}", "{# note #}", "{{ 'x' }}", "\n", "%", "%s", "%%(a)s", " ", "{", "}", "%d\n"]),
            st.text(alphabet="xyz ä🙂\t\r\n%", max_size=4),
        ),
        max_size=8,
    ).map("".join),
    st.dictionaries(st.sampled_from(NAMES), VALUES),
)
def test_a_template_renders_as_jinja2_does(source: str, data: dict[str, Json]) -> None:
    try:
        expected = REAL.from_string(source).render(data)
    except TemplateSyntaxError:
        with pytest.raises(UsageError):
            compile_template(source, "text")
    except UndefinedError:
        assert "the record lacks the field" in rejected(source, data)
    else:
        assert compile_template(source, "text")(data) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ a }}\n{{ b }}", "hi\nNone"),
        ("{{ a }}", "hi"),
        ("no names", "no names"),
        ("", ""),
        ("line\n", "line"),
        ("100 %", "100 %"),
        ("{{ flag }} {{ n }} {{ f }}", "True 7 0.5"),
        ("{{ a|upper }} {{ list|join(', ') }}", "HI x, y"),
        ("{% for each in list %}{{ loop.index }}{{ each }}{% endfor %}", "1x2y"),
        ("{{ nested.key }}{{ nested['key'] }}", "vv"),
        ("{% if none is defined %}y{% else %}n{% endif %}", "y"),
        ("{% if missing is defined %}y{% else %}n{% endif %}", "n"),
        ("{{ missing|default('d') }}", "d"),
        ("{{ html }}", "<b>&</b>"),
        ("{{ nested|tojson }} {{ html|tojson }}", '{"key": "v"} "<b>&</b>"'),
        ("{{ list|tojson(indent=1) }}", '[\n "x",\n "y"\n]'),
        ("{{ n * 2 }} {{ a * 2 }} {{ n ** 2 }}", "14 hihi 49"),
        ("{% raw %}{{ a }}{% endraw %}", "{{ a }}"),
        ("{{ lipsum }}{{ dict }}", "LD"),
    ],
)
def test_templates_render(source: str, expected: str) -> None:
    data = {"a": "hi", "b": None, "flag": True, "n": 7, "f": 0.5, "list": ["x", "y"], "nested": {"key": "v"}}
    data |= {"html": "<b>&</b>", "lipsum": "L", "dict": "D"}
    assert compile_template(source, "text")(data) == expected


SECRET = "what-the-record-holds"


@pytest.mark.parametrize(
    ("source", "lacking"),
    [
        ("{{ subject }}", "the field 'subject'"),
        ("{{ a }} {{ subject }}", "the field 'subject'"),
        ("{{ subject|upper }}", "the field 'subject'"),
        ("{{ customer.name }}", "the field 'customer'"),
        ("{{ nested.name }}", "the field 'name'"),
        ("{% for x in subject %}{% endfor %}", "the field 'subject'"),
        ("{{ nested[a] }}", "a field that it asks for"),
        ("{{ list[5] }}", "the field '5'"),
        ("{{ lipsum }}", "the field 'lipsum'"),
        ("{{ range }}", "the field 'range'"),
    ],
)
def test_a_missing_field_is_named_but_no_value_is(source: str, lacking: str) -> None:
    message = rejected(source, {"a": SECRET, "nested": {}, "list": []})
    assert message == f"the template prompt cannot be filled: the record lacks {lacking}"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{ a + 1 }}", "TypeError"),
        ("{{ n / 0 }}", "ZeroDivisionError"),
        ("{{ a|int + a }}", "TypeError"),
        ("{% for x in range(10**9) %}{% endfor %}", "OverflowError"),
        ("{{ 'x' * 10**9 }}", "OverflowError"),
        ("{{ 10**9 * [1] }}", "OverflowError"),
        ("{{ 9**9999 }}", "OverflowError"),
        ("{{ a.__class__ }}", "SecurityError"),
        ("{{ a.format.__globals__ }}", "SecurityError"),
        ("{{ list.append(1) }}", "SecurityError"),
    ],
)
def test_what_a_template_cannot_do_becomes_a_dead_letter_without_values(source: str, problem: str) -> None:
    message = rejected(source, {"a": SECRET, "n": 1, "list": []})
    assert message == f"the template prompt cannot use what the record holds ({problem})"


def test_the_text_that_a_template_makes_is_bounded() -> None:
    source = "{% for x in range(99999) %}{{ a }}{% endfor %}"
    message = rejected(source, {"a": "x" * (MOST_CHARACTERS // 1000)})
    assert message == "the template prompt makes more than 16,777,216 characters"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{ a }", "line 1 of the template: unexpected '}'"),
        ("a\nb\n{% endif %}", "line 3 of the template: Encountered unknown tag 'endif'."),
        ("{{ a|random }}", "line 1 of the template: No filter named 'random'."),
        ("{% extends 'x' %}", "a template cannot load another"),
        ("{% from 'x' import y %}", "a template cannot load another"),
        ("{{ " + "(" * 5_000 + "a" + ")" * 5_000 + " }}", "the template is nested too deeply"),
    ],
)
def test_what_is_no_template_is_a_usage_error(source: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        compile_template(source, "prompt")
    assert caught.value.message.startswith(f"prompt: {problem}")


def test_a_record_is_rendered_the_same_each_time_and_left_as_it_was() -> None:
    render = compile_template("{% set x = list + ['z'] %}{{ x|length }}", "text")
    data = {"list": ["x"]}
    assert [render(data), render(data)] == ["2", "2"]
    assert data == {"list": ["x"]}


def test_templates_of_bare_names_do_not_load_jinja2() -> None:
    program = (
        "import sys; from pipeline.config import compile_template as of; "
        "print(of('{{ a }} {{b}}%\\n', 'text')({'a': 1, 'b': 2}), 'jinja2' in sys.modules); "
        "print(of('{{ a|int }}', 'text')({'a': '3'}), 'jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split("\n") == ["1 2% False", "3 True", ""]
