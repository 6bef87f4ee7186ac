"""What Markdown says, and on which lines."""

from __future__ import annotations

from agents.library.support.reading.markdown import read_markdown


def test_a_block_knows_the_headings_above_it() -> None:
    blocks = read_markdown("# One\n\na\n\n## Two\n\nb\n\n### Three\n\nc\n\n## Four\n\nd\n")

    assert [block.heading for block in blocks] == [("One",), ("One", "Two"), ("One", "Two", "Three"), ("One", "Four")]


def test_a_block_knows_its_lines_in_the_file_front_matter_included() -> None:
    source = "---\ntitle: x\n---\n# Title\n\nfirst line\nsecond line\n\n- item\n\n```sh\nrun\n```\n"

    blocks = read_markdown(source)

    lines = source.splitlines()
    assert [(block.text, block.first_line, block.last_line) for block in blocks] == [
        ("first line second line", 6, 7),
        ("item", 9, 9),
        ("run", 11, 13),
    ]
    assert lines[5:7] == ["first line", "second line"]


def test_marks_are_left_out_and_words_are_kept() -> None:
    [block] = read_markdown("Use **bold**, `code_x`, [a link](http://example.com) and ![a picture](x.png).\n")

    assert block.text == "Use bold, code_x, a link and a picture."


def test_a_table_row_makes_sense_on_its_own() -> None:
    wide = "| Bike | Day | Week |\n|---|---|---|\n| City | 14 | 60 |\n"
    narrow = "| state | meaning |\n|---|---|\n| `queued` | waits for a worker |\n"

    assert [block.text for block in read_markdown(wide)] == ["City: Day 14; Week 60"]
    assert [block.text for block in read_markdown(narrow)] == ["queued: waits for a worker"]


def test_a_second_table_does_not_speak_of_the_first_ones_columns() -> None:
    first, second = "| a | b | c |\n|---|---|---|\n| 1 | 2 | 3 |\n", "| x | y | z |\n|---|---|---|\n| 4 | 5 | 6 |\n"

    assert [block.text for block in read_markdown(f"{first}\ntext\n\n{second}")][-1] == "4: y 5; z 6"


def test_drawings_are_left_out() -> None:
    diagram = "```mermaid\nstateDiagram-v2\n  queued --> running\n```\n"
    sketch = "```\n  a ---> b\n  |      |\n  +------+\n```\n"

    assert read_markdown(diagram + "\n" + sketch) == []


def test_html_inside_markdown_is_read_with_its_lines() -> None:
    blocks = read_markdown("# T\n\n<details>\n<summary>More</summary>\n\nhidden *text*\n\n</details>\n")

    assert [(block.text, block.first_line) for block in blocks] == [("More", 4), ("hidden text", 6)]
