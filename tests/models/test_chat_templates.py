"""Chat templates within bounds: what transformers renders, and an error where a template would never end."""

from __future__ import annotations

import pytest
from tiny import tiny

from foveal.errors import InputError
from foveal.models.chat_templates import TooMuch, rendered

TURNS = [
    {"role": "system", "content": "You are short."},
    {"role": "user", "content": "Where is the key?\nIn <think>the mill</think>?"},
    {"role": "assistant", "content": "In the river."},
    {"role": "user", "content": "  Sure?  "},
]

USUAL = {
    "turns": "{% for m in messages %}<|turn|>{{ m['role'] }}\n{{ m.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}",
    "system first": "{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
    "{{ bos_token or '' }}{{ system + '\n\n' if system }}{% for m in messages %}{{ loop.index0 }}/{{ loop.length }}"
    "{{ ' last' if loop.last }}{{ '[' ~ m['content'].strip() ~ ']' }}{% endfor %}",
    "namespace": "{%- set ns = namespace(last=0, found=[]) %}{% for m in messages[::-1] %}{% set at = messages|length "
    "- 1 - loop.index0 %}{% if m.role == 'user' and not ns.last %}{% set ns.last = at %}{% endif %}"
    "{% set ns.found = ns.found + [m.role] %}{% endfor %}{{ ns.last }}{{ ns.found | tojson }}",
    "macro": "{%- macro turn(role, text, sep=': ') -%}{{ role|upper }}{{ sep }}"
    "{{ text.split('</think>')[-1].lstrip('\n') }}{%- endmacro -%}"
    "{% for m in messages if m.role in ('user', 'assistant') %}{{ turn(m.role, m.content) }}|{% endfor %}",
    "blocks": "{% set all %}{% for m in messages %}{{ '%s=%03d ' | format(m.role, loop.index) }}{% endfor %}"
    "{% endset %}{{ all }}{{ all|replace('user', 'USER') }}{{ messages|map(attribute='role')|join(', ') }}"
    "{{ '{:>12}'.format(messages[0].role) }}{{ '=' * 20 }}{{ 2 ** 10 }}{{ messages[0].items()|list|length }}",
    "thinking": "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>{% endif %}"
    "{% for k, v in messages[0].items() %}{{ k }}={{ v }} {% endfor %}{% generation %}x{% endgeneration %}",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny("qwen", tmp_path_factory.mktemp("templates"))


@pytest.fixture
def tokenizer(model):
    before = model.tokenizer.chat_template
    yield model.tokenizer
    model.tokenizer.chat_template = before


@pytest.mark.parametrize("name", USUAL)
@pytest.mark.parametrize("prompt", [True, False])
def test_it_is_what_transformers_renders(tokenizer, name, prompt):
    tokenizer.chat_template = USUAL[name]
    wanted = tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=prompt, enable_thinking=False)
    assert rendered(tokenizer, TURNS, add_generation_prompt=prompt) == wanted


HOSTILE = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a large range": "{% for a in range(10**9) %}{% endfor %}",
    "a filter's loop": "{% for a in range(99999) %}{% set x = range(99999)|map('string')|list %}{% endfor %}",
    "macros": "{% macro twice(n) %}{% if n %}{{ twice(n - 1) }}{{ twice(n - 1) }}{% endif %}{% endmacro %}"
    "{{ twice(60) }}",
    "endless recursion": "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    "text times": "{{ 'a' * 10 ** 10 }}",
    "list times": "{{ ([1] * 10 ** 9)|length }}",
    "power": "{{ 10 ** (10 ** 10) }}",
    "joined": "{% set ns = namespace(s='aa') %}{% for a in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "added": "{% set ns = namespace(s='aa') %}{% for a in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "replaced": "{% set ns = namespace(s='aa') %}{% for a in range(60) %}"
    "{% set ns.s = ns.s|replace('a', ns.s) %}{% endfor %}",
    "replaced by method": "{% set ns = namespace(s='a' * 99999) %}{{ ns.s.replace('a', ns.s)|length }}",
    "block": "{% set ns = namespace(s='aa') %}{% for a in range(60) %}{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}"
    "{% set ns.s = x %}{% endfor %}",
    "centred": "{{ 'a'|center(10 ** 10) }}",
    "justified": "{{ 'a'.ljust(10 ** 10) }}",
    "formatted": "{{ '%0999999999d' % 1 }}",
    "formatted by filter": "{{ '%0999999999d'|format(1) }}",
    "formatted by method": "{{ '{:>9999999999}'.format(1) }}",
    "lists of lists": "{% set ns = namespace(l=[1]) %}{% for a in range(60) %}"
    "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
    "spaces for ever": "{% for a in range(99999) %}{{ messages[0].content * 99999 }}{% endfor %}",
    "a made-up text": "{{ lipsum(n=99999) }}",
    "a width in a tuple": "{{ '%*d' % (99999999, 1) }}",
    "a width in a dict": "{{ '{x:>{w}}'.format_map({'x': 1, 'w': 99999999}) }}",
    "a width in a text": "{{ '{:>{}}'.format(1, '99999999') }}",
    "a width far behind": "{{ ('a' * 250000 ~ '%099999999d') % 1 }}",
    "joined range": "{{ range(9999)|join('a' * 90000) }}",
    "joined items": "{{ range(9999)|map('string')|join('a' * 90000) }}",
    "joined by method": "{{ ('a' * 90000).join(range(9999)|map('string')) }}",
    "json set in": "{{ range(9999)|list|tojson(indent=99999) }}",
    "json's signs": "{{ range(9999)|list|tojson(separators=('a' * 90000, ':')) }}",
    "filled up": "{{ [1]|batch(99999, 'a' * 90000)|map('string')|list|length }}",
    "slices": "{% set x = 'a' * 900000 %}{% for a in range(99999) %}{% set y = x[1:] %}{% endfor %}",
    "comparisons": "{% set x = 'ab' * 400000 %}{% for a in range(99999) %}{{ 'bb' in x }}{% endfor %}",
    "counts": "{% set x = 'a' * 900000 %}{% for a in range(99999) %}{{ x.count('aab') }}{% endfor %}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_template_that_would_never_end_is_stopped(model, tokenizer, name):
    tokenizer.chat_template = HOSTILE[name]
    said = r"(was stopped: |refuses these messages \(('lipsum' is undefined|maximum recursion))"
    with pytest.raises(InputError, match=f"The chat template of {model.name} {said}"):
        model.render(TURNS)


def test_long_messages_have_as_much_room(tokenizer):
    """Of a book each turn is split, joined, stripped and replaced in."""
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content.strip().split('</think>')[0].replace('the', 'THE') ~ messages|length }}"
        "{% for line in m.content.split('\n') %}{{ line|trim }}\n{% endfor %}{% endfor %}"
    )
    turns = [{"role": "user", "content": "the mill by the river\n" * 1000} for _ in range(20)]
    assert len(rendered(tokenizer, turns, add_generation_prompt=False)) > 800_000


ADDED = {
    "+": "{% set ns.all = ns.all + '<' + m.role + '>' + m.content %}",
    "~": "{% set ns.all = ns.all ~ '<' ~ m.role ~ '>' ~ m.content %}",
    "block": "{% set ns.all %}{{ ns.all }}<{{ m.role }}>{{ m.content }}{% endset %}",
    "list": "{% set ns.found = ns.found + [m] %}{% set ns.all = ns.found|length %}",
    "looks back": "{% set before = messages[: loop.index0]|selectattr('role', 'equalto', 'user')|list %}"
    "{% set ns.all = ns.all ~ (before|length) ~ m.content %}",
}


@pytest.mark.parametrize("how", ADDED)
@pytest.mark.parametrize(("count", "characters"), [(200, 500), (200, 5000), (3, 400_000)])
def test_long_talks_may_be_added_up_turn_by_turn(tokenizer, how, count, characters):
    opens, ends = "{% set ns = namespace(all='', found=[]) %}{% for m in messages %}", "{% endfor %}{{ ns.all }}"
    tokenizer.chat_template = opens + ADDED[how] + ends
    content = "the mill. " * (characters // 10)
    turns = [{"role": ("user", "assistant")[at % 2], "content": content} for at in range(count)]
    wanted = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert rendered(tokenizer, turns, add_generation_prompt=True) == wanted


@pytest.mark.parametrize(
    "template",
    [
        "{{ '<%s>%s' % (m.role, m.content) }}",
        "{{ '<{}>{}'.format(m.role, m.content) }}",
        "{{ '%s'|format(m.content) }}",
    ],
)
def test_numbers_in_messages_are_no_widths(tokenizer, template):
    tokenizer.chat_template = f"{{% for m in messages %}}{template}{{% endfor %}}"
    turns = [{"role": "user", "content": "Of 8,123,456,789 people 99999999 saw it."}]
    assert turns[0]["content"] in rendered(tokenizer, turns, add_generation_prompt=False)


def test_the_bounds_are_of_each_rendering(tokenizer):
    tokenizer.chat_template = "{% for a in range(90000) %}{% endfor %}."
    assert [rendered(tokenizer, TURNS, add_generation_prompt=False) for _ in range(4)] == ["."] * 4
    tokenizer.chat_template = HOSTILE["nested loops"]
    with pytest.raises(TooMuch, match="loops for longer"):
        rendered(tokenizer, TURNS, add_generation_prompt=False)
