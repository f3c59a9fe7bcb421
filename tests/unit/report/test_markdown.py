"""What runs and folders are called is shown as it is."""

import mistune
import pytest

from mnist_dist.report.markdown import _escaped


@pytest.mark.parametrize(
    "text",
    [
        *("<b>x</b>", "*x*", "**x**", "_x_", "`x`", "[x](http://y)", "![x](y)", "a|b", "~~x~~"),
        *("&lt;b&gt;", "\\*x*", "$x$", "plain, 3.5 % (a_b)"),
    ],
)
def test_a_name_is_shown_as_it_is(text):
    """By a renderer of Markdown, in a line and in a table's cell."""
    render = mistune.create_markdown(plugins=["table", "strikethrough", "math"])
    shown = render(f"x {_escaped(text)}").strip()
    assert shown == f"<p>x {mistune.escape(text, quote=False)}</p>"
    cells = render(f"| head |\n| --- |\n| x {_escaped(text)} |\n")
    assert f"<td>x {mistune.escape(text, quote=False)}</td>" in cells
