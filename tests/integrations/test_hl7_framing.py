"""MLLP framing by itself: however the bytes are cut, the same messages."""

import random

import pytest

from integrations.hl7.mllp import BadFrame, Framer, TokenRequest, frame


def taken(framer: Framer, *blocks: bytes) -> list[bytes | TokenRequest]:
    found: list[bytes | TokenRequest] = []
    for block in blocks:
        framer.feed(block)
        while (message := framer.next_message()) is not None:
            found.append(message)
    return found


def test_messages_are_the_same_however_the_bytes_are_cut() -> None:
    messages = [b"MSH|1\r", b"", b"MSH|2\rPID|\n", b"x" * 5000]
    stream = b"".join(frame(each) for each in messages)
    chance = random.Random(7)
    assert taken(Framer(10_000), stream) == messages
    assert taken(Framer(10_000), *(bytes([byte]) for byte in stream)) == messages
    for _ in range(200):
        cuts = sorted(chance.sample(range(1, len(stream)), 12))
        blocks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert taken(Framer(10_000), *blocks) == messages


@pytest.mark.parametrize("between", [b"", b"\r", b"\n", b"\r\n", b" \r\n\r\n"])
def test_what_stands_between_frames_means_nothing(between: bytes) -> None:
    stream = between + frame(b"one") + between + frame(b"two") + between
    assert taken(Framer(100), stream) == [b"one", b"two"]


def test_an_end_without_its_cr_is_an_end() -> None:
    assert taken(Framer(100), b"\x0bone\x1c\x0btwo\x1c", b"\r\x0bthree\x1c\n") == [b"one", b"two", b"three"]


def test_a_message_that_begins_anew_replaces_the_half_one() -> None:
    framer = Framer(100)
    assert taken(framer, b"\x0bhalf of", b" it\x0bwhole", b"\x1c\r") == [b"whole"]
    assert framer.dropped == 1


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n", b"MSH|^~\\&|", b"\xff\xfe", b"\x16\x03\x01"])
def test_what_begins_otherwise_is_no_mllp(first: bytes) -> None:
    framer = Framer(100)
    framer.feed(first)
    with pytest.raises(BadFrame) as refused:
        framer.next_message()
    assert not refused.value.answer


def test_a_message_without_end_is_refused_at_the_limit_and_told_so() -> None:
    framer = Framer(1000)
    framer.feed(b"\x0b" + b"x" * 1000)
    assert framer.next_message() is None
    framer.feed(b"x")
    with pytest.raises(BadFrame) as refused:
        framer.next_message()
    assert refused.value.answer


def test_a_message_of_the_largest_size_is_taken() -> None:
    assert taken(Framer(1000), frame(b"x" * 1000)) == [b"x" * 1000]


def test_the_first_byte_tells_a_token_request() -> None:
    framer = Framer(100)
    framer.feed(b"\x102.25.1\r\n" + frame(b"MSH|") + b"\x10 0012 3 \r\x10\r\x10half")
    assert taken(framer, b"") == ["2.25.1", b"MSH|", " 0012 3 ", ""]
    assert framer.is_within
    assert taken(framer, b" \xc3\xa9") == []
    assert taken(framer, b"\xe9\r") == ["half \xc3\xa9\xe9"]  # no UTF-8: Latin-1


def test_a_key_of_sixty_four_characters_is_the_longest() -> None:
    assert taken(Framer(10), b"\x10" + "é".encode() * 64 + b"\r") == ["é" * 64]
    for data in (b"\x10" + b"1" * 65 + b"\r", b"\x10" + b"1" * 257):
        framer = Framer(1000)
        framer.feed(data)
        with pytest.raises(BadFrame) as refused:
            framer.next_message()
        assert not refused.value.answer
    assert isinstance(taken(Framer(10), b"\x10" + b"1" * 64 + b"\r")[0], TokenRequest)
