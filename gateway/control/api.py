"""What the calls of the control API do.  Which calls there are is in :mod:`gateway.control.routes`."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, Protocol

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request

from gateway import __version__
from gateway.control.access import Caller
from gateway.control.errors import ApiError, Fault
from gateway.control.health import Health
from gateway.control.lag import LoopLag
from gateway.control.readings import Readings
from gateway.control.stream import EventStream
from gateway.control.tally import Tally
from gateway.control.views import event_json, record_json, settings_json
from gateway.drain import Drain, Progress
from gateway.relay import NATIVE
from gateway.reload import ReloadReport
from gateway.sessions.events import AdminAction, Events
from gateway.sessions.info import Selector, SessionInfo, SessionState
from gateway.settings import Settings
from gateway.successor import HandOverError
from gateway.tickets import Kind

__all__ = ["Api", "Call", "Controlled", "ControlledSessions", "Handler", "Steered"]

_MAX_STREAMS: Final = 64
_MAX_TARGETS: Final = 100
_UNKNOWN: Final = "unknown"


class Admitting(Protocol):
    """What is needed of :class:`gateway.sessions.Registry`."""

    @property
    def admitting(self) -> bool:
        """Whether an operator lets sessions in."""

    def stop_admitting(self) -> None:
        """Admit no more sessions."""

    def resume_admitting(self) -> None:
        """Admit sessions again."""


class ControlledSessions(Protocol):
    """What is needed of :class:`gateway.sessions.Sessions`."""

    @property
    def events(self) -> Events:
        """What happens."""

    @property
    def registry(self) -> Admitting:
        """Who is let in."""

    def infos(self, selector: Selector = ..., /) -> list[SessionInfo]:
        """The sessions that are meant."""

    def info(self, session_id: str, /) -> SessionInfo | None:
        """A session, if it lives."""

    def end_selected(self, selector: Selector, message: str = ..., /) -> list[SessionInfo]:
        """End the sessions that are meant, and tell their users."""


class Steered(Protocol):
    """What is needed of :class:`gateway.service.GatewayService`."""

    @property
    def drain(self) -> Drain:
        """Lets sessions end."""

    def reload_file(self) -> Coroutine[Any, Any, ReloadReport]:
        """Put the settings file in force."""

    def hand_over(self, seconds: float | None, message: str, /) -> Coroutine[Any, Any, int]:
        """Have a new process take over."""


@attrs.frozen(kw_only=True)
class Controlled:
    """The gateway that is controlled."""

    settings: Callable[[], Settings]
    """What is in force."""
    sessions: ControlledSessions
    steered: Steered
    readings: Readings
    health: Health
    lag: LoopLag
    tally: Tally
    targets: Callable[[], Iterable[tuple[str, float]]]
    """Targets whose certificates were seen, and when those expire, in seconds since the epoch."""
    started: float
    """Seconds since the epoch."""


@attrs.frozen
class Call:
    """A request that was checked: its values are those that its route describes."""

    caller: Caller
    request: Request
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Mapping[str, Any]


Handler = Callable[["Api", Call], Coroutine[Any, Any, Any]]
"""Does what a call asks for, and returns the answer's JSON, or a stream of events."""


class Api:
    """The calls, one method each."""

    log = Logger()

    def __init__(self, controlled: Controlled, clock: IReactorTime, document: Mapping[str, Any]) -> None:
        """:param document: the OpenAPI document."""
        self._controlled = controlled
        self._clock = clock
        self._begun = clock.seconds()
        self._document = document
        self._streams: set[EventStream] = set()

    def stop(self) -> None:
        """End every stream of events."""
        for stream in list(self._streams):
            stream.cut()

    async def openapi(self, call: Call) -> Any:
        return self._document

    async def status(self, call: Call) -> Any:
        controlled, readings = self._controlled, self._controlled.readings
        infos = controlled.sessions.infos()
        kinds = Counter(_kind(info) for info in infos)
        states = Counter(info.state for info in infos)
        targets = sorted(controlled.targets(), key=lambda target: target[1])
        return {
            "version": __version__,
            "started": round(controlled.started, 3),
            "uptime": round(self._clock.seconds() - self._begun, 3),
            "admitting": controlled.sessions.registry.admitting,
            "drain": _drain_json(readings.drain()),
            "sessions": {
                "total": len(infos),
                "limit": readings.limits().sessions,
                "by_kind": {name: kinds[name] for name in (*(kind.value for kind in Kind), _UNKNOWN)},
                "by_state": {state.value: states[state] for state in SessionState},
            },
            "handshakes": {"open": readings.handshakes(), "limit": readings.limits().handshakes},
            "ledger": {"size": await controlled.health.ledger.ask(), "limit": readings.ledger_limit()},
            "listeners": list(readings.listeners()),
            "certificate_expires": readings.certificate_expires(),
            "targets": [{"target": name, "expires": expires} for name, expires in targets[:_MAX_TARGETS]],
            "ended": {reason.label: count for reason, count in controlled.tally.ended.items()},
            "refused": {refusal.label: count for refusal, count in controlled.tally.refused.items()},
            "event_loop_lag": round(controlled.lag.latest, 6),
            "masker": NATIVE,
            "role": call.caller.role.value,
            "actor": call.caller.actor,
        }

    async def health(self, call: Call) -> Any:
        health = self._controlled.health
        checks = await health.checks()
        return {
            "healthy": all(check.ok for check in checks),
            "ready": await health.why_not_ready() is None,
            "checks": [record_json(check) for check in checks],
        }

    async def settings(self, call: Call) -> Any:
        return settings_json(self._controlled.settings())

    async def sessions(self, call: Call) -> Any:
        query = call.query
        infos = [
            info
            for info in self._controlled.sessions.infos(_selector(query))
            if query["kind"] in (None, _kind(info)) and query["state"] in (None, info.state.value)
        ]
        infos.sort(key=lambda info: (info.started, info.id))
        begin = query["offset"]
        shown = infos[begin : begin + query["limit"]]
        return {"total": len(infos), "sessions": [record_json(info) for info in shown]}

    async def session(self, call: Call) -> Any:
        info = self._controlled.sessions.info(call.path["id"])
        if info is None:
            raise ApiError(Fault.NOT_FOUND, "There is no such session, or it has ended")
        return record_json(info)

    async def end(self, call: Call) -> Any:
        selector, message = _selector(call.body), call.body["message"]
        ended = self._controlled.sessions.end_selected(selector, message)
        self._act(call, "end", tuple(info.id for info in ended), message)
        return {"ended": [record_json(info) for info in ended]}

    async def admission(self, call: Call) -> Any:
        return {"admitting": self._controlled.sessions.registry.admitting}

    async def set_admission(self, call: Call) -> Any:
        registry = self._controlled.sessions.registry
        if call.body["admitting"]:
            registry.resume_admitting()
            self._act(call, "resume-admitting", (), call.body["reason"])
        else:
            registry.stop_admitting()
            self._act(call, "stop-admitting", (), call.body["reason"])
        return {"admitting": registry.admitting}

    async def reload(self, call: Call) -> Any:
        report = await self._controlled.steered.reload_file()
        self._act(call, "reload", (), "refused" if report.problems else "")
        if report.problems:
            raise ApiError(
                Fault.CONFLICT,
                "The settings were not reloaded; nothing was changed",
                "correct what is wrong, and reload again",
                problems=report.problems,
            )
        return {"changed": list(report.changed), "needs_restart": list(report.needs_restart)}

    async def drain(self, call: Call) -> Any:
        return _drain_json(self._controlled.steered.drain.progress)

    async def begin_drain(self, call: Call) -> Any:
        drain, message = self._controlled.steered.drain, call.body["message"]
        drain.begin(call.body["seconds"], message)
        self._act(call, "drain", (), message)
        return _drain_json(drain.progress)

    async def cancel_drain(self, call: Call) -> Any:
        drain = self._controlled.steered.drain
        if drain.is_final:
            raise ApiError(Fault.CONFLICT, "Another process has taken over, this one only ends")
        if drain.cancel():
            self._act(call, "drain-cancelled", (), "")
        return _drain_json(drain.progress)

    async def hand_over(self, call: Call) -> Any:
        message = call.body["message"]
        self._act(call, "hand-over", (), message)
        try:
            pid = await self._controlled.steered.hand_over(call.body["seconds"], message)
        except HandOverError as error:
            raise ApiError(Fault.CONFLICT, f"Nothing was handed over: {error}") from None
        return {"pid": pid, "former": os.getpid()}

    async def history(self, call: Call) -> Any:
        wanted = call.query["type"]
        recent = reversed(self._controlled.sessions.events.recent)
        found = (event for event in recent if not wanted or event.what.name in wanted)
        return {"events": [event_json(event) for event in itertools.islice(found, call.query["limit"])]}

    async def events(self, call: Call) -> Any:
        if len(self._streams) >= _MAX_STREAMS:
            raise ApiError(Fault.TOO_MANY, remedy="close one", fields={"Retry-After": "10"})
        # A browser that reconnects asks for the same address again, and says here how far it has come.
        after = call.query["Last-Event-ID"]
        stream = EventStream(
            self._controlled.sessions.events,
            self._clock,
            self._streams.discard,
            after=call.query["after"] if after is None else after,
            types=call.query["type"],
        )
        self._streams.add(stream)
        return stream

    def _act(self, call: Call, action: str, sessions: tuple[str, ...], detail: str) -> None:
        actor = call.caller.actor
        self.log.info(
            "control: {action} by {actor} sessions={count} detail={detail!r}",
            action=action,
            actor=actor,
            count=len(sessions),
            detail=detail,
        )
        self._controlled.sessions.events.publish(AdminAction(actor, action, sessions, detail))


def _drain_json(progress: Progress) -> dict[str, Any]:
    return {
        "draining": progress.draining,
        "sessions": progress.sessions,
        "left_seconds": None if progress.left is None else round(progress.left, 1),
        "message": progress.message,
    }


def _kind(info: SessionInfo) -> str:
    return _UNKNOWN if info.kind is None else info.kind.value


def _selector(values: Mapping[str, Any]) -> Selector:
    return Selector(**{field.name: values[field.name] for field in attrs.fields(Selector)})
