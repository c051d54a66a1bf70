"""Bodies: what is refused when saved, what is needed, and what is rendered, the same every time."""

import time
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetcast.domain.content import (
    LONGEST_BODY,
    ContentError,
    ContentTooLong,
    MissingVariable,
    RenderFailed,
    Template,
    check_variables,
    payload_sha256,
)
from fleetcast.domain.dialect import LONGEST_TEXT
from fleetcast.errors import InvalidInput, InvalidInputs

NOW = datetime(2026, 3, 4, 17, 6, 7, tzinfo=timezone(timedelta(hours=8)))


def rendered(body: str, **variables: object) -> str:
    return Template.parse(body).render(variables, NOW)


@pytest.mark.parametrize(
    ("body", "variables", "text"),
    [
        ("Hi {{ name }}", {"name": "Ann"}, "Hi Ann"),
        ("Hi {{ name | default: 'friend' }}", {}, "Hi friend"),
        ("Hi {{ name | default: 'friend' }}", {"name": ""}, "Hi friend"),
        ("{{ name | upcase | default: 'X' }}", {}, "X"),
        ("{% if name %}Hi {{ name }}{% else %}Hello{% endif %}", {"name": None}, "Hello"),
        ("{% if name != blank %}Hi {{ name }}{% else %}Hello{% endif %}", {}, "Hello"),
        ("{% if name == '' %}Hello{% endif %}", {}, "Hello"),
        ("{% unless vip %}a{% endunless %}{{ b | default: '' }}", {}, "a"),
        ("{% if visits > 3 %}many{% else %}few{% endif %}", {"visits": "12"}, "many"),
        ("{% if visits > 3 %}many{% else %}few{% endif %}", {"visits": "often"}, "few"),
        ("{% if visits > 3 %}many{% else %}few{% endif %}", {}, "few"),
        ("{% if city contains 'ala' or x == 1 %}yes{% endif %}", {"city": "Kuala"}, "yes"),
        ("{% if visits contains 1 %}yes{% endif %}", {"visits": 11}, ""),
        ("{% case n %}{% when 3, 3 %}three{% when 'x' %}x{% else %}no{% endcase %}", {"n": "3"}, "three"),
        ("{% case n %}{% when '' %}none{% else %}some{% endcase %}", {}, "none"),
        ("{% for i in (1..3) %}{{ i }}{% unless forloop.last %}, {% endunless %}{% endfor %}", {}, "1, 2, 3"),
        ("{% assign w = 'a,b' | split: ',' %}{% for x in w %}<{{ x }}>{% endfor %}", {}, "<a><b>"),
        ("{% for x in none %}a{% else %}b{% endfor %}", {}, "b"),
        ("{% raw %}{{ x }}{% endraw %}{% comment %}{{ y }}{% endcomment %}", {}, "{{ x }}"),
        ("{name} %(x)s {0.__class__} 100% {", {}, "{name} %(x)s {0.__class__} 100% {"),
        ("{{ 'a' | append: 'b' | replace: 'b', 'c' | prepend: '>' }}", {}, ">ac"),
        ("{{ a | plus: 1 | times: 2 }}", {"a": "4"}, "10"),
        ("{{ name.size }}", {"name": "abc"}, "3"),
        ("{{ partial }}", {"partial": "all of it"}, "all of it"),
        ("a\r\n{{ name }}", {"name": "b\r\nc"}, "a\nb\nc"),
    ],
)
def test_a_body_says_what_its_author_means(body: str, variables: dict[str, object], text: str) -> None:
    assert rendered(body, **variables) == text


@pytest.mark.parametrize(
    ("body", "required"),
    [
        ("Hi {{ name }}", ("name",)),
        ("{{ city }} {{ name | upcase }} {{ city }}", ("city", "name")),
        ("{{ 'Hi ' | append: name }}", ("name",)),
        ("{{ name | default: 'you' }}", ()),
        ("{{ name | upcase | default: 'you' | append: city }}", ("city",)),
        ("{{ nick | default: name }}", ()),
        ("{% if a %}{{ name }}{% else %}{{ city }}{% endif %}", ()),
        ("{% case a %}{% when 1 %}{{ name }}{% endcase %}{% unless b %}{{ city }}{% endunless %}", ()),
        ("{% for i in (1..2) %}{{ i }}{{ name }}{{ forloop.index }}{% endfor %}", ("name",)),
        ("{% assign g = name | upcase %}{{ g }}", ("name",)),
        ("{% assign g = name | default: 'x' %}{{ g }}", ()),
        ("{% assign g = name %}", ()),
        ("{% if a %}{% assign g = name %}{% else %}{% assign g = 'x' %}{% endif %}{{ g }}", ()),
        ("{{ now | date: '%F' }}{{ today | date: '%F' }}", ()),
    ],
)
def test_what_is_printed_bare_and_always_is_required(body: str, required: tuple[str, ...]) -> None:
    assert Template.parse(body).required == required


def test_a_lead_without_a_required_variable_gets_no_text() -> None:
    for nothing in ({}, {"name": None}, {"name": ""}):
        with pytest.raises(MissingVariable) as missing:
            rendered("Dear {{ name }},", **nothing)
        assert missing.value.name == "name"


def test_each_use_of_a_variable_is_known_by_line_and_column() -> None:
    uses = Template.parse("Hi {{ name }},\n{% if vip %}{{ city | default: 'x' }}{% endif %}").variables
    assert [(use.name, use.line, use.column, use.has_default) for use in uses] == [
        ("name", 1, 7, False),
        ("vip", 2, 7, False),
        ("city", 2, 16, True),
    ]


@pytest.mark.parametrize(
    ("body", "place", "words"),
    [
        ("a\n  {{ name | upcas }}", (2, 13), 'no filter "upcas". Did you mean "upcase"'),
        ("{{ env 'DB_PASSWORD' }}", (1, 8), "cannot be read"),
        ("{% include 'x' %}", (1, 4), 'tag "include" does not exist'),
        ("{% render 'x' %}", (1, 4), 'tag "render" does not exist'),
        ("{% layout 'x' %}", (1, 4), 'tag "layout" does not exist'),
        ("{% capture x %}{% endcapture %}", (1, 4), 'tag "capture" does not exist'),
        ("{% liquid echo name %}", (1, 4), 'tag "liquid" does not exist'),
        ("{% doc %}x{% enddoc %}", (1, 1), "cannot be read"),
        ("x\n{% if a %}y", (2, 12), "{% endif %} is missing"),
        ("{% endif %}", (1, 4), "no place here"),
        ("{% if a %}1{% else %}2{% else %}3{% endif %}", (1, 26), "{% endif %} is missing"),
        ("{% case a %}{% when 1 2 %}x{% endcase %}", (1, 23), "cannot be read"),
        ("{% break %}", (1, 4), "inside a loop"),
        ("Hi {{ name }", (1, 4), "expected '}}'"),
        ("Hi {{ }}", (1, 6), "cannot be read"),
        ("Hi {{ name | }}", (1, 7), "cannot be read"),
        ("{{ name.__class__ }}", (1, 4), "has parts"),
        ("{{ [name] }}", (1, 4), "cannot be computed"),
        ("{{ name | date: '%q' }}", (1, 11), 'does not know "%q"'),
        ("{% for i in (1..1000000000) reversed %}x{% endfor %}", (1, 13), "200 numbers"),
        ("{% for i in (1..n) %}x{% endfor %}", (1, 13), "two numbers"),
        ("a\0b", (1, 2), "cannot be sent"),
        ("a\n\ud800", (2, 1), "cannot be sent"),
    ],
)
def test_what_the_dialect_does_not_have_is_refused_with_line_and_column(
    body: str, place: tuple[int, int], words: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        Template.parse(body)
    assert refused.value.field == "body"
    assert (refused.value.line, refused.value.column) == place
    assert words in refused.value.problem


@pytest.mark.parametrize(
    "filter_name", ["shuffle", "sort", "map", "safe", "escapejs", "base64_decode", "json", "t", "where", "uniq", "md5"]
)
def test_a_filter_off_the_list_does_not_exist(filter_name: str) -> None:
    with pytest.raises(InvalidInput, match="There is no filter"):
        Template.parse(f"{{{{ name | {filter_name} }}}}")


def test_s08_values_that_look_like_liquid_come_out_literally() -> None:
    value = '{{ phone }}{% if a %}{% raw %}{{ env "DB_PASSWORD" }}'
    assert rendered("{{ name }}", name=value, phone="+6012") == value
    assert rendered("{% assign g = name | append: '' %}{{ g }}", name=value, phone="+6012") == value


@pytest.mark.parametrize(
    "body",
    [
        "{{" * 5_000_000,
        "{{" * 9_000,
        "{{" + " " * 9_000,
        "{% a" + " " * 9_000,
        ("{{ " + " " * 90) * 200,
        ("{{ " + "(" * 980 + " }}") * 19,
        ("{{ " + "[" * 980 + " }}") * 19,
        "{% raw %}" * 500,
        "{% if a %}" * 500,
        "{% if " + "a and " * 3_000 + "a %}x{% endif %}",
        "{% if " + "a and " * 150 + "a %}x{% endif %}",
        "{{ a" + "[a" * 300 + "]" * 300 + " }}",
        "{% for i in (1..200) %}" * 9 + "x" + "{% endfor %}" * 9,
        "{% for i in (1..200) %}" + "{{ '' }}" * 490 + "{% endfor %}",
        "{% for i in (1..200) %}" + "{% if 1 == 1 and 2 == 2 %}{% endif %}" * 240 + "{% endfor %}",
        "{% assign s = 'aaaaaaaaaa' %}{% for i in (1..100) %}{% assign s = s | append: s %}{% endfor %}{{ s }}",
        "{% assign s = '" + "a" * 900 + "' %}{{ s | replace: '', s | replace: '', s | replace: '', s }}",
        "{% assign s = '" + "a" * 900 + "' %}{{ s | split: '' | join: s }}{{ s | url_encode | append: s }}" * 99,
        "{% assign n = 9 %}{% for i in (1..200) %}{% assign n = n | times: n %}{% endfor %}{{ n }}",
        "{{ now | date: '" + "%A" * 400 + "' }}" * 20,
    ],
)
def test_s08_no_body_takes_long_or_grows_large(body: str) -> None:
    start = time.process_time()
    try:
        text = rendered(body)
    except (InvalidInput, RenderFailed, ContentTooLong):
        text = ""
    assert time.process_time() - start < 2
    assert len(text) <= LONGEST_TEXT


def test_s08_the_work_of_filters_is_counted_even_when_nothing_of_it_is_printed() -> None:
    steps = "{% assign x = s | upcase | downcase | upcase %}" * 6
    with pytest.raises(RenderFailed, match="filters produce too much"):
        rendered("{% for i in (1..200) %}" + steps + "{% endfor %}", s="a" * 1_000)
    assert rendered(steps + "ok", s="a" * 50_000) == "ok"


@pytest.mark.parametrize("growing", ["replace: '', s", "replace: 'a', s", "split: '' | join: s"])
def test_s08_a_text_that_would_grow_too_large_is_refused_before_it_is_made(growing: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ContentTooLong):
            rendered("{{ s | " + growing + " }}", s="a" * 8_000)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_the_limits_of_body_and_text_are_exact() -> None:
    assert rendered("x" * LONGEST_BODY) == "x" * LONGEST_BODY
    with pytest.raises(InvalidInput, match="20,001"):
        Template.parse("x" * (LONGEST_BODY + 1))
    assert len(rendered("{{ a }}", a="é" * LONGEST_TEXT)) == LONGEST_TEXT
    with pytest.raises(ContentTooLong, match="65,536"):
        rendered("{{ a }}", a="é" * (LONGEST_TEXT + 1))


@pytest.mark.parametrize("body", ["{{ a | divided_by: 0 }}", "{{ a | ceil }}", "{{ a | date: b }}{{ now | date: b }}"])
def test_what_is_impossible_with_a_leads_values_fails_that_lead_in_words(body: str) -> None:
    with pytest.raises(RenderFailed, match="cannot be made for this lead"):
        rendered(body, a=float("inf"), b="%100000000d")


def test_time_is_an_argument_in_the_zone_it_comes_in() -> None:
    assert rendered("{{ now | date: '%A %-d %B %Y, %H:%M %I%p' }}") == "Wednesday 4 March 2026, 17:06 05PM"
    assert rendered("{{ 'now' | date: '%F %R' }} {{ 'today' | date: '%d.%m.%y' }}") == "2026-03-04 17:06 04.03.26"
    assert Template.parse("{{ today | date: '%R' }}").render({}, NOW.astimezone(UTC)) == "09:06"


def test_unix_seconds_are_that_moment_in_utc() -> None:
    template = Template.parse("{{ now | date: '%F %T' }}")
    moment = NOW.replace(microsecond=999_999).astimezone(UTC)
    assert template.render({}, moment.timestamp()) == template.render({}, moment) == "2026-03-04 09:06:07"


@pytest.mark.parametrize(
    ("value", "text"),
    [("2026-12-24", "24/12"), ("2026-12-24T18:30:00Z", "24/12"), ("1767225600", "01/01"), ("24 Dec", "24 Dec"),
     ("2026-99-99", "2026-99-99"), ("10:30", "10:30"), ("", "none")],
)  # fmt: skip
def test_dates_are_read_without_guessing_and_other_text_stays(value: str, text: str) -> None:
    assert rendered("{{ due | date: '%d/%m' | default: 'none' }}", due=value) == text


@settings(max_examples=60)
@given(
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    moment=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
)
def test_rendering_twice_gives_the_same_bytes(name: str, moment: datetime) -> None:
    body = "{{ name | default: 'you' }} {{ now | date: '%A %d %B %Y %T' }} {% if name contains 'a' %}x{% endif %}"
    one = Template.parse(body).render({"name": name}, moment)
    other = Template.parse(body).render({"name": name}, moment)
    assert payload_sha256(one, None) == payload_sha256(other, None)


def test_a_template_keeps_nothing_from_one_rendering_to_the_next() -> None:
    template = Template.parse("{% if a %}{% assign g = a %}{% endif %}[{{ g }}]")
    assert template.render({"a": "1"}, NOW) == "[1]"
    assert template.render({}, NOW) == "[]"


def test_unknown_variables_are_refused_by_name_place_and_nearest_known() -> None:
    with pytest.raises(InvalidInput) as refused:
        check_variables(Template.parse("Hi\n{{ nmae }} {{ phone }}"), {"city"})
    assert (refused.value.line, refused.value.column) == (2, 4)
    assert 'No lead has a "nmae". Did you mean "name"?' in refused.value.problem
    assert "city, journey, name, niche, phone, target_status" in refused.value.problem
    with pytest.raises(InvalidInputs) as several:
        check_variables(Template.parse("{% if vip %}x{% endif %}{{ City }}"), {"city"})
    assert ["vip" in str(several.value.problems[0]), "city" in str(several.value.problems[1])] == [True, True]


def test_an_unknown_variable_that_always_has_a_default_passes() -> None:
    check_variables(Template.parse("{{ zip | default: 'x' }} {{ zip | upcase | default: 'y' }}{{ now }}"), set())
    with pytest.raises(InvalidInput, match="zip"):
        check_variables(Template.parse("{{ zip | default: 'x' }} {{ zip }}"), set())
    with pytest.raises(InvalidInput, match="nmae"):
        check_variables(Template.parse("{{ city | default: nmae }}"), {"city"})


def test_the_fingerprint_covers_text_and_medium_and_their_border() -> None:
    prints = {payload_sha256("a", None), payload_sha256("a", "b"), payload_sha256("ab", None), payload_sha256("", "ab")}
    assert len(prints) == 4
    assert all(len(value) == 32 for value in prints)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(alphabet="Hi, \r\n!é\u200b{}%", max_size=6),
            st.sampled_from(["{{ name }}", "{{city}}", "{{ name -}}", "{{- city }}", "{{ now }}", "{{ 'x' }}"]),
            st.sampled_from(
                ["{{ name | upcase }}", "{% if city %}{{ city }}{% endif %}", "{% raw %}{{ x }}{% endraw %}"]
            ),
        ),
        max_size=6,
    ).map("".join),
    st.dictionaries(
        st.sampled_from(["name", "city"]), st.one_of(st.text(max_size=8), st.none(), st.integers(), st.booleans())
    ),
)
def test_a_plain_text_is_filled_in_exactly_as_the_whole_machinery_does(body: str, values: dict[str, object]) -> None:
    try:
        template = Template.parse(body)
    except InvalidInput:
        return
    slow = replace(template, _plain=None)

    def outcome(of: Template) -> str:
        try:
            return of.render(values, NOW)
        except ContentError as error:
            return f"{type(error).__name__}: {error}"

    assert outcome(template) == outcome(slow)


def test_a_text_of_bare_variables_is_plain_and_one_with_a_filter_is_not() -> None:
    assert Template.parse("Hello {{ name }} of {{ city }}")._plain is not None
    assert Template.parse("Hello {{ name | upcase }}")._plain is None
