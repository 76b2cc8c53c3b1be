"""Reading a batch: every form an entry may have, and every mistake told with its line."""

from pathlib import Path
from time import process_time

import pytest

from render_service.batches.file import Entry, read_batch
from render_service.runtime.files import slug

OF_THE_SEED = """
{"prompt":"A neon-lit rainy alley, slow dolly-in","seconds":"4"}
{"prompt":"A warm sunrise over a misty lake, gentle pan","seconds":"8",
 "fields":{"camera":"35mm, slow pan","lighting":"soft dawn light"}}
"""


def entries(text: str) -> list[Entry]:
    """Return the entries of a text without mistakes."""
    reading = read_batch(text, Path())
    assert reading.problems == ()
    return list(reading.entries)


def test_an_object_may_run_over_two_lines_as_in_the_seed() -> None:
    alley, lake = entries(OF_THE_SEED)
    assert (alley.line, alley.values) == (2, {"seconds": "4"})
    assert (lake.line, lake.fields) == (3, {"camera": "35mm, slow pan", "lighting": "soft dawn light"})


def test_a_raw_line_and_a_json_string_are_prompts() -> None:
    assert [entry.prompt for entry in entries('a fox\n"an \\"owl\\""\n')] == ["a fox", 'an "owl"']


def test_blank_lines_and_comments_are_passed_over() -> None:
    assert [(entry.line, entry.number) for entry in entries("# mine\n\na fox\n  # more\nan owl")] == [
        (3, 1),
        (5, 2),
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_entry() -> None:
    assert entries('\ufeff{"prompt": "a fox"}')[0].prompt == "a fox"


def test_only_a_newline_ends_a_line() -> None:
    [entry, owl] = entries('{"prompt": "a fox\u2028at dawn"}\r\nan owl\u2028at night')
    assert (entry.prompt, owl.prompt, owl.line) == ("a fox\u2028at dawn", "an owl\u2028at night", 2)


def test_parts_under_fields_win_over_those_beside_the_prompt() -> None:
    [entry] = entries('{"prompt": "a fox", "camera": "35mm", "style": "film", "fields": {"camera": "85mm"}}')
    assert entry.fields == {"camera": "85mm", "style": "film"}


def test_null_is_not_given() -> None:
    [entry] = entries('{"prompt": "a fox", "size": null, "out": null, "fields": {"camera": null}}')
    assert (dict(entry.values), dict(entry.fields)) == ({}, {})


def test_files_are_named_by_number_and_prompt() -> None:
    names = [str(entry.out) for entry in entries("A fox, running!\nA fox, running!")]
    assert names == ["001-a-fox-running.json", "002-a-fox-running.json"]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("狐が雪の中を走る", "狐が雪の中を走る"),
        ("Füchse im Schnee", "füchse-im-schnee"),
        ("🦊", "prompt"),
        ("../../etc/passwd", "etc-passwd"),
        ("a" * 200, "a" * 40),
    ],
)
def test_a_slug_keeps_letters_of_any_script_and_nothing_of_a_path(prompt: str, expected: str) -> None:
    assert slug(prompt) == expected


def test_an_entry_may_name_its_file_with_folders() -> None:
    [entry] = entries('{"prompt": "a fox", "out": "animals/fox"}')
    assert str(entry.out) == "animals/fox.json"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('a fox\n{"prompt": "an owl", "secnds": 4}', 2, "unknown key 'secnds'; did you mean 'seconds'?"),
        ('{"prompt": "a fox", "fields": {"lightning": "soft"}}', 1, "did you mean 'lighting'?"),
        ('{"prompt": "a fox", "source": "job_1"}', 1, "the video that a remix changes is 'remix_of'"),
        ('{"prompt": "a fox"', 1, "invalid JSON (Expecting ',' delimiter, where the line ends)"),
        ('{"prompt" "a fox"}', 1, "invalid JSON (Expecting ':' delimiter, column 11)"),
        ('{"prompt": "a fox"\n{"prompt": "an owl"}', 1, "invalid JSON"),
        ('{"size": "1280x720"}', 1, "the key prompt is missing"),
        ('{"prompt": null}', 1, "the key prompt is missing"),
        ('{"prompt": 4}', 1, "prompt: expected text, found 4"),
        ('{"prompt": "a fox",\n "prompt": "an owl"}', 1, "key 'prompt' appears twice"),
        ("a fox\nnull\nan owl", 2, "expected an object or a prompt, found null"),
        ('["a fox"]', 1, "expected an object or a prompt, found a list"),
        ('{"prompt": "a fox", "fields": "soft"}', 1, "fields: expected an object, found 'soft'"),
        ('{"prompt": "a fox", "camera": 35}', 1, "camera: expected text, found 35"),
        ('{"prompt": "a fox", "out": "../fox.json"}', 1, "a file name inside --out-dir"),
        ('{"prompt": "a fox", "out": "/fox.json"}', 1, "a file name inside --out-dir"),
        (
            '{"prompt": "a fox", "out": "a"}\n{"prompt": "an owl", "out": "A.json"}',
            2,
            "already used by the entry in line 1",
        ),
        (
            '{"prompt": "a fox", "out": "a.json/b"}\n{"prompt": "an owl", "out": "A"}',
            1,
            "out 'a.json/b.json': 'a.json' is the file of line 2",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_line(text: str, line: int, message: str) -> None:
    [problem] = read_batch(text, Path()).problems
    assert (problem.line, message in problem.message) == (line, True)


def test_a_broken_entry_does_not_hide_the_mistakes_of_those_after_it() -> None:
    reading = read_batch('{"prompt": \n{"prompt": "a fox"}\n{"promt": "an owl"}\n[]', Path())
    assert [problem.line for problem in reading.problems] == [1, 3, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "its brackets are nested deeper than 64"),
        ('{"a":' * 100_000, "its brackets are nested deeper than 64"),
        ("[\n" * 20_000, "its brackets are nested deeper than 64"),
        ('{"prompt": "' + "a" * 1_000_000 + '"}', "it has more than 1,000,000 characters"),
        ('{"prompt": [\n' + "1234,\n" * 200_000, "it has more than 1,000,000 characters"),
        ('{"prompt": "a fox",\n' + '"x": 1,\n' * 20_000, "invalid JSON"),
    ],
    ids=["nested", "objects", "lines of brackets", "long line", "long entry", "never closed"],
)
def test_an_entry_made_to_be_read_for_ever_is_refused_at_once(text: str, message: str) -> None:
    begun = process_time()
    problems = read_batch(text, Path()).problems
    assert message in problems[0].message
    assert process_time() - begun < 5
