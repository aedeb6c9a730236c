from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jsonschema_rs import validator_for
from twisted.trial.unittest import SynchronousTestCase

from gateway.control.errors import ApiError
from gateway.control.routes import ROUTES
from gateway.control.schema import (
    Body,
    Choice,
    Field,
    Flag,
    Kind,
    Text,
    UnfitError,
    Whole,
    read_body,
    read_fields,
)

KINDS: tuple[Kind, ...] = (
    Text(5),
    Text(3, shortest=0, printable=True),
    Choice(("a", "true", "1")),
    Whole(-2, 10),
    Whole(0, 2**53 - 1),
    Flag(),
    Flag(only=True),
)
BODIES = tuple(route.body for route in ROUTES if route.body is not None)
QUERIES = tuple(route.query for route in ROUTES)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-20, 20)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["a", "true", "1", "", "\x00", "\x85", "aaaaa"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2)
)
MEMBERS = st.sampled_from(["session", "client", "all", "message", "admitting", "reason", "x"])


def accepted(body: Body, value: Any) -> bool:
    try:
        read_body(body, json.dumps(value).encode())
    except ApiError:
        return False
    return True


class KindTests(SynchronousTestCase):
    """What is accepted is what the schema says."""

    @given(st.sampled_from(KINDS), VALUES)
    def test_values(self, kind: Kind, value: Any) -> None:
        try:
            kind.of_json(value)
            fits = True
        except UnfitError:
            fits = False
        self.assertEqual(fits, validator_for(kind.schema()).is_valid(value))

    @given(st.sampled_from(BODIES), st.dictionaries(MEMBERS, SCALARS, max_size=4) | VALUES)
    def test_bodies(self, body: Body, value: Any) -> None:
        self.assertEqual(accepted(body, value), validator_for(body.schema()).is_valid(value))

    def test_bytes_of_a_message(self) -> None:
        (end,) = [body for body in BODIES if body.one_of]
        for message, fits in (("é" * 60, True), ("é" * 60 + "x", False), ("x" * 120, True)):
            self.assertEqual(accepted(end, {"all": True, "message": message}), fits)


class AnythingTests(SynchronousTestCase):
    """Whatever comes, it is read or refused."""

    @given(st.sampled_from(BODIES), st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
    def test_bodies(self, body: Body, data: bytes) -> None:
        try:
            values = read_body(body, data)
        except ApiError:
            return
        self.assertEqual(values.keys(), {field.name for field in body.fields})

    @given(
        st.sampled_from(QUERIES),
        st.lists(
            st.tuples(st.sampled_from(["limit", "type", "session", "x"]) | st.text(), st.text(max_size=9))
        ),
    )
    def test_parameters(self, fields: tuple[Field, ...], pairs: list[tuple[str, str]]) -> None:
        try:
            values = read_fields(fields, pairs)
        except ApiError as error:
            self.assertIn(error.fault.status, (400, 422))
            return
        self.assertEqual(values.keys(), {field.name for field in fields})
