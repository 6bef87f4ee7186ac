"""What an HTML page says, and on which lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.library.support.reading.html import read_html


def texts(source: str) -> list[str]:
    return [block.text for block in read_html(source)]


def test_a_block_knows_its_headings_and_lines() -> None:
    source = "<h1>A</h1>\n<h2>B &amp; C</h2>\n<p>\n  one\n  two</p>\n<h2>D</h2><p>three</p>\n"

    blocks = read_html(source)

    assert [(block.heading, block.text, block.first_line, block.last_line) for block in blocks] == [
        (("A", "B & C"), "one two", 4, 5),
        (("A", "D"), "three", 6, 6),
    ]


def test_what_belongs_to_the_site_is_left_out() -> None:
    page = (
        "<head><title>t</title></head><nav>menu</nav><script>run()</script><style>p{}</style>"
        "<div class='big sidebar'>s</div><div role='navigation'>n<div>deeper</div></div>"
        "<div class='with-sidebar'><p>kept</div><footer>f</footer>"
    )

    assert texts(page) == ["kept"]


def test_a_page_may_leave_out_what_html_lets_it() -> None:
    assert texts("<!doctype html><title>t</title><p>kept") == ["kept"]
    assert texts("<html><head><title>t</title><body><p>kept") == ["kept"]


def test_a_block_that_is_only_a_link_is_left_out_and_a_sentence_with_a_link_is_not() -> None:
    assert texts("<p><a href=x>Next page</a></p><p>See <a href=y>the manual</a>.</p>") == ["See the manual."]


def test_unclosed_tags_end_where_the_next_block_begins() -> None:
    assert texts("<p>one<p>two<ul><li>three<li>four</ul>five") == ["one", "two", "three", "four", "five"]


def test_code_keeps_its_lines() -> None:
    [block] = read_html("<pre>\na = 1\n  b = 2\n</pre>")

    assert (block.kind, block.text) == ("code", "a = 1\n  b = 2")


def test_a_definition_is_said_with_its_term() -> None:
    assert texts("<dl><dt>lease</dt><dd><p>a right that ends</p></dd></dl>") == ["lease: a right that ends"]


def test_terms_without_an_end_or_a_definition_are_kept() -> None:
    assert texts("<dl><dt>one<dt>two<dd>both<dt>three</dl><p>after") == ["one, two: both", "three", "after"]


def test_a_table_row_is_named_by_its_columns() -> None:
    page = "<table><tr><th>S<th>Summer<th>Winter</tr><tr><td>Harbour<td>8 to 20<td>10 to 16</tr></table><p>x"

    assert texts(page) == ["Harbour: Summer 8 to 20; Winter 10 to 16", "x"]


def test_a_row_without_an_end_loses_no_cell_and_keeps_its_columns() -> None:
    head = "<table><tr><th><th>Summer<th>Winter"

    blocks = read_html(f"{head}<tr><td>Harbour<td><td>10 to 16<tr><td>Old\nTown<td>9 to\n19<td>closed</table>")

    assert [block.text for block in blocks] == ["Harbour: Winter 10 to 16", "Old Town: Summer 9 to 19; Winter closed"]
    assert [(block.first_line, block.last_line) for block in blocks] == [(1, 1), (1, 3)]


def test_a_heading_in_a_table_is_a_heading() -> None:
    blocks = read_html("<table><tr><td><p>before</p><h2>Part</h2><p>after</p></td></tr></table>")

    assert [(block.heading, block.text) for block in blocks] == [((), "before"), (("Part",), "after")]


def test_a_page_laid_out_as_a_table_is_read_as_prose() -> None:
    page = f"<table><tr><td>menu</td><td><p>{'A long story. ' * 60}</p></td></tr></table>"

    [block] = read_html(page)

    assert block.kind == "prose"


def test_broken_html_is_read_as_far_as_it_goes() -> None:
    assert texts("<p>a <b>bold</p></div></li> <p>b &nosuch; <") == ["a bold", "b &nosuch; <"]


TAGS = ("b", "br", "dd", "div", "dl", "dt", "li", "p", "pre", "table", "td", "tr", "ul")
parts = st.sampled_from([f"<{end}{tag}>" for tag in TAGS for end in ("", "/")])


@given(st.lists(parts, max_size=40))
def test_no_word_is_lost_however_broken_the_page(tags: list[str]) -> None:
    page = "".join(f"{tag} w{number} " for number, tag in enumerate(tags))

    said = " ".join(block.text.replace(":", " ").replace(",", " ").replace(";", " ") for block in read_html(page))

    assert sorted(said.split()) == sorted(f"w{number}" for number in range(len(tags)))
