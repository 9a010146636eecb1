"""Formulas of MathML in a line."""

from __future__ import annotations

import pytest
from lxml import etree

from foveal.text.mathml import MOST_DEEP, in_a_line


def of(inside):
    return in_a_line(etree.fromstring(f"<math xmlns='http://www.w3.org/1998/Math/MathML'>{inside}</math>"))


C, X, TWO = "<mi>c</mi>", "<mi>x</mi>", "<mn>2</mn>"
SUM = "<mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow>"
CLOSED = f"<mrow><mo>(</mo>{SUM}<mo>)</mo></mrow>"


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("", ""),
        (f"<mi>E</mi><mo>=</mo><mi>m</mi><msup>{C}{TWO}</msup>", "E=mc^2"),
        (f"<mfrac>{SUM}<mrow>{TWO}{C}</mrow></mfrac>", "(a+b)/2c"),
        (f"<msup>{CLOSED}{TWO}</msup>", "(a+b)^2"),
        (f"<msup><mrow>{CLOSED}<mo>−</mo>{CLOSED}</mrow>{TWO}</msup>", "((a+b)−(a+b))^2"),
        (f"<msubsup>{X}<mi>i</mi>{TWO}</msubsup>", "x_i^2"),
        (f"<msqrt>{SUM}</msqrt>", "√(a+b)"),
        (f"<mroot>{X}<mn>3</mn></mroot>", "√[3](x)"),
        (f"<mroot>{X}</mroot>", "√(x)"),
        (f"<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover>{X}", "∑_(i=1)^nx"),
        (f"<mfenced open='['>{X}{TWO}</mfenced>", "[x, 2)"),
        (f"<mtable><mtr><mtd>{X}</mtd><mtd>{C}</mtd></mtr><mtr><mtd>{TWO}</mtd></mtr></mtable>", "x, c; 2"),
        (f"<semantics><mrow>{X}</mrow><annotation encoding='StarMath 5.0'>no</annotation></semantics>", "x"),
        (f"{X}<mo>\u2062</mo>{C}<mphantom>{X}</mphantom><!-- no -->", "xc"),
        (f"<mi>sin</mi>{X}<mtext>for  all</mtext>{X}", "sin x for all x"),
        (f"<mfrac>{X}</mfrac>", "x"),
        ("<mi>x<!-- no -->y</mi>", "xy"),
        (f"<msup><mrow/>{TWO}</msup>", "^2"),
        ("<mi>x</mi>" * 3, "xxx"),
    ],
)
def test_formulas_are_written_as_one_types_them(inside, said):
    assert of(inside) == said


def test_of_what_is_nested_deep_the_letters_are_read():
    deep = "<mrow>" * 200 + "<msup><mi>x</mi><mn>2</mn></msup>" + "</mrow>" * 200
    assert of(deep) == "x2"
    assert of("<mrow>" * (MOST_DEEP - 2) + "<msup><mi>x</mi><mn>2</mn></msup>" + "</mrow>" * (MOST_DEEP - 2)) == "x^2"
