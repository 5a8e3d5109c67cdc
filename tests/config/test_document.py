import pytest
from hypothesis import given
from hypothesis import strategies as st

from regvault.config.document import parse_document


def where(text: str) -> list[tuple[int, int, str]]:
    return [(p.line, p.column, p.message) for p in parse_document(text).problems]


def test_plain_values_are_read_as_what_they_are() -> None:
    document = parse_document('a: 1\nb: [x, "2", 3.5, true, null]\nc: {d: ""}\n')
    assert document.problems == []
    assert document.value == {"a": 1, "b": ["x", "2", 3.5, True, None], "c": {"d": ""}}


def test_an_empty_document_has_no_value_and_no_problem() -> None:
    assert parse_document("# nothing\n").problems == []
    assert parse_document("# nothing\n").value is None


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1),
        ("a:\n  b: 1\n  c: 1\n  b: 2\n", 4, 3),
        ("a: {b: 1, b: 2}\n", 1, 11),
    ],
)
def test_a_key_that_is_there_twice_is_an_error_where_it_is_the_second_time(
    text: str, line: int, column: int
) -> None:
    [(found_line, found_column, message)] = where(text)
    assert (found_line, found_column) == (line, column)
    assert "twice" in message


def test_keys_that_yaml_takes_for_something_else_are_errors() -> None:
    assert [(line, column) for line, column, _ in where("yes: 1\n1: 2\n? [a]\n: 3\n")] == [
        (1, 1),
        (2, 1),
        (3, 3),
    ]


def test_merge_keys_are_refused_not_ignored() -> None:
    [(line, column, message)] = where("a: &a {b: 1}\nc:\n  <<: *a\n")
    assert (line, column) == (3, 3)
    assert "merge" in message


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [id]\n",
        "a: !!python/name:os.system\n",
        "a: !secret x\n",
        "a: 2026-01-01\n",
        "a: !!set {x}\n",
    ],
)
def test_what_is_no_plain_value_is_an_error_and_nothing_is_run(text: str) -> None:
    assert [place[:2] for place in where(text)] == [(1, 4)]


def test_aliases_that_grow_exponentially_are_refused_at_once() -> None:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 12)]
    [(_, _, message)] = where("\n".join(lines))
    assert "too large" in message


def test_a_document_that_holds_itself_is_refused() -> None:
    [(_, _, message)] = where("a: &a [*a]\n")
    assert "too" in message


@pytest.mark.parametrize("text", ["[" * 200_000, "a: " + "{a: " * 5000, "- " * 100_000])
def test_deep_nesting_is_an_error_not_a_crash(text: str) -> None:
    assert parse_document(text).problems


def test_a_syntax_error_says_where() -> None:
    [(line, column, message)] = where("a: 1\nb: [1, 2\nc: 3\n")
    assert (line, column) == (3, 2)
    assert message.startswith("not YAML")


def test_a_character_that_yaml_does_not_take_is_an_error_where_it_is() -> None:
    assert [place[:2] for place in where("a: 1\nb: \x08\n")] == [(2, 4)]


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_a_value_or_has_problems(text: str) -> None:
    document = parse_document(text)
    assert all(problem.line >= 1 and problem.column >= 1 for problem in document.problems)
