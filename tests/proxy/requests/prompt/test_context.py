"""Where a request's context stands: found, cut out, put in, or refused with one line."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exceptions import BadRequest, BodyTooLarge, ConfigError
from proxy.requests.prompt.context import INSTRUCTION, finder, instructed
from proxy.surfaces import SURFACES
from proxy.surfaces.chat.surface import Chat
from proxy.surfaces.contract import Ask

CHAT = Chat()
TAGS = r"(?s)<context>(.*?)</context>"


def request(*messages, **fields):
    return CHAT.parse(json.dumps({"model": "m", "messages": messages, **fields}).encode())


def said(role, content, **fields):
    return {"role": role, "content": content, **fields}


def find(context, *messages, template=None, **fields):
    return finder(context, template, "r.rag").find(CHAT, request(*messages, **fields))


def messages(found):
    return json.loads(bytes(found.fields["messages"]))


def test_a_pattern_cuts_its_matches_out_and_its_group_is_the_passage():
    found = find(
        TAGS, said("system", "Be brief."), said("user", "<context>A. B.</context>\nWho? <context>C</context>")
    )
    assert found.passages == ("A. B.", "C")
    assert messages(found.without) == [said("system", "Be brief."), said("user", "Who?")]
    assert messages(found.request)[1]["content"].startswith("<context>")


def test_a_message_that_is_nothing_but_context_goes():
    found = find(TAGS, said("system", "<context>A</context>"), said("user", "Who?"))
    assert messages(found.without) == [said("user", "Who?")]


def test_where_nothing_would_be_left_to_ask_there_is_no_question_without():
    found = find(TAGS, said("user", "<context>Who?</context>"))
    assert (found.passages, found.without) == (("Who?",), None)


@pytest.mark.parametrize("context", [TAGS, "role:tool", "name:docs", "request"])
def test_a_request_without_context_has_none(context):
    assert find(context, said("user", "Who? <context></context>")) is None


def test_messages_of_a_name_are_passages():
    found = find("name:docs", said("system", "A", name="docs"), said("user", "Who?"))
    assert (found.passages, messages(found.without)) == (("A",), [said("user", "Who?")])


def test_a_tools_result_goes_with_the_call_that_asked_for_it():
    def call(name):
        return {"id": name, "type": "function", "function": {"name": "find", "arguments": "{}"}}

    asked = said("user", "Who?")
    both = said("assistant", "Looking.", tool_calls=[call("1"), call("2")])
    result = said("tool", "A", tool_call_id="1")
    found = find("role:tool", asked, said("assistant", None, tool_calls=[call("1")]), result)
    assert messages(found.without) == [asked]
    found = find("role:tool", asked, both, result)
    assert messages(found.without) == [asked, said("assistant", "Looking.", tool_calls=[call("2")])]


def test_parts_are_read_text_by_text_and_others_stay():
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    text = {"type": "text", "text": "<context>A</context> Who?"}
    found = find(TAGS, said("user", [text, image, {"type": "text", "text": "<context>B</context>"}]))
    assert found.passages == ("A", "B")
    assert messages(found.without) == [said("user", [{"type": "text", "text": "Who?"}, image])]


def test_the_requests_own_context_is_rendered_by_the_template():
    found = find(None, said("user", "Hello"), said("user", "Who?"), idk={"context": ["A", "{question}"]})
    assert messages(found.request) == [said("user", "Hello"), said("user", "A\n\n{question}\n\nWho?")]
    assert messages(found.without) == [said("user", "Hello"), said("user", "Who?")]
    assert found.without.context == ()
    found = find(
        "request", said("user", "Who?"), template="Q: {question} C: {context}", idk={"context": ["A"]}
    )
    assert messages(found.request) == [said("user", "Q: Who? C: A")]


def test_the_instruction_stands_before_the_last_question():
    found = messages(
        instructed(CHAT, request(said("user", "Hi"), said("user", "Who?"), said("assistant", "It is")))
    )
    assert [one["content"] for one in found] == ["Hi", f"{INSTRUCTION}\n\nWho?", "It is"]


@given(st.lists(st.text(max_size=20), max_size=5))
def test_what_is_not_context_keeps_its_bytes(texts):
    asked = request(*[said("user", text.replace("<", "")) for text in texts] or [said("user", "?")])
    edited = CHAT.edited(asked, lambda role, name, text: text)
    assert bytes(edited.fields["messages"]) == bytes(asked.fields["messages"])


def test_what_is_cut_is_counted_in_characters_of_any_script():
    found = find(TAGS, said("user", "д😀<context>ё😀</context>é<context>b</context>😀?"))
    assert found.passages == ("ё😀", "b")
    assert messages(found.without) == [said("user", "д😀é😀?")]


@pytest.mark.parametrize("passage", ["A", ""])
def test_a_pattern_that_fits_without_end_is_refused(monkeypatch, passage):
    """In one message or in all of them, whether or not it holds anything there."""
    monkeypatch.setattr("proxy.requests.prompt.context.MOST_PLACES", 4)
    text = f"<context>{passage}</context>"
    find(TAGS, said("user", text * 2), said("user", text * 2))
    for messages in ([said("user", text * 5)], [said("user", text * 3), said("user", text * 2)]):
        with pytest.raises(BodyTooLarge, match=r"rag.context matches more than 4 times") as caught:
            find(TAGS, *messages)
        assert caught.value.http_status == 413


def test_a_pattern_takes_linear_time():
    started = time.process_time()
    assert find(r"(?s)((?:a+)+)b", said("user", "a" * 50_000)) is None
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(("context", "template", "message"), [
    ("(a", None, r"r.rag.context: '\(a' is not a regular expression of RE2: missing \)"),
    ("(?=a)(b)", None, "RE2 has no lookaround and no backreferences"),
    ("a.*b", None, "has 0 groups; mark the context by one group"),
    ("(a)(b)", None, "has 2 groups"),
    ("role:user", None, "role:user would cut out the conversation itself"),
    ("role:", None, "role: would cut out"),
    ("name:", None, "write name:NAME"),
    (None, "{question}", r"r.rag.template: must hold \{context\} once"),
    (None, "{context} {context} {question}", r"must hold \{context\} once"),
])  # fmt: skip
def test_what_is_wrong_is_one_line(context, template, message, capfd):
    with pytest.raises(ConfigError, match=message):
        finder(context, template, "r.rag")
    assert capfd.readouterr() == ("", "")


FORMATS = {
    "chat": lambda text: {"messages": [{"role": "user", "content": text}]},
    "completions": lambda text: {"prompt": text},
    "responses": lambda text: {"input": text},
    "messages": lambda text: {"messages": [{"role": "user", "content": text}], "max_tokens": 9},
}


@pytest.mark.parametrize("surface", SURFACES.values(), ids=lambda surface: surface.name)
def test_every_format_finds_it_and_asks_without_it(surface):
    def parse(text, **fields):
        return surface.parse(json.dumps({"model": "m", **FORMATS[surface.name](text), **fields}).encode())

    def sent(request):
        return surface.outgoing(request, Ask(None, {}, logprobs=False, top_logprobs=0)).decode()

    found = finder(TAGS, None, "r.rag").find(surface, parse("<context>A</context> Who?"))
    assert (found.passages, found.question) == (("A",), "Who?")
    assert "<context>" in sent(found.request)
    assert '"Who?"' in sent(found.without)
    assert "<context>" not in sent(found.without)
    assert finder(TAGS, None, "r.rag").find(surface, parse("<context>A</context>")).without is None
    found = finder("request", None, "r.rag").find(surface, parse("Who?", idk={"context": ["A"]}))
    assert '"A\\n\\nWho?"' in sent(found.request)
    assert '"Who?"' in sent(found.without)


def test_messages_that_are_none_are_a_bad_request():
    with pytest.raises(BadRequest, match="each must be an object"):
        CHAT.edited(request(1), lambda role, name, text: text)
